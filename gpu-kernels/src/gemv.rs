//! `gemv`: a product with a weight for a few token rows, bound by the weight's bytes, or with a small weight for any number;
//! a norm in front of it, activation and residual add behind it.
//!
//! # Formula
//! `s[t, n] = Σ_k a[t, k] · w[n, k] + bias[n]`, where `a` is `x`, or with `norm_weight` the row of `x` as `layer_norm_1p`
//! (with `norm_bias`), `gated_norm` (with `gate`) or `rms_norm` (without; with `roundings`) gives it. Then `y_f32 = s`,
//! with `residual` `s + residual`, or `y = r(s)`, with `residual` `y = r(residual + r(s))`, or with an activation `y =
//! f(r(s))`, where f is `relu2`: `r(max(s, 0)²)`, or `swiglu`, of rows n and `n + N/2` of the weight: `r(r(silu(s[t, n])) ·
//! s[t, n + N/2])`. `r` rounds to the activation type.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `x` | `[rows, k]` | act | row-major |
//! | `norm_weight` | `[k]` or null | weight | |
//! | `norm_bias` | `[k]` or null | weight | |
//! | `gate` | `[k]` or null | act | what `gated_norm` calls z; without `norm_bias` |
//! | `w` | `[n, k]` | weight | row-major |
//! | `bias` | `[n]` or null | weight | |
//! | `residual` | as the result, or null | act | row-major; may be `y` |
//! | `y` | `[rows, n]`, with `swiglu` `[rows, n/2]`, or null | act | row-major, written |
//! | `y_f32` | `[rows, n]` or null | f32 | row-major, written |
//! | `outbox` | or none | | instead of `y_f32`: sent to all ranks as packets of the [meeting](crate::all_reduce) behind |
//!
//! # Launch
//! A block takes tiles of 16 rows of the weight by turns; with `swiglu` 8 gates and the 8 rows beside them. Its 8 warps
//! share the columns, 128 at a time, or 64 (`_narrow`: short rows, and GPUs with little shared memory). A warp's weights
//! pass through a ring in shared memory, some steps ahead and from one tile on into the next, and its part of the token
//! rows comes into registers a step ahead; the tensor core multiplies, and behind each tile the warps' sums meet. In y
//! there is a block for every eight token rows, and each of those reads the weight. `gemv_rms_norm`, `gemv_layer_norm_1p`
//! and `gemv_gated_norm` take one token row, which every block normalises for itself. The first weights are on their way
//! before the kernel in front has ended, unless weights are what that kernel makes. With `x_settled` all runs beside it;
//! the first block waits for it at its end, so that what waits for this kernel has waited for that one too.
//!
//! # Requires
//! At least 1 row, with a norm 1 row of at most 16 384; `k` divisible by 8; `n` even with `swiglu`; `x`, `w`,
//! `norm_weight`, `norm_bias` and `gate` 16-byte aligned; with `gate` a multiple of 8 columns to each of `norm_groups`;
//! exactly one of `y`, `y_f32` and `outbox`, an activation with `y` alone and without `residual`; `y` overlaps nothing that
//! is read but `residual`; an outbox without a norm and with room for at most 8 rows, and `n` is divisible by 4 then.
//!
//! # Moves
//! `2·n·k + rows·(k·act + n·out)` bytes, `2·n` where there is a bias, and `2·k` each for a norm's weight and
//! a gate. On an H200, one row, one after the other in a graph: 9.0, 5.9, 14.9, 15.5 and 348 µs for 5120×3072, 3072×3072, 9216×3072, 3072×9216 and
//! 256000×3072, the first, the third and the last behind a norm (`nemotron bench kernels`).
//!
//! # Numerics
//! The tensor core sums products in f32, 16 at once; the warps' sums are added in their order. Neither order depends on
//! `rows`. The bias is added to the f32 sum. c = 16, d = 4: what a norm or an activation takes or gives is rounded, and
//! may be the neighbour of what it is to be; without them d counts for nothing.
use crate::activation::{PLAIN, SWIGLU};
use crate::all_reduce::meeting::Outbox;
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, GEMV_MAX_ROWS, Kernel, Launch, Ptr, StepShape, Weight, rms_norm};

