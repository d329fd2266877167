//! `moe_route`: which experts a token row goes to, and how much each of them counts.
//!
//! # Formula
//! `logits[t, e] = Σ_k a[t, k] · w[e, k]`, where `a` is `x`, or with `norm_weight` what `rms_norm` makes of it, which goes to
//! `normed`; `s = 1 / (1 + e^(−logits))`, `c = s + bias`. With several groups, a group's score is
//! the sum of its two best `c`, and only the `top_groups` best groups stay. `ids[t, j]` is the j-th best `c` of what stays;
//! `weights[t, j] = scale · s[ids[t, j]]`, with `normalize` over `Σ_j s[ids[t, j]] + 1e-20`. The lowest number wins a tie.
//! Source: `NemotronHTopkRouter` of transformers.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `x` | `[rows, hidden]` | act | row-major |
//! | `norm_weight` | `[hidden]` or null | weight | |
//! | `w` | `[experts, hidden]` | f32 | row-major |
//! | `bias` | `[experts]` | f32 | |
//! | `normed` | `[rows, hidden]`, or null without a norm | act | row-major, written |
//! | `logits` | `[rows, experts]` | f32 | row-major, written |
//! | `counters` | `[⌈rows/8⌉]` | i32 | 0 before and after; more than 8 rows need a half of it, more than 64 a fourth |
//! | `ids` | `[rows, top_k]` | i32 | row-major, written |
//! | `weights` | `[rows, top_k]` | f32 | row-major, written |
//!
//! # Launch
//! Of up to 8 rows a block has 4 experts, one to a warp; it asks for the first 4096 columns of its weights before the
//! kernel in front has ended, and lets the next one start behind its wait. `moe_route_rms_norm` does the same with one token
//! row, which every block normalises for itself, with as many threads as `rms_norm` has.
//!
//! Of 9 to 64 rows a block has 8 experts and 16 rows (`moe_route_16`), of more 16 and 32 (`moe_route_32`), and lets the next
//! kernel start at once. Its warps share the columns: each multiplies every 16th 32 of them on the tensor core, of which
//! lanes load eight neighbours each, and splits the weights into three bf16 in registers.
//!
//! A block counts itself when its logits are stored; the last one of the rows chooses, a row to a warp.
//!
//! # Requires
//! At least 1 row, with a norm 1 of at most 16 384; `hidden` divisible by 8; at most 1024 experts, a multiple of `groups`;
//! 1 to 32 groups, of at least 2 experts where there are several; `top_k` from 1 to 32 and at most the experts of
//! `top_groups` groups; `x`, `w`, `norm_weight` and `normed` 16-byte aligned, of finite
//! numbers; `normed` is not `x`.
//!
//! # Moves
//! `experts · hidden · 4 + rows · (hidden · act + experts · 8 + top_k · 8)` bytes, and behind a norm `4 · hidden`.
//!
//! # Numerics
//! In f32, what the norm gives rounded. Of up to 8 rows a lane sums every 32nd group of 8 products in order, then the lanes
//! join by a butterfly. Of more, a weight of 2⁻¹¹⁰ or more is exactly the sum of three bf16, whose products with a token
//! are exact in f32; the tensor core adds those of the first parts and those of the others, 16 at once, and the warps' sums
//! are added in their order. Neither order depends on `rows`. The chosen weights' sum is in the order of choice.
//! c = 16, d = 4: a normalised value may be the neighbour of what it is to be; without a norm d counts for nothing.
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, GEMV_MAX_ROWS, Kernel, Launch, Ptr, StepShape, Weight, rms_norm};

/// Warps of a block, and experts that it has.
const FEW_WARPS: u32 = 4;
/// Warps of a block that normalises its row: half of them have no expert.
const NORM_WARPS: u32 = rms_norm::threads(1) / 32;
/// Longest row that a block normalises.
const MAX_NORMED: u32 = 16_384;
/// Groups of weights, or experts, of a lane in a batch; batches of a warp's ring, and its bytes.
const BATCH: usize = 4;
const AHEAD: u32 = 4;
const RING_BYTES: u32 = AHEAD * BATCH as u32 * 32 * 8 * 4;
/// Warps of a block where there are more rows: they share the columns.
const WARPS: u32 = 16;
/// Most token rows of the entry without the tensor core. It lets the next kernels start behind its wait, so that products of settled rows
/// may run beside it.
pub const ROWS: u32 = 8;
const _: () = assert!(GEMV_MAX_ROWS <= ROWS);
/// The most rows for which blocks of more are small.
const FEW: u32 = 64;
/// Most experts of a layer.
pub const MAX_EXPERTS: u32 = 1024;
/// Most experts that a row goes to.
pub const MAX_TOP_K: u32 = 32;
/// Most groups of experts.
pub const MAX_GROUPS: u32 = 32;

