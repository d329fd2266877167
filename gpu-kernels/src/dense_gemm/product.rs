//! What `dense_gemm` and `moe_gemm` have in common: a product that blocks compute chunk by chunk.
use crate::moe_sort::{NARROW, TILE, is_wide};
use cuda_std::thread;

/// Where the operands of a product come from, and what becomes of its sums. A place counts the token rows as the tiles have them.
///
/// # Safety
/// All unsafe functions ask for the kernel's Requires, and for places and columns that are there.
pub trait Product {
    /// What is added to the sums of two neighbouring columns.
    type Bias: Copy + Default;

    /// Columns of both operands.
    fn k(&self) -> u32;

    /// The chunk of that number, if there is one.
    ///
    /// # Safety
    /// As for the trait.
    unsafe fn chunk(&self, number: u32) -> Option<Chunk>;

    /// The address of the token row at a place.
    ///
    /// # Safety
    /// As for the trait.
    unsafe fn token(&self, place: u32) -> u64;

    /// The row of the result for a place.
    ///
    /// # Safety
    /// As for the trait.
    unsafe fn output_row(&self, place: u32) -> u32;

    /// What is added to the sums of a column and its neighbour.
    ///
    /// # Safety
    /// As for the trait; the column may lie behind the last.
    unsafe fn bias(&self, column: u32) -> Self::Bias;

    /// The two elements of the residual that begin in a column; 0 for none.
    ///
    /// # Safety
    /// As for the trait; the column may lie behind the last.
    unsafe fn residual(&self, row: u32, column: u32) -> u32;

    /// Stores the results of the sums of a column and its neighbour, as far as they are there.
    ///
    /// # Safety
    /// As for the trait; the columns may lie behind the last.
    unsafe fn store(&self, at: [u32; 2], sums: [f32; 2], bias: Self::Bias, residual: u32);
}

/// Token rows, and rows of a weight, that are multiplied together.
pub struct Chunk {
    /// The address of its first row of the weight.
    pub weights: u64,
    /// The first place, and how many.
    pub first: u32,
    pub live: u32,
    /// The first row of the weight, which is the result's column, and how many.
    pub row: u32,
    pub rows: u32,
}

impl Chunk {
    /// Whether few token rows leave room for many rows of the weight.
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

/// The chunks that are left to a block: every so many of all, and always the same. Those of neighbouring blocks are of the same
/// tokens, which the L2 cache then has for all of them: one block behind the other, each would find that the weights have
/// driven them out.
#[derive(Clone, Copy)]
pub struct Share {
    /// The next one's number.
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
    /// The kernel's Requires hold.
    #[inline(always)]
    pub unsafe fn next<P: Product>(&mut self, args: &P) -> Option<Chunk> {
        // SAFETY: the caller's promise.
        let chunk = unsafe { args.chunk(self.chunk) }?;
        self.chunk += thread::grid_dim_x();
        Some(chunk)
    }
}
