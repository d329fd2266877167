//! The blocks that own a row together in `sample`: what each has counted of its share becomes the row's.
use super::limit::{bin, set};
use super::weigh::{Range, multiply_high};
use super::{Sample, TEAMS, TOLD_WORDS};
use cuda_std::unroll::array;
use cuda_std::{barrier, global, grid, thread};

/// Words of other blocks that a thread asks for at once.
const AT_ONCE: usize = 8;

/// This block's team.
pub struct Team {
    /// Its blocks, side by side in the grid.
    blocks: u32,
    /// Where the first of them tells the others, in one of two places by turns: who has come to the next exchange has read
    /// what the one before left.
    told: [u64; 2],
    arrivals: u64,
}

impl Team {
    #[inline(always)]
    pub fn new(args: &Sample) -> Team {
        let (row, blocks) = (thread::block_idx_y(), thread::grid_dim_x());
        let place = |turn: u32| args.shared.addr + u64::from((turn * TEAMS + row * blocks) * TOLD_WORDS) * 4;
        Team { blocks, told: [place(0), place(1)], arrivals: args.arrivals.addr + u64::from(row) * 4 }
    }

    /// The block's share of the row.
    #[inline(always)]
    pub fn range(&self, vocab: u32) -> Range {
        Range { start: 0, end: vocab }.part(thread::block_idx_x(), self.blocks)
    }

    /// Makes the first `count` bins the sums over the bins of all blocks.
    ///
    /// # Safety
    /// All threads of the team call it together, where thread i may read the bins i, i + `threads` and so on; the arguments are
    /// as the kernel's Requires say.
    #[inline(always)]
    pub unsafe fn join(&mut self, count: u32) {
        // SAFETY: each thread has its own bins between the barriers, and each block its own place.
        unsafe {
            if self.blocks == 1 {
                return;
            }
            let [told, next] = self.told;
            self.told = [next, told];
            let word = |block: u32, index: u32| told + u64::from(block * TOLD_WORDS + index * 2) * 4;
            let mut index = thread::thread_idx_x();
            while index < count {
                global::store(word(thread::block_idx_x(), index), bin(index));
                index += thread::block_dim_x();
            }
            grid::sync(self.arrivals);
            let mut index = thread::thread_idx_x();
            while index < count {
                let (mut sum, mut block) = (0, 0);
                while block < self.blocks {
                    let there: [u64; AT_ONCE] = array(|i| {
                        let other = block + i as u32;
                        if other < self.blocks { global::load(word(other, index)) } else { 0 }
                    });
                    sum += there.into_iter().sum::<u64>();
                    block += AT_ONCE as u32;
                }
                set(index, sum);
                index += thread::block_dim_x();
            }
            barrier::sync_threads();
        }
    }

    /// What falls to this block of the share `random · 2⁻⁶⁴` of all blocks' weights, of which `own` are its own; none where
    /// the share ends in another block.
    ///
    /// # Safety
    /// As for [`Team::join`]; the bins are free.
    #[inline(always)]
    pub unsafe fn share_of(&mut self, own: u64, random: u64) -> Option<u64> {
        if self.blocks == 1 {
            return Some(multiply_high(random, own));
        }
        // SAFETY: a team has at most 32 blocks, and each block a warp at least; the rest is the caller's promise.
        unsafe {
            let bin_of_thread = thread::thread_idx_x();
            if bin_of_thread < self.blocks {
                set(bin_of_thread, if bin_of_thread == thread::block_idx_x() { own } else { 0 });
            }
            self.join(self.blocks);
            let (mut total, mut before) = (0, 0);
            let mut block = 0;
            while block < self.blocks {
                before = if block == thread::block_idx_x() { total } else { before };
                total += bin(block);
                block += 1;
            }
            let share = multiply_high(random, total);
            (before <= share && share < before + own).then_some(share.wrapping_sub(before))
        }
    }
}
