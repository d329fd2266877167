//! What a warp does with `mbarrier`s, its own block's and those that it sends to.

use super::{
    access::Checked,
    warp::{Flow, Warp},
};
use crate::fault::{FaultKind, Trouble};
use crate::lanes::LANES;
use crate::memory::clock::Knowledge;
use crate::memory::mailbox::{Mailbox, Opening};
use crate::memory::shared::Shared;
use crate::program::{MailboxAccess, Op, SendAsync};

/// Bytes of an `mbarrier`.
const BYTES: usize = 8;

/// A store to the cluster's shared memory that is under way.
pub struct Sent {
    /// Cluster addresses.
    pub to: u32,
    pub mailbox: u32,
    pub data: Vec<u8>,
    /// How often the sender had waited at the cluster's barrier.
    pub waits: u32,
    /// The sender.
    pub warp: usize,
    pub lane: usize,
    pub pc: u32,
}

fn lanes_of(mask: u32) -> impl Iterator<Item = usize> {
    (0..LANES).filter(move |lane| mask >> lane & 1 == 1)
}

impl Warp {
    pub fn mailbox(&mut self, shared: &mut Shared, op: &Op, mask: u32) -> Result<Flow, Box<Trouble>> {
        match op {
            Op::MailboxOpen(access) => self.open(shared, access, mask)?,
            Op::MailboxExpect(access) => self.expect(shared, access, mask)?,
            Op::MailboxTest { d, access } => return self.test(shared, (*d, access), mask),
            Op::SendAsync(send) => self.send(send, mask)?,
            _ => {
                for mailbox in shared.mailboxes.values_mut() {
                    if let Opening::Own { warp, fenced } = &mut mailbox.opening {
                        *fenced |= *warp == self.index;
                    }
                }
            }
        }
        Ok(Flow::Next)
    }

    /// The warp comes to the cluster's barrier: others may send to what it has opened behind it.
    pub fn announce(&mut self, shared: &mut Shared, release: bool) {
        let arrivals = self.arrivals;
        for mailbox in shared.mailboxes.values_mut() {
            if matches!(mailbox.opening, Opening::Own { warp, fenced } if warp == self.index && (fenced || release)) {
                mailbox.opening = Opening::Cluster { arrivals };
            }
        }
        self.arrivals += 1;
    }

    fn open(&mut self, shared: &mut Shared, access: &MailboxAccess, mask: u32) -> Checked {
        let addresses = self.addresses(&access.address);
        Self::check_alignment(&addresses, BYTES, mask)?;
        self.clocks.used = true;
        for lane in lanes_of(mask) {
            self.check_shared(shared, lane, addresses[lane], BYTES)?;
            let (at, thread) = (addresses[lane] as usize, self.first_thread() + lane as u32);
            shared
                .write(&self.clocks, thread, at, BYTES, false)
                .map_err(|refusal| self.refused(refusal, lane, addresses[lane]))?;
            shared.mailboxes.insert(at, Mailbox::new(self.regs.r32[access.operand as usize][lane], self.index));
        }
        Ok(())
    }

    /// Checks that an address is that of a mailbox whose opening comes before.
    fn find(&mut self, shared: &mut Shared, lane: usize, address: u64) -> Result<usize, Box<Trouble>> {
        self.check_shared(shared, lane, address, BYTES)?;
        let (at, thread) = (address as usize, self.first_thread() + lane as u32);
        let opening = shared.mailboxes.get(&at).map(|mailbox| mailbox.opening);
        if matches!(opening, Some(Opening::Cluster { arrivals }) if arrivals < self.waits) {
            return Ok(at);
        }
        self.clocks.used = true;
        shared.read(&self.clocks, thread, at, BYTES, false).map_err(|refusal| self.refused(refusal, lane, address))?;
        match opening {
            Some(_) => Ok(at),
            None => Err(cluster_race(lane, address, "no mbarrier has been initialised here")),
        }
    }

    fn expect(&mut self, shared: &mut Shared, access: &MailboxAccess, mask: u32) -> Checked {
        let addresses = self.addresses(&access.address);
        for lane in lanes_of(mask) {
            let at = self.find(shared, lane, addresses[lane])?;
            let bytes = self.regs.r32[access.operand as usize][lane];
            if !shared.mailboxes.get_mut(&at).is_some_and(|mailbox| mailbox.expect(bytes)) {
                return Err(cluster_race(lane, addresses[lane], "more arrive than the mbarrier was initialised for"));
            }
        }
        Ok(())
    }

    /// What has come belongs to the warp that waits first, and to those that wait behind it.
    fn test(
        &mut self,
        shared: &mut Shared,
        (d, access): (u32, &MailboxAccess),
        mask: u32,
    ) -> Result<Flow, Box<Trouble>> {
        let addresses = self.addresses(&access.address);
        let (mut complete, mut flow) = (0u32, Flow::Next);
        for lane in lanes_of(mask) {
            let at = self.find(shared, lane, addresses[lane])?;
            let phases = shared.mailboxes.get(&at).map_or(0, |mailbox| mailbox.phases);
            if phases % 2 == self.regs.r32[access.operand as usize][lane] % 2 {
                flow = Flow::Yield;
            } else {
                complete |= 1 << lane;
                self.acquire(shared, at, lane);
            }
        }
        self.regs.set_pred(d, mask, complete);
        Ok(flow)
    }

    fn acquire(&mut self, shared: &mut Shared, at: usize, lane: usize) {
        let thread = self.first_thread() + lane as u32;
        let Some(mailbox) = shared.mailboxes.get_mut(&at) else { return };
        let (come, seen) = (std::mem::take(&mut mailbox.come), mailbox.seen);
        come.into_iter().for_each(|place| shared.end_receipt(&self.clocks, thread, place));
        match seen {
            Some(seen) => seen.acquire(&mut self.clocks),
            None => {
                self.clocks.used = true;
                self.clocks.warp_sync();
                let mut knows = Knowledge::default();
                knows.add(&self.clocks);
                self.clocks.tick();
                if let Some(mailbox) = shared.mailboxes.get_mut(&at) {
                    mailbox.seen = Some(knows);
                }
            }
        }
    }

    fn send(&mut self, send: &SendAsync, mask: u32) -> Checked {
        let (to, mailboxes) = (self.addresses(&send.to), self.addresses(&send.mailbox));
        let width = send.ty.bytes();
        Self::check_alignment(&to, width * send.values.len(), mask)?;
        Self::check_alignment(&mailboxes, BYTES, mask)?;
        self.stores += 1;
        for lane in lanes_of(mask) {
            let bytes = |reg| self.regs.bits(reg, lane).to_le_bytes().into_iter().take(width);
            let data = send.values.iter().flat_map(|reg| bytes(*reg)).collect();
            let (to, mailbox) = (to[lane] as u32, mailboxes[lane] as u32);
            self.sent.push(Sent { to, mailbox, data, waits: self.waits, warp: self.index, lane, pc: self.pc });
        }
        Ok(())
    }
}

fn cluster_race(lane: usize, address: u64, message: &str) -> Box<Trouble> {
    Trouble::new(FaultKind::ClusterRace, lane, Some(address), message)
}
