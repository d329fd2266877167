//! The chunks of a block: every so many of all, and always the same.
use super::super::MoeGemm;
use crate::moe_sort::{NARROW, TILE, is_wide, max_tiles};
use cuda_std::{global, thread};

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
        !is_wide(self.live)
    }

    /// Rows of a stage that are the weight's.
    #[inline(always)]
    pub fn most_rows(&self) -> u32 {
        if self.is_narrow() { TILE } else { NARROW }
    }
}

/// The chunks that are left to a block. Those of neighbouring blocks are of the same tiles, whose tokens the L2 cache then
/// has for all of them: one block behind the other, each would find that the weights have driven them out.
#[derive(Clone, Copy)]
pub struct Share {
    /// The next one's number, from the first tile's first row on.
    chunk: u32,
}

impl Share {
    /// The block's own.
    #[inline(always)]
    pub fn of_block() -> Share {
        Share { chunk: thread::block_idx_x() }
    }

    /// Takes the next chunk.
    ///
    /// # Safety
    /// The kernel's Requires hold; the tiles are written.
    #[inline(always)]
    pub unsafe fn next(&mut self, args: &MoeGemm) -> Option<Chunk> {
        let [narrow, wide] = args.chunks();
        // SAFETY: the tile is there.
        let tile = |tile: u32| -> [u32; 4] { unsafe { global::load(args.tiles.addr + 16 * u64::from(tile)) } };
        // The last tile that does not begin behind the chunk is between the two.
        let (mut low, mut high) = (0, max_tiles(args.rows * args.top_k, args.experts));
        let (mut found, mut before) = (tile(0), 0);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let words = tile(middle);
            let own = middle * narrow + words[3] * (wide - narrow);
            if own <= self.chunk {
                (low, found, before) = (middle, words, own);
            } else {
                high = middle;
            }
        }
        let [expert, first, live, _] = found;
        let mut chunk = Chunk { expert, first, live, row: 0, rows: 0 };
        chunk.row = (self.chunk - before) * chunk.most_rows();
        chunk.rows = args.n.saturating_sub(chunk.row).min(chunk.most_rows());
        if live == 0 || chunk.rows == 0 {
            return None;
        }
        self.chunk += thread::grid_dim_x();
        Some(chunk)
    }
}