/// Experts of a batch of a warp that chooses.
const LISTED: u32 = BATCH as u32 * 32;

/// Places of the list of a row that chooses: for all experts in whole batches, and zeros behind them.
const fn listed(experts: u32) -> u32 {
    experts.next_multiple_of(LISTED) + 32
}

/// Rows of many that a block chooses for together, as shared memory has room.
const fn together(experts: u32) -> u32 {
    if experts <= 2 * LISTED { 16 } else { 8 }
}

/// Shared memory of such a row: its list, and the scores of those that are chosen and of all.
const fn room_bytes(experts: u32) -> u32 {
    8 * listed(experts) + 4 * (MAX_TOP_K + experts.next_multiple_of(LISTED))
}

/// What the smallest GPUs give a block.
const _: () = assert!(ROWS * room_bytes(MAX_EXPERTS) <= 99 << 10 && 16 * room_bytes(2 * LISTED) <= 99 << 10);

kernel_args! {
    /// Arguments of `moe_route`.
    pub struct MoeRoute {
        /// `[rows, hidden]`: the residual stream, normalised unless there is `norm_weight`.
        pub x: Ptr<Act>,
        /// `[hidden]` or null.
        pub norm_weight: Ptr<Weight>,
        /// `[rows, hidden]`, written; null without a norm.
        pub normed: Ptr<Act>,
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
        /// Of the norm.
        pub eps: f32,
        /// Of the norm: [`rms_norm::ONCE`] or [`rms_norm::TWICE`].
        pub roundings: u32,
    }
}

impl Kernel for MoeRoute {
    const NAME: &'static str = "moe_route";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 && self.rows.div_ceil(ROWS) < 1 << 16 => "at least one row, fewer than 8 · 65536",
            self.hidden > 0 && self.hidden.is_multiple_of(8) => "hidden divisible by 8",
            self.norm_weight.is_null() == self.normed.is_null() => "both norm_weight and normed, or neither",
            self.norm_weight.is_null() || (self.rows == 1 && self.hidden <= MAX_NORMED) => "one row of at most 16384 behind a norm",
            matches!(self.roundings, rms_norm::ONCE | rms_norm::TWICE) => "one rounding or two",
            self.experts > 0 && self.experts <= MAX_EXPERTS => "1 to 1024 experts",
            self.groups > 0 && self.groups <= MAX_GROUPS => "1 to 32 groups",
            self.experts.is_multiple_of(self.groups) => "groups of equal size",
            self.groups == 1 || self.experts / self.groups >= 2 => "at least 2 experts in a group",
            self.top_groups > 0 && self.top_groups <= self.groups => "1 to all groups to choose from",
            self.top_k > 0 && self.top_k <= MAX_TOP_K => "1 to 32 experts for a row",
            self.top_k <= self.experts / self.groups * self.top_groups => "as many experts as a row goes to",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        // The rings of few rows, or the warps' sums of more, in whose place a row then chooses.
        let sums = |experts: u32, rows: u32| WARPS * experts * rows * 4;
        let rings = FEW_WARPS * RING_BYTES;
        let (symbol, warps, [experts, rows], bytes) = if !self.norm_weight.is_null() {
            ("moe_route_rms_norm", NORM_WARPS, [FEW_WARPS, 1], rings + 2 * self.hidden)
        } else if self.rows <= ROWS {
            (Self::NAME, FEW_WARPS, [FEW_WARPS, ROWS], rings)
        } else if self.rows <= FEW {
            ("moe_route_16", WARPS, [8, 16], sums(8, 16))
        } else {
            ("moe_route_32", WARPS, [16, 32], sums(16, 32))
        };
        let choosing = if self.rows > ROWS { together(self.experts) } else { self.rows };
        let shared_bytes = bytes.max(choosing * room_bytes(self.experts));
        let grid = [self.experts.div_ceil(experts), self.rows.div_ceil(rows), 1];
        Launch { grid, shared_bytes, overlaps: true, ..Launch::linear(symbol, 1, warps * 32) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let (rows, hidden, experts) = (u64::from(self.rows), u64::from(self.hidden), u64::from(self.experts));
        let norm = if self.norm_weight.is_null() { 0 } else { hidden * 4 };
        experts * hidden * 4 + rows * (hidden * 2 + experts * 8 + u64::from(self.top_k) * 8) + norm
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
