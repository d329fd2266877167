//! How a block of `attn_decode` shares out its shared memory.
use super::{HEADS_AT_ONCE, MOST_CLUSTERED, WARPS};
use crate::{KvFormat, SPLIT_TOKENS};

/// Bytes of a query in shared memory: so many more than it has that eight lanes which read it find different banks.
pub const fn query_bytes(head_dim: u32) -> u32 {
    head_dim * 2 + 64
}

/// Shared bytes of a warp's sums of a head.
pub const fn sum_bytes(head_dim: u32) -> u32 {
    head_dim * 4 + 16
}

/// Bytes from a value of `bytes` to the next in shared memory, and the same of keys: so many more than they have that lanes which read
/// together find different banks.
pub const fn row_bytes(kv: KvFormat, bytes: u32) -> [u32; 2] {
    match kv {
        KvFormat::Act => [bytes + 32, bytes + 16],
        KvFormat::Fp8 => [bytes + 16, bytes + 32],
    }
}

/// What a warp's slot has room for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    /// Whether values take the keys' place.
    pub compact: bool,
    /// The most heads of a team: their sums take the keys' place too.
    pub heads: u32,
}

impl Slots {
    /// Values beside keys.
    pub const APART: Slots = Slots { compact: false, heads: HEADS_AT_ONCE };
    /// Values in the keys' place.
    pub const COMPACT: Slots = Slots { compact: true, heads: HEADS_AT_ONCE };
    /// Values beside keys, for small teams: codes take less room than the sums of a large one.
    pub const OF_FEW: Slots = Slots { compact: false, heads: 4 };

    /// Shared bytes of a slot.
    pub const fn bytes(self, head_dim: u32, kv: KvFormat) -> u32 {
        let [values, keys] = row_bytes(kv, head_dim * kv.bytes());
        let (values, keys) = (SPLIT_TOKENS / WARPS * values, SPLIT_TOKENS / WARPS * keys);
        let sums = self.heads * sum_bytes(head_dim);
        let keys = if keys > sums { keys } else { sums };
        match self.compact {
            false => values + keys,
            true if values > keys => values,
            true => keys,
        }
    }

    /// Where in a slot the keys are, and sums.
    #[cfg(target_arch = "nvptx64")]
    pub const fn keys_at(self, head_dim: u32, kv: KvFormat) -> u32 {
        if self.compact { 0 } else { SPLIT_TOKENS / WARPS * row_bytes(kv, head_dim * kv.bytes())[0] }
    }
}

/// Shared bytes of the statistics: the warps' largest scores and totals of all turns and heads; or weights of splits, when those are done with.
pub const STAT_BYTES: u32 = 1024;

/// Most shared bytes of the sums of splits that are joined at once, outside clusters.
pub const JOIN_BYTES: u32 = 48 << 10;

/// Shared bytes of what a block keeps of its work.
pub const KEPT_BYTES: u32 = 32;

/// Blocks of eight columns, which a split of a cluster adds or does not, of a head.
pub const fn column_blocks(head_dim: u32) -> u32 {
    head_dim / 8
}

/// Shared bytes of what the other splits of a cluster send: see `cluster.rs`.
pub const fn sent_bytes(heads: u32, head_dim: u32) -> u32 {
    8 + MOST_CLUSTERED * HEADS_AT_ONCE * 8 + heads * (column_blocks(head_dim) + MOST_CLUSTERED) * 32
}