#[cfg(target_arch = "nvptx64")]
pub(crate) mod entry;
#[cfg(target_arch = "nvptx64")]
pub(crate) mod store;
#[cfg(target_arch = "nvptx64")]
pub(crate) mod stream;

/// Warps of a block: they share the columns.
pub(crate) const WARPS: u32 = 8;
/// Rows of the weight in a tile.
pub(crate) const TILE: u32 = 16;
/// Steps of a warp that its ring holds.
pub(crate) const SLOTS: u32 = 3;
/// Columns of a step of the wide and the narrow variants, in units of 32.
pub(crate) const WIDE: u32 = 4;
pub(crate) const NARROW: u32 = 2;
/// Most blocks to a multiprocessor. Products of one and of two blocks in turn lose a quarter of their time to each other:
/// the next one's blocks find room in some places only.
pub(crate) const BLOCKS: u32 = 2;
/// Shared memory that the system takes of every block, and a multiprocessor has beyond what one block may ask for.
pub(crate) const SYSTEM_BYTES: u32 = 1024;
/// What a block has beside its rings and the normalised row: two tiles' sums, a norm's sums, the system's share.
const FIXED_BYTES: u32 = 2 * WARPS * TILE * GEMV_MAX_ROWS * 4 + 128 + SYSTEM_BYTES;

/// Most elements of a weight that this kernel multiplies any number of token rows with: every eight read it again, from the
/// cache. That costs less than to start cuBLASLt, which takes 150 ms, and 2 ms for each kernel of it, of which one row count
/// wants others than the next.
pub const SMALL_WEIGHT: u64 = 1 << 20;

/// The wide and the narrow entry.
const ENTRIES: [&str; 2] = ["gemv", "gemv_narrow"];
/// Those behind each norm.
const NORM_ENTRIES: [[&str; 2]; 3] = [
    ["gemv_rms_norm", "gemv_rms_norm_narrow"],
    ["gemv_layer_norm_1p", "gemv_layer_norm_1p_narrow"],
    ["gemv_gated_norm", "gemv_gated_norm_narrow"],
];

/// Longest row that a product normalises on its way.
pub const MAX_NORMED: usize = 16_384;

kernel_args! {
    /// Arguments of `gemv`.
    pub struct Gemv {
        /// `[rows, k]`.
        pub x: Ptr<Act>,
        /// `[k]` or null.
        pub norm_weight: Ptr<Weight>,
        /// `[k]` or null.
        pub norm_bias: Ptr<Weight>,
        /// `[k]` or null: the gates of `gated_norm`, before their SiLU.
        pub gate: Ptr<Act>,
        /// `[n, k]`.
        pub w: Ptr<Weight>,
        /// `[n]` or null.
        pub bias: Ptr<Weight>,
        /// As the result, or null.
        pub residual: Ptr<Act>,
        /// `[rows, n]`, with [`SWIGLU`] `[rows, n/2]`, or null; written.
        pub y: Ptr<Act>,
        /// `[rows, n]` or null, written without rounding.
        pub y_f32: Ptr<f32>,
        /// Where the results are sent without rounding, or [`Outbox::NONE`].
        pub outbox: Outbox,
        /// Token rows.
        pub rows: u32,
        /// Rows of the weight.
        pub n: u32,
        /// Columns of the weight.
        pub k: u32,
        /// Of [`activation`](crate::activation).
        pub activation: u32,
        /// Of the norm.
        pub eps: f32,
        /// Of `rms_norm`: [`rms_norm::ONCE`] or [`rms_norm::TWICE`].
        pub roundings: u32,
        /// Of `gated_norm`: groups of the row, each with a norm of its own.
        pub norm_groups: u32,
        /// Whether a kernel in front makes `w`, so that nothing of it can be read ahead: 0 or 1.
        pub made: u32,
        /// Whether the next kernel starts only when the one in front of this has ended, so that it may read at once what is
        /// older than this one's outputs: 0 or 1.
        pub holds_next: u32,
        /// Whether `x` was written, and `y` used for the last time, before the kernel in front could start, so that this one runs beside
        /// that: 0 or 1. With `y` alone, without a gate and a residual.
        pub x_settled: u32,
    }
}

