//! `moe_route`: which experts a token row goes to, and how much each of them counts.
//!
//! # Formula
//! `logits[t, e] = Σ_k x[t, k] · w[e, k]`, `s = 1 / (1 + e^(−logits))`, `c = s + bias`. With several groups, a group's score is
//! the sum of its two best `c`, and only the `top_groups` best groups stay. `ids[t, j]` is the j-th best `c` of what stays;
//! `weights[t, j] = scale · s[ids[t, j]]`, with `normalize` over `Σ_j s[ids[t, j]] + 1e-20`. The lowest number wins a tie.
//! Source: `NemotronHTopkRouter` of transformers.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `x` | `[rows, hidden]` | act | row-major |
//! | `w` | `[experts, hidden]` | f32 | row-major |
//! | `bias` | `[experts]` | f32 | |
//! | `logits` | `[rows, experts]` | f32 | row-major, written |
//! | `counters` | `[⌈rows/8⌉]` | i32 | 0 before and after; more than 64 rows need a fourth of it |
//! | `ids` | `[rows, top_k]` | i32 | row-major, written |
//! | `weights` | `[rows, top_k]` | f32 | row-major, written |
//!
//! # Launch
//! A block has 4 experts, one to a warp, and 8 token rows; it asks for the first 4096 columns of its weights before the kernel
//! in front has ended. With more than 64 rows it has 32 of both, 8 experts and 16 rows to a warp, which pass through shared
//! memory 256 columns at a time. A block counts itself when its logits are stored; the last one of the rows chooses, a row
//! to a warp.
//!
//! # Requires
//! At least 1 row; `hidden` divisible by 8; at most 1024 experts, a multiple of `groups`;
//! 1 to 32 groups, of at least 2 experts where there are several; `top_k` from 1 to 32 and at most the experts of
//! `top_groups` groups; `x` and `w` 16-byte aligned.
//!
//! # Moves
//! `experts · hidden · 4 + rows · (hidden · act + experts · 8 + top_k · 8)` bytes.
//!
//! # Numerics
//! In f32: a lane sums every 32nd group of 8 products in order, then the lanes join by a butterfly, whatever `rows` is.
//! The weights' sum is in the order of choice. c = 16, d = 0.
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape};

/// Warps of a block, and experts that it has.
const FEW_WARPS: u32 = 4;
/// Groups of a lane in a batch; batches of a warp's ring, and its bytes.
const BATCH: usize = 4;
const AHEAD: u32 = 4;
const RING_BYTES: u32 = AHEAD * BATCH as u32 * 32 * 8 * 4;
/// Warps of a block where there are more rows.
const WARPS: u32 = 8;
/// Token rows of a block.
pub const ROWS: u32 = 8;
/// The most rows for which blocks are so small.
const FEW: u32 = 64;
/// Token rows and experts of a block where there are more.
const TILE_ROWS: u32 = 32;
const TILE_EXPERTS: u32 = 32;
/// Columns of a stage, a group of 8 to a lane; stages that are asked for ahead of the one in use where there is room, and bytes
/// of one: tokens, then weights.
const DEPTH: u32 = 256;
const MOST_AHEAD: u32 = 3;
const STAGE_BYTES: u32 = DEPTH * (TILE_ROWS * 2 + TILE_EXPERTS * 4);
/// Most experts of a layer.
pub const MAX_EXPERTS: u32 = 1024;
/// Most experts that a row goes to.
pub const MAX_TOP_K: u32 = 32;
/// Most groups of experts.
pub const MAX_GROUPS: u32 = 32;

/// Shared memory of a row that chooses: all experts and zeros behind them, and its lanes' best.
const ROOM_BYTES: u32 = 8 * (MAX_EXPERTS + 32 + MAX_TOP_K);

kernel_args! {
    /// Arguments of `moe_route`.
    pub struct MoeRoute {
        /// `[rows, hidden]`: the normalised residual stream.
        pub x: Ptr<Act>,
        /// `[experts, hidden]`.
        pub w: Ptr<f32>,
        /// `[experts]`: added for the choice alone.
        pub bias: Ptr<f32>,
        /// `[rows, experts]`, written.
        pub logits: Ptr<f32>,
        /// `[⌈rows/8⌉]`: 0 between launches.
        pub counters: Ptr<i32>,
        /// `[rows, top_k]`, written.
        pub ids: Ptr<i32>,
        /// `[rows, top_k]`, written.
        pub weights: Ptr<f32>,
        /// Token rows.
        pub rows: u32,
        /// Width of a row.
        pub hidden: u32,
        /// Experts.
        pub experts: u32,
        /// Experts that a row goes to.
        pub top_k: u32,
        /// Groups of experts.
        pub groups: u32,
        /// Groups that a row may choose from.
        pub top_groups: u32,
        /// Whether the weights are divided by their sum: 0 or 1.
        pub normalize: u32,
        /// What the weights are multiplied by.
        pub scale: f32,
    }
}

impl Kernel for MoeRoute {
    const NAME: &'static str = "moe_route";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 && self.rows.div_ceil(ROWS) < 1 << 16 => "at least one row, fewer than 8 · 65536",
            self.hidden > 0 && self.hidden.is_multiple_of(8) => "hidden divisible by 8",
            self.experts > 0 && self.experts <= MAX_EXPERTS => "1 to 1024 experts",
            self.groups > 0 && self.groups <= MAX_GROUPS => "1 to 32 groups",
            self.experts.is_multiple_of(self.groups) => "groups of equal size",
            self.groups == 1 || self.experts / self.groups >= 2 => "at least 2 experts in a group",
            self.top_groups > 0 && self.top_groups <= self.groups => "1 to all groups to choose from",
            self.top_k > 0 && self.top_k <= MAX_TOP_K => "1 to 32 experts for a row",
            self.top_k <= self.experts / self.groups * self.top_groups => "as many experts as a row goes to",
        }
    }

    fn launch(&self, device: &DeviceInfo) -> Launch {
        let (symbol, warps, [experts, rows], bytes) = if self.rows > FEW {
            let all = (MOST_AHEAD + 1) * STAGE_BYTES;
            // Beside them the system takes 1 KB, and the counter 16 bytes.
            let (symbol, stages) = if device.shared_bytes_per_block > all + 1024 {
                ("moe_route_tiles_ahead", all)
            } else {
                ("moe_route_tiles", 2 * STAGE_BYTES)
            };
            (symbol, WARPS, [TILE_EXPERTS, TILE_ROWS], stages)
        } else {
            (Self::NAME, FEW_WARPS, [FEW_WARPS, ROWS], FEW_WARPS * RING_BYTES)
        };
        let shared_bytes = bytes.max(ROWS * ROOM_BYTES);
        let grid = [self.experts.div_ceil(experts), self.rows.div_ceil(rows), 1];
        Launch { grid, shared_bytes, overlaps: true, ..Launch::linear(symbol, 1, warps * 32) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let (rows, hidden, experts) = (u64::from(self.rows), u64::from(self.hidden), u64::from(self.experts));
        experts * hidden * 4 + rows * (hidden * 2 + experts * 8 + u64::from(self.top_k) * 8)
    }

    fn flops(&self, _: &StepShape) -> u64 {
        2 * u64::from(self.rows) * u64::from(self.hidden) * u64::from(self.experts)
    }
}

#[cfg(target_arch = "nvptx64")]
mod choose;
#[cfg(target_arch = "nvptx64")]
mod entry;
#[cfg(target_arch = "nvptx64")]
mod groups;
#[cfg(target_arch = "nvptx64")]
mod tiles;
