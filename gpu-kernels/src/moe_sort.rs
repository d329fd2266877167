//! `moe_sort`: which choices go to which expert, in the order of the rows, cut into tiles for `moe_gemm`.
//!
//! # Formula
//! `order` holds the choices 0 to `rows · top_k` − 1 by ascending `ids[choice]`, equal ones in their own order. The choices of
//! each expert are cut into tiles of 256 of their places in `order`; `tiles[i]` is (expert, first place, places, how many of
//! the tiles before it are wide) of the i-th tile; a wide one has more than 128 places. Those behind the last have no places.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `ids` | `[rows, top_k]` | i32 | row-major |
//! | `order` | `[rows · top_k]` | i32 | written |
//! | `tiles` | `[max_tiles, 4]` | i32 | row-major, written |
//!
//! # Launch
//! One block of 32 warps. Half of them have neighbouring choices each, 32 at a time: a warp counts them by expert, and once the counts of
//! all warps and experts before are known it puts them in their places.
//!
//! # Requires
//! At least 1 choice; at most 1024 experts; ids from 0 to `experts` − 1; `max_tiles` as `max_tiles()` gives it.
//!
//! # Moves
//! `rows · top_k · 8 + max_tiles · 16` bytes.
//!
//! # Numerics
//! Integers: exact.
use crate::kernel::{kernel_args, require};
use crate::moe_route::MAX_EXPERTS;
use crate::{DeviceInfo, Kernel, Launch, Ptr, StepShape};

#[cfg(target_arch = "nvptx64")]
mod entry;

/// Most places of a tile.
pub const TILE: u32 = 256;
/// Most places of a tile that leaves room for twice the rows of weights beside it.
pub const NARROW: u32 = TILE / 2;

/// Warps of the block, and those of them that have choices.
const WARPS: u32 = 32;
const COUNTERS: u32 = 16;

kernel_args! {
    /// Arguments of `moe_sort`.
    pub struct MoeSort {
        /// `[rows, top_k]`.
        pub ids: Ptr<i32>,
        /// `[rows · top_k]`, written: choices by expert.
        pub order: Ptr<i32>,
        /// `[max_tiles, 4]`, written: expert, first place, places, wide tiles before.
        pub tiles: Ptr<i32>,
        /// Token rows.
        pub rows: u32,
        /// Experts that a row goes to.
        pub top_k: u32,
        /// Experts.
        pub experts: u32,
    }
}

/// The most tiles that `choices` choices among `experts` may need.
pub const fn max_tiles(choices: u32, experts: u32) -> u32 {
    choices / TILE + if choices < experts { choices } else { experts }
}

/// Whether a tile of so many places is wide: `moe_gemm` takes half as many rows of the weight beside it.
pub const fn is_wide(places: u32) -> bool {
    places > NARROW
}

impl Kernel for MoeSort {
    const NAME: &'static str = "moe_sort";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 && self.top_k > 0 => "at least one choice",
            self.rows < 1 << 20 && self.top_k < 1 << 10 => "fewer than 2^20 rows and 2^10 choices of a row",
            self.experts > 0 && self.experts <= MAX_EXPERTS => "1 to 1024 experts",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        let shared_bytes = (COUNTERS + 1) * (self.experts + 1) * 4;
        Launch { shared_bytes, overlaps: true, ..Launch::linear(Self::NAME, 1, WARPS * 32) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let choices = self.rows * self.top_k;
        u64::from(choices) * 8 + u64::from(max_tiles(choices, self.experts)) * 16
    }
}
