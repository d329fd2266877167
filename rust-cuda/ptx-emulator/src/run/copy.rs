//! `cp.async`: copies that arrive in shared memory only when they are waited for.

use super::{
    Env,
    access::{Checked, check_defined},
    warp::Warp,
};
use crate::lanes::LANES;
use crate::memory::shared::Shared;
use crate::program::CopyAsync;

struct Copy {
    lane: usize,
    /// The lane's number of commits when the copy was issued.
    group: u32,
    to: usize,
    data: [u8; 16],
    bytes: usize,
}

/// Copies under way, in the order of issue.
#[derive(Default)]
pub struct Copies {
    pending: Vec<Copy>,
    commits: [u32; LANES],
}

impl Copies {
    pub fn commit(&mut self, mask: u32) {
        (0..LANES).filter(|l| mask >> l & 1 == 1).for_each(|l| self.commits[l] += 1);
    }
}

impl Warp {
    pub fn copy_async(&mut self, env: &Env, shared: &mut Shared, copy: &CopyAsync, mask: u32) -> Checked {
        let (to, from) = (self.addresses(&copy.to), self.addresses(&copy.from));
        Self::check_alignment(&to, copy.bytes, mask)?;
        Self::check_alignment(&from, copy.bytes, mask)?;
        let mut sizes = [copy.bytes; LANES];
        if let Some(slot) = copy.source_bytes {
            let row = &self.regs.r32[slot as usize];
            sizes = std::array::from_fn(|l| (row[l] as usize).min(copy.bytes));
        }
        let mut data = [[0u8; 16]; LANES];
        let mut left = mask;
        while left != 0 {
            let bytes = sizes[left.trailing_zeros() as usize];
            let same = (0..LANES).fold(0, |m, l| m | u32::from(sizes[l] == bytes) << l) & left;
            left &= !same;
            if bytes == 0 {
                // These lanes touch no source, which is how a copy beyond the edge is zero-filled.
                continue;
            }
            self.by_allocation(env, (&from, bytes), same, |warp, found, offsets, group| {
                if let Some(view) = &env.view {
                    return warp.copy_seen(view, found, (offsets, bytes), group, &mut data);
                }
                check_defined(found, offsets, bytes, group)?;
                for lane in (0..LANES).filter(|l| group >> l & 1 == 1) {
                    found.read(offsets[lane], &mut data[lane][..bytes]);
                }
                Ok(())
            })?;
        }
        let thread = self.first_thread();
        self.clocks.used = true;
        for lane in (0..LANES).filter(|l| mask >> l & 1 == 1) {
            self.check_shared(shared, lane, to[lane], copy.bytes)?;
            let at = to[lane] as usize;
            shared
                .begin_copy(&self.clocks, thread + lane as u32, at, copy.bytes)
                .map_err(|refusal| self.refused(refusal, lane, to[lane]))?;
            let group = self.copies.commits[lane];
            self.copies.pending.push(Copy { lane, group, to: at, data: data[lane], bytes: copy.bytes });
        }
        Ok(())
    }

    /// Makes what the lanes in `mask` have written to shared memory visible to products.
    pub fn publish(&mut self, shared: &mut Shared, mask: u32) {
        let thread = self.first_thread();
        (0..LANES as u32).filter(|l| mask >> l & 1 == 1).for_each(|l| shared.publish(&self.clocks, thread + l));
        self.clocks.tick();
    }

    /// Delivers all but the latest `groups` groups of the lanes in `mask`; `None`: everything.
    pub fn copy_wait(&mut self, shared: &mut Shared, groups: Option<u32>, mask: u32) {
        let thread = self.first_thread();
        self.clocks.used = true;
        let (clocks, commits) = (&self.clocks, &self.copies.commits);
        self.copies.pending.retain(|copy| {
            let done = groups.is_none_or(|groups| copy.group + groups < commits[copy.lane]);
            let deliver = done && mask >> copy.lane & 1 == 1;
            if deliver {
                shared.end_copy(clocks, thread + copy.lane as u32, copy.to, &copy.data[..copy.bytes]);
            }
            !deliver
        });
    }
}