impl Gemv {
    /// `x · wᵀ` of `[rows, n, k]` alone: the caller says where it goes, and what stands in front of it and behind.
    pub const fn new(x: Ptr<Act>, w: Ptr<Weight>, [rows, n, k]: [u32; 3]) -> Gemv {
        Gemv {
            x,
            norm_weight: Ptr::NULL,
            norm_bias: Ptr::NULL,
            gate: Ptr::NULL,
            w,
            bias: Ptr::NULL,
            residual: Ptr::NULL,
            y: Ptr::NULL,
            y_f32: Ptr::NULL,
            outbox: Outbox::NONE,
            rows,
            n,
            k,
            activation: PLAIN,
            eps: 0.0,
            roundings: rms_norm::TWICE,
            norm_groups: 0,
            made: 0,
            holds_next: 0,
            x_settled: 0,
        }
    }

    /// The same with its sums, which would go to `part` of `[rows, n]`, sent to where ranks meet behind it; none if they do not go there,
    /// or it has a norm.
    pub fn sending(self, (part, shape): (Ptr<f32>, [u32; 2]), outbox: Outbox) -> Option<Gemv> {
        let same = self.y_f32.target() == part.target() && [self.rows, self.n] == shape;
        let goes_there = !self.y_f32.is_null() && same;
        let sends = goes_there && self.norm_weight.is_null();
        let sending = Gemv { y_f32: Ptr::NULL, outbox, holds_next: 1, ..self };
        (sends && sending.has_room()).then_some(sending)
    }

    /// Whether the outbox takes the results, if there is one.
    pub(crate) fn has_room(&self) -> bool {
        let few = self.rows <= GEMV_MAX_ROWS && self.n.is_multiple_of(4);
        !self.outbox.sends() || few && self.outbox.takes(u64::from(self.rows) * u64::from(self.n))
    }

    /// Whether nothing but `x` could be what the kernel in front gives.
    fn runs_beside(&self) -> bool {
        let reads = !self.gate.is_null() || !self.residual.is_null() || self.made != 0;
        !reads && !self.y.is_null() && self.holds_next == 0
    }

    /// Whether the gates' norm has a row of groups in front of it.
    fn has_groups(&self) -> bool {
        let groups = self.norm_groups > 0 && self.k.is_multiple_of(8 * self.norm_groups);
        self.gate.is_null() || (!self.norm_weight.is_null() && self.norm_bias.is_null() && groups)
    }

    /// Which norm stands in front, if one does: as many entries are in front of its own.
    pub(crate) fn norm(&self) -> Option<usize> {
        match (self.norm_weight.is_null(), self.norm_bias.is_null(), self.gate.is_null()) {
            (true, ..) => None,
            (_, _, false) => Some(2),
            (_, false, _) => Some(1),
            _ => Some(0),
        }
    }

    pub(crate) fn has_one_result(&self) -> bool {
        [!self.y.is_null(), !self.y_f32.is_null(), self.outbox.sends()].into_iter().filter(|there| *there).count() == 1
    }

    /// Columns of the output.
    pub(crate) const fn width(&self) -> u32 {
        if self.activation == SWIGLU { self.n / 2 } else { self.n }
    }

