//! A cluster: blocks that run side by side, meet at a barrier of their own, and send into each other's shared memory.

use super::{Env, block::Block, launch::position, mailbox::Sent};
use crate::fault::{Fault, FaultKind, Trouble};
use crate::memory::mailbox::Opening;

/// Blocks of a cluster, at most, on every chip that has clusters.
pub const MOST_BLOCKS: u32 = 8;

/// Rounds of turns without a store, a barrier or an exit after which blocks are taken to wait for each other in vain.
pub const IDLE_ROUNDS: u64 = 4096;

/// Bits of an address within its block. Above them stands the block's rank, plus 1: an address without one is of the own block.
const BLOCK_BITS: u32 = 24;

/// `mapa`: the address in the shared memory of block `rank`.
pub fn address_in(address: u32, rank: u32) -> u32 {
    (address % (1 << BLOCK_BITS)) | (rank.wrapping_add(1) << BLOCK_BITS)
}

#[derive(Default)]
pub struct Cluster {
    /// In the order of their ranks.
    blocks: Vec<Block>,
    ended: Vec<bool>,
    /// Stores under way, with the ranks of their senders.
    under_way: Vec<(usize, Sent)>,
}

impl Cluster {
    /// Prepares for cluster `number` of the grid.
    pub fn reset(&mut self, env: &Env, number: u64) {
        let size = u64::from(env.launch.cluster);
        self.blocks.resize_with(size as usize, Block::default);
        self.ended = vec![false; size as usize];
        self.under_way.clear();
        for (rank, block) in self.blocks.iter_mut().enumerate() {
            block.reset(env, position(env, number * size + rank as u64));
        }
    }

    /// Gives every block a turn; `true` when all have ended.
    pub fn turn(&mut self, env: &Env, mut slice: impl FnMut() -> u64) -> Result<bool, Fault> {
        for (block, ended) in self.blocks.iter_mut().zip(&mut self.ended) {
            *ended = *ended || block.turn(env, &mut slice)?;
        }
        if env.program.clustered {
            let arrivals = self.blocks.iter().filter_map(Block::cluster_arrivals).min().unwrap_or(u32::MAX);
            self.blocks.iter_mut().for_each(|block| block.pass_cluster(arrivals));
            // What is sent to a block that has ended shows now.
            let over = self.has_ended();
            self.deliver(env, || over || slice() > 4)?;
        }
        Ok(self.has_ended())
    }

    /// Runs the cluster to its end.
    pub fn run(&mut self, env: &Env, mut slice: impl FnMut() -> u64) -> Result<(), Fault> {
        let (mut last, mut idle) = (0, 0);
        while !self.turn(env, &mut slice)? {
            let progress = self.progress();
            idle = if progress == last { idle + 1 } else { 0 };
            last = progress;
            if idle == IDLE_ROUNDS && self.blocks.len() > 1 {
                return Err(self.deadlocked(env));
            }
        }
        Ok(())
    }

    fn has_ended(&self) -> bool {
        self.ended.iter().all(|ended| *ended)
    }

    /// Lets stores that are `due` land.
    fn deliver(&mut self, env: &Env, mut due: impl FnMut() -> bool) -> Result<(), Fault> {
        for (rank, block) in self.blocks.iter_mut().enumerate() {
            self.under_way.extend(block.sent().map(|sent| (rank, sent)));
        }
        for (from, sent) in std::mem::take(&mut self.under_way) {
            if due() {
                self.receive(from, &sent)
                    .map_err(|trouble| self.blocks[from].locate_at(env, (sent.warp, sent.pc), *trouble))?;
            } else {
                self.under_way.push((from, sent));
            }
        }
        Ok(())
    }

    fn receive(&mut self, from: usize, sent: &Sent) -> Result<(), Box<Trouble>> {
        let refuse = |kind, message: &str| Err(Trouble::new(kind, sent.lane, Some(u64::from(sent.to)), message));
        let split = |address: u32| {
            let rank = (address >> BLOCK_BITS).checked_sub(1).map_or(from, |rank| rank as usize);
            (rank, (address % (1 << BLOCK_BITS)) as usize)
        };
        let ((rank, to), (mailbox_rank, mailbox)) = (split(sent.to), split(sent.mailbox));
        if rank != mailbox_rank || rank >= self.blocks.len() {
            return refuse(FaultKind::OutOfBounds, "the store and its mbarrier are not in one block of the cluster");
        }
        if self.ended[rank] {
            return refuse(FaultKind::ClusterRace, "the block that is sent to has ended, or may have");
        }
        let shared = &self.blocks[rank].shared;
        if to + sent.data.len() > shared.bytes() {
            return refuse(FaultKind::OutOfBounds, "past the end of the block's shared memory");
        }
        let opening = shared.mailboxes.get(&mailbox).map(|mailbox| mailbox.opening);
        if !matches!(opening, Some(Opening::Cluster { arrivals }) if arrivals < sent.waits) {
            let message = "no barrier of the cluster lies between this and the initialisation of the mbarrier";
            return refuse(FaultKind::ClusterRace, message);
        }
        if !self.blocks[rank].receive(to, &sent.data, sent.waits) {
            let message = "the block that is sent to touches this place, or others send there too";
            return refuse(FaultKind::ClusterRace, message);
        }
        if let Some(mailbox) = self.blocks[rank].shared.mailboxes.get_mut(&mailbox) {
            mailbox.receive(to, sent.data.len());
        }
        Ok(())
    }

    /// A sum that grows with everything that others may be waiting for.
    pub fn progress(&self) -> u64 {
        self.blocks.iter().map(Block::progress).sum()
    }

    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The fault of a cluster that waits in vain, at its first block that has not ended.
    pub fn deadlocked(&self, env: &Env) -> Fault {
        let waiting = self.ended.iter().position(|ended| !ended).unwrap_or(0);
        self.blocks[waiting].deadlocked(env)
    }
}
