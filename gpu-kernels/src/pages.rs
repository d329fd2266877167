//! What the attention kernels share: which rows are theirs, and where a sequence's keys and values are.
use crate::{PAGE_TOKENS, Ptr};
use cuda_std::global;

/// The row of a sequence that adds one token in this step; none of another sequence.
///
/// # Safety
/// `row_start` holds one element more than there are sequences.
#[inline(always)]
pub unsafe fn one_new_row(row_start: Ptr<i32>, sequence: u32) -> Option<u32> {
    let at = row_start.addr + u64::from(sequence) * 4;
    // SAFETY: the caller's promise.
    let (row, end): (u32, u32) = unsafe { (global::load(at), global::load(at + 4)) };
    (end - row == 1).then_some(row)
}

/// The first key that the last of `keys` positions sees; `window` 0 stands for all.
#[inline(always)]
pub fn first_key(keys: u32, window: u32) -> u32 {
    if window == 0 { 0 } else { keys.saturating_sub(window) }
}

/// One sequence's pages of one kv head, the same in both pools.
#[derive(Clone, Copy)]
pub struct Pages {
    /// The sequence's row of the block table.
    pub table: u64,
    /// Key and value heads.
    pub kv_heads: u32,
    /// The head that is meant.
    pub kv_head: u32,
    /// Bytes of a row of a head.
    pub row_bytes: u32,
}

impl Pages {
    /// Offset in bytes, from the start of a pool, of the first row of the page that holds key `key`.
    ///
    /// # Safety
    /// The sequence has that key.
    #[inline(always)]
    pub unsafe fn offset(&self, key: u32) -> u64 {
        // SAFETY: the caller's promise.
        let page: u32 = unsafe { global::load(self.table + u64::from(key / PAGE_TOKENS) * 4) };
        let head = u64::from(page) * u64::from(self.kv_heads) + u64::from(self.kv_head);
        head * u64::from(PAGE_TOKENS * self.row_bytes)
    }
}