    /// Columns of the output that a tile gives.
    pub(crate) const fn tile_width(&self) -> u32 {
        if self.activation == SWIGLU { TILE / 2 } else { TILE }
    }

    pub(crate) const fn tiles(&self) -> u32 {
        self.width().div_ceil(self.tile_width())
    }
}

impl Kernel for Gemv {
    const NAME: &'static str = "gemv";

    fn check(&self) -> Result<(), &'static str> {
        let normed = !self.norm_weight.is_null();
        require! {
            self.rows > 0 && self.rows.div_ceil(GEMV_MAX_ROWS) < 1 << 16 => "at least one row, fewer than 8 · 65536",
            self.n > 0 => "at least one row of the weight",
            self.k > 0 && self.k.is_multiple_of(8) => "k divisible by 8",
            !normed || (self.rows == 1 && self.k as usize <= MAX_NORMED) => "one row of at most 16384 behind a norm",
            normed || self.norm_bias.is_null() => "norm_bias with norm_weight alone",
            self.has_groups() => "a gate with norm_weight alone, and columns for its groups",
            matches!(self.roundings, rms_norm::ONCE | rms_norm::TWICE) => "one rounding or two",
            self.activation <= SWIGLU => "a known activation",
            self.activation != SWIGLU || self.n.is_multiple_of(2) => "as many gates as others",
            self.has_one_result() => "exactly one of y, y_f32 and an outbox",
            self.activation == PLAIN || (!self.y.is_null() && self.residual.is_null()) => "activations with y alone, and without residual",
            !normed || !self.outbox.sends() => "an outbox without a norm",
            self.x_settled == 0 || self.runs_beside() => "settled rows with y alone, neither gate, residual nor a weight that is made",
            self.has_room() => "an outbox with room, of at most 8 rows and columns divisible by 4",
        }
    }

    fn launch(&self, device: &DeviceInfo) -> Launch {
        let (symbols, normed) = self.norm().map_or((ENTRIES, 0), |norm| (NORM_ENTRIES[norm], self.k * 2));
        // By what the longest normalised row needs, so that a row has one order of summation with a norm and without.
        let most = WARPS * SLOTS * slot_bytes(WIDE) + MAX_NORMED as u32 * 2 + FIXED_BYTES;
        let wide = self.k >= WARPS * WIDE * 32 && device.shared_bytes_per_block >= most;
        let (symbol, quads) = if wide { (symbols[0], WIDE) } else { (symbols[1], NARROW) };
        let shared_bytes = WARPS * SLOTS * slot_bytes(quads) + normed;
        let in_all = device.shared_bytes_per_block + SYSTEM_BYTES;
        let resident = (in_all / (shared_bytes + FIXED_BYTES)).clamp(1, BLOCKS);
        let eights = self.rows.div_ceil(GEMV_MAX_ROWS);
        let blocks = (device.multiprocessors * resident / eights).clamp(1, self.tiles());
        let grid = [blocks, eights, 1];
        Launch { grid, shared_bytes, overlaps: self.made == 0, ..Launch::linear(symbol, blocks, WARPS * 32) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let (rows, n, k) = (u64::from(self.rows), u64::from(self.n), u64::from(self.k));
        let out = if self.y.is_null() { 4 } else { 2 };
        let bias = if self.bias.is_null() { 0 } else { 2 * n };
        let norm = if self.norm_weight.is_null() { 0 } else { 2 * k };
        let gate = if self.gate.is_null() { 0 } else { 2 * k };
        2 * n * k + bias + norm + gate + rows * (k * 2 + n * out)
    }

    fn flops(&self, _: &StepShape) -> u64 {
        2 * u64::from(self.rows) * u64::from(self.n) * u64::from(self.k)
    }
}

/// Bytes of one step of a warp in its ring: `quads · 32` columns of 16 rows of the weight.
pub(crate) const fn slot_bytes(quads: u32) -> u32 {
    TILE * quads * 64
}
