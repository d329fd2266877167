//! What `attn_decode` does with its row before attention: queries, and a fresh key, rotated into shared memory.
use super::split::Split;
use crate::rope::{Access, for_each_of};
use crate::row;
use cuda_std::{global, shared};

impl<const DIM: u32> Split<DIM> {
    /// Leaves the group's queries in shared memory, and behind them a fresh key; rotated where the launch has angles.
    ///
    /// # Safety
    /// The whole block comes here; the row is there.
    #[inline(always)]
    pub unsafe fn share_rows(&self) {
        let half = if self.args.cos.is_null() { 0 } else { self.args.rotary_dims / 2 };
        // SAFETY: the caller's promise; the width divides the half.
        unsafe {
            if half.is_multiple_of(row::GROUP) {
                self.share_rows_by::<[u32; 4]>(half);
            } else {
                self.share_rows_by::<u16>(half);
            }
        }
    }

    /// # Safety
    /// As for [`Split::share_rows`]; `half` and `DIM` divide by `A::COUNT`.
    #[inline(always)]
    unsafe fn share_rows_by<A: Access + shared::Word>(&self, half: u32) {
        let (pairs, heads) = (half / A::COUNT, self.group + u32::from(self.adds()));
        let angles = u64::from(self.position) * u64::from(half) * 2;
        // First all pairs of a head, then what no rotation reaches.
        for_each_of(
            heads,
            DIM / A::COUNT - pairs,
            #[inline(always)]
            |head, part| {
                let at = (if part < pairs { part } else { part + pairs }) * A::COUNT;
                let from = self.head(head) + u64::from(at) * 2;
                let to = self.rows.offset(head * DIM + at).cast::<A>();
                // SAFETY: both accesses are within the head, and this thread's own.
                unsafe {
                    let low: A = global::load(from);
                    if part < pairs {
                        let (far, at) = (u64::from(half) * 2, angles + u64::from(at) * 2);
                        let high = global::load(from + far);
                        let (cos, sin) = (global::load(self.args.cos.addr + at), global::load(self.args.sin.addr + at));
                        let (low, high) = A::rotate(low, high, cos, sin);
                        to.store(0, low);
                        to.store(pairs, high);
                    } else {
                        to.store(0, low);
                    }
                }
            },
        );
    }

    /// Address of the group's query head `head`, or of its key behind the last of them.
    #[inline(always)]
    fn head(&self, head: u32) -> u64 {
        let number = if head < self.group { self.first_head + head } else { self.args.heads + self.pages.kv_head };
        self.qkv + u64::from(number * DIM) * 2
    }
}
