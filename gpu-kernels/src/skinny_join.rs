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
//! | `partial` | `[splits, rows, n]` | f32 | row-major |
//! | `bias` | `[n]` or null | weight | |
//! | `residual` | as `y`, or null | act | row-major; may be `y` |
//! | `y` | `[rows, n]`, with `swiglu` `[rows, n/2]`, or null | act | row-major, written |
//! | `y_f32` | `[rows, n]` or null | f32 | row-major, written |
//!
//! # Launch
//! A thread owns four neighbours of the output. In y there is a block row for each token row.
//!
//! # Requires
//! At least 1 row, fewer than 65536; 1 to 8 splits; `n` divisible by 8, with `swiglu` by 16; `partial` 16-byte aligned; exactly one
//! of `y` and `y_f32`, activation and `residual` with `y`, one of them at most; `y` overlaps nothing that is read but `residual`.
//!
//! # Moves
//! `4·splits·rows·n + rows·n·out` bytes, as much again for a residual, and `2·n` where there is a bias.
//!
//! # Numerics
//! In f32, the splits in their order, then the bias. c = 16, d = 4: what an activation takes is rounded, and may be the
//! neighbour of what it is to be.
use crate::gemv::{PLAIN, SWIGLU};
use crate::kernel::{kernel_args, require};
use crate::skinny_gemm::MOST_SPLITS;
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape, Weight};

/// Neighbours of a thread.
const GROUP: u32 = 4;
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
}

impl Kernel for SkinnyJoin {
    const NAME: &'static str = "skinny_join";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 && self.rows < 1 << 16 => "1 to 65535 rows",
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
        let grid = [(self.width() / GROUP).div_ceil(THREADS), self.rows, 1];
        Launch { grid, overlaps: true, ..Launch::linear(Self::NAME, 1, THREADS) }
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
    use super::{GROUP, SkinnyJoin};
    use crate::gemv::{RELU2, SWIGLU};
    use crate::relu2::entry::relu2_of;
    use crate::skinny_gemm::MOST_SPLITS;
    use crate::swiglu::entry::gated;
    use cuda_std::unroll::unroll;
    use cuda_std::{bf16, global, grid, kernel, thread};

    kernel! {
        /// Four neighbours per thread.
        pub fn skinny_join(args: SkinnyJoin) {
            grid::launch_dependents();
            grid::wait_for_dependencies();
            let column = thread::global_index() * GROUP;
            let width = args.width();
            if column < width {
                let token = thread::block_idx_y();
                let at = u64::from(token) * u64::from(width) + u64::from(column);
                let residual = if args.residual.is_null() { [0; 2] } else { global::load(args.residual.addr + at * 2) };
                let sums = sums(&args, token, column);
                if args.y.is_null() {
                    return global::store(args.y_f32.addr + at * 4, sums);
                }
                let output: [f32; 4] = match args.activation {
                    RELU2 => sums.map(|sum| relu2_of(bf16::round(sum))),
                    SWIGLU => {
                        let [gate, up] = [sums, self::sums(&args, token, column + width)].map(|sums| sums.map(bf16::round));
                        [gated(gate[0], up[0]), gated(gate[1], up[1]), gated(gate[2], up[2]), gated(gate[3], up[3])]
                    }
                    _ if args.residual.is_null() => sums,
                    _ => {
                        let ([a, b], [c, d]) = (bf16::unpack(residual[0]), bf16::unpack(residual[1]));
                        let sums = sums.map(bf16::round);
                        [a + sums[0], b + sums[1], c + sums[2], d + sums[3]]
                    }
                };
                global::store(args.y.addr + at * 2, [bf16::pack([output[0], output[1]]), bf16::pack([output[2], output[3]])]);
            }
        }
    }

    /// The sums of a token row from column `column` on.
    ///
    /// # Safety
    /// The kernel's Requires hold; the columns are there.
    #[inline(always)]
    unsafe fn sums(args: &SkinnyJoin, token: u32, column: u32) -> [f32; 4] {
        let first = u64::from(token) * u64::from(args.n) + u64::from(column);
        let all = u64::from(args.rows) * u64::from(args.n);
        let mut parts = [[0.0_f32; 4]; MOST_SPLITS as usize];
        // SAFETY: the caller's promise.
        unsafe {
            // All at once: one behind the other, each would be waited for.
            unroll::<{ MOST_SPLITS as usize }>(
                #[inline(always)]
                |i| {
                    if (i as u32) < args.splits {
                        parts[i] = global::load(args.partial.addr + (first + all * i as u64) * 4);
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
            if !args.bias.is_null() {
                let bias: [u32; 2] = global::load(args.bias.addr + u64::from(column) * 2);
                let ([a, b], [c, d]) = (bf16::unpack(bias[0]), bf16::unpack(bias[1]));
                sums = [sums[0] + a, sums[1] + b, sums[2] + c, sums[3] + d];
            }
            sums
        }
    }
}
