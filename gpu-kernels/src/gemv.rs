//! `gemv`: a product with a weight for a few token rows, bound by the weight's bytes.
//!
//! # Formula
//! `y[t, n] = r(Σ_k x[t, k] · w[n, k])`, or without the rounding into `y_f32`; `r` rounds to the activation type.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `x` | `[rows, k]` | act | row-major |
//! | `w` | `[n, k]` | weight | row-major |
//! | `y` | `[rows, n]` or null | act | row-major, written |
//! | `y_f32` | `[rows, n]` or null | f32 | row-major, written |
//!
//! # Launch
//! A warp owns one row of `w` and streams it in 16-byte loads that bypass L1, several in flight per lane; the lanes'
//! sums meet in a butterfly of shuffles. `gemv_1`, `gemv_2`, `gemv_4`, `gemv_8` hold that many token rows at most.
//!
//! # Requires
//! 1 to 8 rows; `k` divisible by 8; `x` and `w` 16-byte aligned; exactly one of `y` and `y_f32`.
//!
//! # Moves
//! `2·n·k + rows·(k·act + n·out)` bytes.
//!
//! # Numerics
//! Products are exact in f32 and summed by fused multiply-add; a row's order of summation does not depend on `rows`.
//! One rounding at the store. c = 8, d = 0.
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, GEMV_MAX_ROWS, Kernel, Launch, Ptr, StepShape, Weight};

kernel_args! {
    /// Arguments of `gemv`.
    pub struct Gemv {
        /// `[rows, k]`.
        pub x: Ptr<Act>,
        /// `[n, k]`.
        pub w: Ptr<Weight>,
        /// `[rows, n]` or null, written.
        pub y: Ptr<Act>,
        /// `[rows, n]` or null, written without rounding.
        pub y_f32: Ptr<f32>,
        /// Token rows, 1 to 8.
        pub rows: u32,
        /// Rows of the weight.
        pub n: u32,
        /// Columns of the weight.
        pub k: u32,
    }
}

impl Kernel for Gemv {
    const NAME: &'static str = "gemv";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            (1..=GEMV_MAX_ROWS).contains(&self.rows) => "1 to 8 rows",
            self.n > 0 => "at least one row of the weight",
            self.k > 0 && self.k.is_multiple_of(8) => "k divisible by 8",
            self.y.is_null() != self.y_f32.is_null() => "exactly one of y and y_f32",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        let symbol = match self.rows {
            1 => "gemv_1",
            2 => "gemv_2",
            3..=4 => "gemv_4",
            _ => "gemv_8",
        };
        Launch::linear(symbol, self.n.div_ceil(8), 256)
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let (rows, n, k) = (u64::from(self.rows), u64::from(self.n), u64::from(self.k));
        let out = if self.y.is_null() { 4 } else { 2 };
        2 * n * k + rows * (k * 2 + n * out)
    }

    fn flops(&self, _: &StepShape) -> u64 {
        2 * u64::from(self.rows) * u64::from(self.n) * u64::from(self.k)
    }
}
