//! The share of a block in the work of all tiles: as much as every other block's, and always the same.
use super::super::{MoeGemm, RING_ROWS, RING_STAGES, UNIT};
use crate::moe_sort::{NARROW, TILE, max_tiles, work};
use core::num::NonZero;
use cuda_std::barrier::sync_threads;
use cuda_std::shared::{self, Shared};
use cuda_std::{global, thread, wgmma};

/// Choices of an expert, and rows of its weight, that are multiplied together.
pub struct Chunk {
    pub expert: u32,
    /// The first place in `order`, and how many.
    pub first: u32,
    pub live: u32,
    /// The first row of the weight, and how many.
    pub row: u32,
    pub rows: u32,
}

impl Chunk {
    /// Whether few choices leave room for many rows of the weight.
    #[inline(always)]
    pub fn is_narrow(&self) -> bool {
        self.live <= NARROW
    }

    /// Rows of a stage that are the weight's.
    #[inline(always)]
    pub fn most_rows(&self) -> u32 {
        if self.is_narrow() { TILE } else { NARROW }
    }
}

/// From one place in the list of all tiles' units to another; a unit is 64 rows of a weight.
#[derive(Clone, Copy)]
pub struct Share {
    tile: u32,
    unit: u32,
    end_tile: u32,
    end_unit: u32,
}

impl Share {
    /// The block's own.
    ///
    /// # Safety
    /// The whole block comes here; the kernel's Requires hold.
    #[inline(always)]
    pub unsafe fn of_block(args: &MoeGemm) -> Share {
        let tiles = max_tiles(args.rows * args.top_k, args.experts);
        let units = args.n.div_ceil(UNIT);
        let words = Shared::<u32>::from_address(shared::dynamic::<u8>().address())
            .cast::<u8>()
            .offset(RING_STAGES * RING_ROWS * wgmma::ROW_BYTES)
            .cast::<u32>();
        // SAFETY: the tiles are written; the words are written before the first barrier or by the tile that has the place.
        unsafe {
            let tile = |tile: u32| -> [u32; 4] { global::load(args.tiles.addr + 16 * u64::from(tile)) };
            let [_, _, places, before] = tile(tiles - 1);
            let all = (before + work(places)) * units;
            let quota = all.div_ceil(thread::grid_dim_x());
            let ends = [thread::block_idx_x(), thread::block_idx_x() + 1].map(|block| (quota * block).min(all));
            if thread::thread_idx_x() < 2 {
                words.store(2 * thread::thread_idx_x(), tiles);
                words.store(2 * thread::thread_idx_x() + 1, 0);
            }
            sync_threads();
            let mut own = thread::thread_idx_x();
            while own < tiles {
                let [_, _, places, before] = tile(own);
                for (i, end) in [(0, ends[0]), (1, ends[1])] {
                    let within = end.wrapping_sub(before * units);
                    if let Some(work) = NonZero::new(work(places))
                        && within < work.get() * units
                    {
                        words.store(2 * i, own);
                        words.store(2 * i + 1, (within + (work.get() - 1)) / work);
                    }
                }
                own += thread::block_dim_x();
            }
            sync_threads();
            let [tile, unit, end_tile, end_unit] = words.cast::<[u32; 4]>().load(0);
            Share { tile, unit, end_tile, end_unit }
        }
    }

    /// Takes the next chunk.
    ///
    /// # Safety
    /// The whole block comes here; the kernel's Requires hold.
    #[inline(always)]
    pub unsafe fn next(&mut self, args: &MoeGemm) -> Option<Chunk> {
        if self.unit * UNIT >= args.n {
            self.unit = 0;
            self.tile += 1;
        }
        let is_last = self.tile == self.end_tile;
        if self.tile > self.end_tile || is_last && self.unit >= self.end_unit {
            return None;
        }
        // SAFETY: the tile is there: with no place it is the end of all shares.
        let [expert, first, live, _]: [u32; 4] = unsafe { global::load(args.tiles.addr + 16 * u64::from(self.tile)) };
        let mut chunk = Chunk { expert, first, live, row: self.unit * UNIT, rows: 0 };
        let end = if is_last { (self.end_unit * UNIT).min(args.n) } else { args.n };
        chunk.rows = (end - chunk.row).min(chunk.most_rows());
        self.unit += chunk.rows.div_ceil(UNIT);
        if live == 0 { None } else { Some(chunk) }
    }
}
