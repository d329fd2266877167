//! The blocks that read one row of logits together: each a range of it, and the last to arrive joins what they found.
//!
//! No block waits for another, so nothing asks for all of them to be resident.

/// Most rows that have several blocks each; with more, a block to a row fills the device.
pub const TEAM_ROWS: u32 = 64;
/// Most blocks of a row.
pub const TEAM_BLOCKS: u32 = 32;
/// Most blocks of all rows together, where each has several.
pub const ALL_BLOCKS: u32 = 256;
/// Tokens that a block has at least, where there are several.
const FEWEST_TOKENS: u32 = 4096;

/// Blocks for each of `rows` rows of `vocab` logits.
pub(crate) fn blocks(rows: u32, vocab: u32) -> u32 {
    if rows > TEAM_ROWS {
        return 1;
    }
    (ALL_BLOCKS / rows).min(TEAM_BLOCKS).min(vocab / FEWEST_TOKENS).max(1)
}
