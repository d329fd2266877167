//! `moe_gemv`: the product of each token row with the weights of the experts that were chosen for it, for few rows; bound by
//! the bytes of the experts that are met, each of which is read once for every eight rows that go to it.
//!
//! # Formula
//! For choice j of token t, p = t · top_k + j and `e = ids[p]`: `s[p, n] = Σ_k x[q, k] · w[e, n, k]`, where q is t, or p with
//! `row_per_choice`. Then `y = r(s)`, or with the activation `relu2` `y = r(max(r(s), 0)²)`. `r` rounds to the activation type.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `x` | `[rows, k]`, or `[rows · top_k, k]` | act | row-major |
//! | `w` | `[experts, n, k]` | weight | row-major |
//! | `ids` | `[rows, top_k]` | i32 | row-major |
//! | `y` | `[rows · top_k, n]` | act | row-major, written |
//!
//! # Launch
//! Each block finds out which choices are of one expert, eight at most to a group, in the order of the rows; of a lone row each
//! is a group. Then it takes tiles
//! of 16 rows of the groups' weights by turns, as `gemv` does: 8 warps share the columns, weights pass through rings in
//! shared memory, the tensor core multiplies. With `ids_settled` a block asks for its first weights before the kernel in front
//! has ended. Without it, the next kernel starts only when this one has `ids`, and may take them as settled.
//!
//! # Requires
//! 1 to 384 choices, `rows · top_k`; `k` divisible by 8, `n` by 16; ids from 0 to `experts` − 1; `x` and `w` 16-byte aligned;
//! `y` overlaps nothing that is read.
//!
//! # Moves
//! `2 · n · k` bytes of each expert that is met, and `rows · top_k · (k · act + n · act)`. Where the host does not know which
//! are met, it counts as many as random choices would meet.
//!
//! # Numerics
//! As `gemv`'s, whatever else goes to an expert: c = 16, d = 4.
use crate::activation::{PLAIN, RELU2};
use crate::gemv::{BLOCKS, NARROW, SLOTS, SYSTEM_BYTES, TILE, WARPS, WIDE, slot_bytes};
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape, Weight};

#[cfg(target_arch = "nvptx64")]
pub(crate) mod entry;
#[cfg(target_arch = "nvptx64")]
pub(crate) mod groups;
#[cfg(target_arch = "nvptx64")]
pub(crate) mod team;

/// Most choices of a launch.
pub const MAX_CHOICES: u32 = 384;

/// Choices of one expert that are multiplied together.
const GROUP: u32 = 8;

/// What a block has beside its rings: two tiles' sums, the groups, the system's share.
pub(crate) const FIXED_BYTES: u32 = 2 * WARPS * TILE * GROUP * 4 + MAX_CHOICES * (4 + 2 * GROUP) + 64 + SYSTEM_BYTES;

kernel_args! {
    /// Arguments of `moe_gemv`.
    pub struct MoeGemv {
        /// `[rows, k]`, or with `row_per_choice` `[rows · top_k, k]`.
        pub x: Ptr<Act>,
        /// `[experts, n, k]`.
        pub w: Ptr<Weight>,
        /// `[rows, top_k]`: the experts of each row.
        pub ids: Ptr<i32>,
        /// `[rows · top_k, n]`, written.
        pub y: Ptr<Act>,
        /// Token rows.
        pub rows: u32,
        /// Experts that a row goes to.
        pub top_k: u32,
        /// Experts.
        pub experts: u32,
        /// Rows of an expert's weight.
        pub n: u32,
        /// Columns of an expert's weight.
        pub k: u32,
        /// [`PLAIN`] or [`RELU2`].
        pub activation: u32,
        /// Whether `x` has a row for each choice instead of each token: 0 or 1.
        pub row_per_choice: u32,
        /// Whether `ids` are there before the kernel in front has ended, so that weights are asked for ahead of that: 0 or 1.
        pub ids_settled: u32,
    }
}

impl MoeGemv {
    /// Choices of all rows.
    const fn choices(&self) -> u32 {
        self.rows * self.top_k
    }
}

/// How many of `experts` are met in a step of `shape`, where nobody counted as many as are met where `rows` rows choose `top_k` each at random.
pub fn met(shape: &StepShape, rows: u32, top_k: u32, experts: u32) -> f64 {
    if let Some(counted) = shape.experts {
        return f64::from(counted);
    }
    let missed = 1.0 - f64::from(top_k) / f64::from(experts);
    let mut all_miss = 1.0;
    for _ in 0..rows {
        all_miss *= missed;
    }
    f64::from(experts) * (1.0 - all_miss)
}

impl Kernel for MoeGemv {
    const NAME: &'static str = "moe_gemv";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 && self.top_k > 0 => "at least one choice",
            self.rows <= MAX_CHOICES && self.top_k <= MAX_CHOICES && self.choices() <= MAX_CHOICES => "at most 384 choices",
            self.top_k <= self.experts && self.experts <= u16::MAX as u32 => "as many experts as a row goes to, at most 65535",
            self.n > 0 && self.n.is_multiple_of(TILE) => "n divisible by 16",
            self.k > 0 && self.k.is_multiple_of(8) => "k divisible by 8",
            self.activation == PLAIN || self.activation == RELU2 => "a known activation",
        }
    }

    fn launch(&self, device: &DeviceInfo) -> Launch {
        let most = WARPS * SLOTS * slot_bytes(WIDE) + FIXED_BYTES;
        let wide = self.k >= WARPS * WIDE * 32 && device.shared_bytes_per_block >= most;
        let (symbol, quads) = if wide { (Self::NAME, WIDE) } else { ("moe_gemv_narrow", NARROW) };
        let shared_bytes = WARPS * SLOTS * slot_bytes(quads);
        let in_all = device.shared_bytes_per_block + SYSTEM_BYTES;
        let resident = (in_all / (shared_bytes + FIXED_BYTES)).clamp(1, BLOCKS);
        let blocks = (device.multiprocessors * resident).clamp(1, self.choices() * (self.n / TILE));
        Launch { shared_bytes, overlaps: true, ..Launch::linear(symbol, blocks, WARPS * 32) }
    }

    fn bytes_moved(&self, shape: &StepShape) -> u64 {
        let (n, k, choices) = (u64::from(self.n), u64::from(self.k), u64::from(self.choices()));
        let weights = met(shape, self.rows, self.top_k, self.experts) * (2 * n * k) as f64;
        weights as u64 + choices * 2 * (n + k)
    }

    fn flops(&self, _: &StepShape) -> u64 {
        2 * u64::from(self.choices()) * u64::from(self.n) * u64::from(self.k)
    }
}
