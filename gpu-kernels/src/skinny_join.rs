//! `skinny_join`: adds what blocks of `skinny_gemm` that share the columns of a product have summed; activation and residual add
//! behind it.
//!
//! # Formula
//! `s[t, n] = Σ_i partial[i, t, n] + bias[n]`. Then `y_f32 = s`, or `y = r(s)`, or with `residual` `y = r(residual + r(s))`, or
//! with an activation `y = f(r(s))` as in `gemv`. `r` rounds to the activation type.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `partial` | `SkinnyGemm::partials()` | f32 | `SkinnyGemm::partial_index` |
//! | `bias` | `[n]` or null | weight | |
//! | `residual` | as `y`, or null | act | row-major; may be `y` |
//! | `y` | `[rows, n]`, with `swiglu` `[rows, n/2]`, or null | act | row-major, written |
//! | `y_f32` | `[rows, n]` or null | f32 | row-major, written |
//!
//! # Launch
//! A warp adds the sums for 16 rows of the weight and eight token rows, as the tensor core has left them in its lanes. A block has
//! four warps: tiles have eight sixteens.
//!
//! # Requires
//! 1 to 64 rows; 1 to 8 splits; `n` divisible by 8, with `swiglu` by 16; `partial` 16-byte aligned; exactly one of `y` and `y_f32`,
//! activation and `residual` with `y`, one of them at most; `y` overlaps nothing that is read but `residual`.
//!
//! # Moves
//! `4·splits·rows·n + rows·n·out` bytes, as much again for a residual, and `2·n` where there is a bias.
//!
//! # Numerics
//! In f32, the splits in their order, then the bias. c = 16, d = 4: what an activation takes is rounded, and may be the
//! neighbour of what it is to be.
use crate::activation::{PLAIN, SWIGLU};
use crate::kernel::{kernel_args, require};
use crate::skinny_gemm::{self, MAX_ROWS, MOST_SPLITS, TILE};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape, Weight};

/// Threads of a block.
const THREADS: u32 = 128;

kernel_args! {
    /// Arguments of `skinny_join`.
    pub struct SkinnyJoin {
        /// `[splits, rows, n]`.
        pub partial: Ptr<f32>,
        /// `[n]` or null.
        pub bias: Ptr<Weight>,
        /// As `y`, or null.
        pub residual: Ptr<Act>,
        /// `[rows, n]`, with [`SWIGLU`] `[rows, n/2]`, or null; written.
        pub y: Ptr<Act>,
        /// `[rows, n]` or null, written without rounding.
        pub y_f32: Ptr<f32>,
        /// Token rows.
        pub rows: u32,
        /// Rows of the weight.
        pub n: u32,
        /// Sums of each element.
        pub splits: u32,
        /// [`PLAIN`], `RELU2` or [`SWIGLU`].
        pub activation: u32,
    }
}

impl SkinnyJoin {
    /// Columns of the output.
    const fn width(&self) -> u32 {
        if self.activation == SWIGLU { self.n / 2 } else { self.n }
    }

    /// Elements of `partial`.
    pub fn partials(&self) -> usize {
        let [sixteens, eights] = self.sums();
        (self.splits * sixteens * eights) as usize * skinny_gemm::SUMS
    }

    /// As [`SkinnyGemm::partial_index`](crate::SkinnyGemm::partial_index).
    pub fn partial_index(&self, split: u32, row: u32, token: u32) -> usize {
        skinny_gemm::partial_index(self.sums(), [self.n, self.activation], [split, row, token])
    }

    /// Sixteens of the weight's rows, and eights of the token rows.
    const fn sums(&self) -> [u32; 2] {
        let of_tile = if self.activation == SWIGLU { TILE / 2 } else { TILE };
        skinny_gemm::sums(self.width().div_ceil(of_tile), self.rows)
    }
}

impl Kernel for SkinnyJoin {
    const NAME: &'static str = "skinny_join";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 && self.rows <= MAX_ROWS => "1 to 64 rows",
            self.splits > 0 && self.splits <= MOST_SPLITS => "1 to 8 splits",
            self.n > 0 && self.n.is_multiple_of(8) => "n divisible by 8",
            self.activation <= SWIGLU => "a known activation",
            self.activation != SWIGLU || self.n.is_multiple_of(16) => "n divisible by 16 with gates",
            self.y.is_null() != self.y_f32.is_null() => "exactly one of y and y_f32",
            self.activation == PLAIN || (self.y_f32.is_null() && self.residual.is_null()) => "activations with neither y_f32 nor residual",
            self.y_f32.is_null() || self.residual.is_null() => "y_f32 without residual",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        let [sixteens, eights] = self.sums();
        let blocks = (sixteens * eights).div_ceil(THREADS / 32);
        Launch { overlaps: true, ..Launch::linear(Self::NAME, blocks, THREADS) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let (rows, n, width) = (u64::from(self.rows), u64::from(self.n), u64::from(self.width()));
        let out = if self.y.is_null() { 4 * n } else { 2 * width };
        let residual = if self.residual.is_null() { 0 } else { out };
        let bias = if self.bias.is_null() { 0 } else { 2 * n };
        rows * (4 * u64::from(self.splits) * n + out + residual) + bias
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::{SkinnyJoin, THREADS};
    use crate::skinny_gemm::MOST_SPLITS;
    use crate::skinny_gemm::store::{self, Outputs};
    use cuda_std::unroll::unroll;
    use cuda_std::{global, grid, kernel, thread};

    kernel! {
        /// A warp for 16 rows of the weight and eight token rows.
        pub fn skinny_join(args: SkinnyJoin) {
            grid::launch_dependents();
            grid::wait_for_dependencies();
            let [sixteens, eights] = args.sums();
            let own = thread::block_idx_x() * (THREADS / 32) + thread::warp_id();
            let mut parts = [[0.0_f32; 4]; MOST_SPLITS as usize];
            let first = args.partial.addr + u64::from(own * 32 + thread::lane_id()) * 16;
            let apart = u64::from(sixteens * eights) * 512;
            // All at once: one behind the other, each would be waited for.
            unroll::<{ MOST_SPLITS as usize }>(
                #[inline(always)]
                |i| {
                    if (i as u32) < args.splits {
                        parts[i] = global::load(first + apart * i as u64);
                    }
                },
            );
            let mut sums = parts[0];
            unroll::<{ MOST_SPLITS as usize }>(
                #[inline(always)]
                |i| {
                    if i > 0 && (i as u32) < args.splits {
                        unroll::<4>(|c| sums[c] += parts[i][c]);
                    }
                },
            );
            let SkinnyJoin { bias, residual, y, y_f32, rows, n, activation, .. } = args;
            let to = Outputs { bias, residual, y, y_f32, rows, n, activation };
            store::store(&to, [own / eights, own % eights], &[sums]);
        }
    }
}
