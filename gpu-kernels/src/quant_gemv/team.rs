//! Warps of a block that share a tile: all eight, or fewer, of which a block then has several teams with a tile each.
use crate::gemv::WARPS;
use cuda_std::{barrier, thread};

/// The team of a warp.
#[derive(Clone, Copy)]
pub struct Team {
    /// Its warps.
    pub warps: u32,
    /// Which of them this one is.
    pub rank: u32,
    /// Which of the block's teams it is.
    number: u32,
    /// Teams of a block.
    teams: u32,
}

impl Team {
    /// All warps of the block.
    #[inline(always)]
    pub fn block() -> Team {
        Team { warps: WARPS, rank: thread::warp_id(), number: 0, teams: 1 }
    }

    /// Of so many warps: 1, 2, 4 or 8.
    #[inline(always)]
    pub fn of(warps: u32) -> Team {
        let (warp, log) = (thread::warp_id(), warps.trailing_zeros());
        Team { warps, rank: warp & (warps - 1), number: warp >> log, teams: WARPS >> log }
    }

    /// Its first tile: those of all blocks come before a block's second, so that blocks have as many, or one more.
    #[inline(always)]
    pub fn first_tile(&self) -> u32 {
        thread::block_idx_x() + self.number * thread::grid_dim_x()
    }

    /// The tile behind another of its own.
    #[inline(always)]
    pub fn behind(&self, tile: u32) -> u32 {
        tile + self.teams * thread::grid_dim_x()
    }

    /// How many of a tile's steps are this warp's, which they take by turns.
    #[inline(always)]
    pub fn share(&self, steps: u32) -> u32 {
        (steps + self.warps - 1 - self.rank) >> self.warps.trailing_zeros()
    }

    /// This thread's number in the team.
    #[inline(always)]
    pub fn thread(&self) -> u32 {
        self.rank * thread::WARP_SIZE + thread::lane_id()
    }

    /// The first of its warps.
    #[inline(always)]
    pub fn first_warp(&self) -> u32 {
        self.number * self.warps
    }

    /// Waits for all of its threads; what they wrote before is then visible to all of them.
    ///
    /// # Safety
    /// The whole team comes here.
    #[inline(always)]
    pub unsafe fn sync(&self) {
        // SAFETY: the caller's promise; no other team takes the barrier.
        unsafe {
            if self.teams == 1 {
                barrier::sync_threads();
            } else {
                barrier::sync_named(1 + self.number, self.warps * thread::WARP_SIZE);
            }
        }
    }
}
