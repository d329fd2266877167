//! Warps of a block that share a tile: all eight, or fewer, of which a block then has several teams with a tile each.
use crate::gemv::WARPS;
use cuda_std::shared::Shared;
use cuda_std::{barrier, thread, warp};

/// The team of a warp.
#[derive(Clone, Copy)]
pub struct Team {
    /// Its warps.
    pub warps: u32,
    /// Which of them this one is.
    pub rank: u32,
    /// Which of the block's teams it is.
    pub number: u32,
    /// Teams of a block, as a power of two.
    log_teams: u32,
}

impl Team {
    /// All warps of the block.
    #[inline(always)]
    pub fn block() -> Team {
        Team { warps: WARPS, rank: thread::warp_id(), number: 0, log_teams: 0 }
    }

    /// Of so many warps: 1, 2, 4 or 8.
    #[inline(always)]
    pub fn of(warps: u32) -> Team {
        let (warp, log) = (thread::warp_id(), warps.trailing_zeros());
        Team { warps, rank: warp & (warps - 1), number: warp >> log, log_teams: WARPS.trailing_zeros() - log }
    }

    /// Its first tile, and how far each of its own is from the next: those of all blocks come before a block's second, so that blocks
    /// have as many, or one more.
    #[inline(always)]
    pub fn tiles(&self) -> (u32, u32) {
        (thread::block_idx_x() + self.number * thread::grid_dim_x(), thread::grid_dim_x() << self.log_teams)
    }

    /// Teams of a block.
    #[inline(always)]
    pub fn teams(&self) -> u32 {
        1 << self.log_teams
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
            if self.log_teams == 0 {
                barrier::sync_threads();
            } else if self.warps == 1 {
                warp::sync();
            } else {
                barrier::sync_named(1 + self.number, self.warps * thread::WARP_SIZE);
            }
        }
    }

    /// The sum of one of each of its warps, in their order, which stand `apart` from one another.
    ///
    /// # Safety
    /// They are there.
    #[inline(always)]
    pub unsafe fn joined(&self, sums: Shared<f32>, apart: u32) -> f32 {
        // SAFETY: the caller's promise.
        let of = |warp: u32| unsafe { sums.load(warp * apart) };
        let mut sum = of(0);
        if self.warps > 1 {
            sum += of(1);
            if self.warps > 2 {
                sum = sum + of(2) + of(3);
                if self.warps > 4 {
                    sum = sum + of(4) + of(5) + of(6) + of(7);
                }
            }
        }
        sum
    }
}
