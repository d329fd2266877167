//! `rms_norm`: root-mean-square norm.
//!
//! # Formula
//! Over the row, with `roundings` 2 `y = r(weight · r(x / √(mean(x²) + eps)))`, with 1 `y = r(weight · x / √(mean(x²) + eps))`.
//! `r` rounds to the activation type.
//! Source: transformers' `LlamaRMSNorm`, which rounds before the weight, and `NemotronHRMSNorm`, which does not.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `x` | `[rows, hidden]` | act | row-major |
//! | `weight` | `[hidden]` | weight | |
//! | `y` | `[rows, hidden]` | act | row-major, written |
//!
//! # Launch
//! A block owns a row; a thread owns every `threads`-th group of 8 neighbours of it.
//!
//! # Requires
//! `hidden` divisible by 8 and at most 65 536; all pointers 16-byte aligned; `y` does not overlap `x`.
//!
//! # Moves
//! `rows · hidden · 2 · act + 2 · hidden` bytes.
//!
//! # Numerics
//! Sum of squares in f32; the output is rounded once, and with `roundings` 2 the normalised value too. c = 8, d = 1:
//! that value at a tie may round to its neighbour.
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape, Weight};

/// Threads of a block that normalises one of `rows` rows: the fewer rows, the more, since a row alone is to end soon, and many
/// are to be in flight together.
pub(crate) const fn threads(rows: u32) -> u32 {
    if rows > 64 { 128 } else { 256 }
}

/// The output alone is rounded: Nemotron-H.
pub const ONCE: u32 = 1;
/// The normalised value is rounded before the weight: Llama.
pub const TWICE: u32 = 2;

kernel_args! {
    /// Arguments of `rms_norm`.
    pub struct RmsNorm {
        /// `[rows, hidden]`: the residual stream.
        pub x: Ptr<Act>,
        /// `[hidden]`.
        pub weight: Ptr<Weight>,
        /// `[rows, hidden]`, written.
        pub y: Ptr<Act>,
        /// Token rows.
        pub rows: u32,
        /// Width of a row.
        pub hidden: u32,
        /// Added to the mean square.
        pub eps: f32,
        /// [`ONCE`] or [`TWICE`].
        pub roundings: u32,
    }
}

impl Kernel for RmsNorm {
    const NAME: &'static str = "rms_norm";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 => "at least one row",
            self.hidden > 0 && self.hidden.is_multiple_of(8) => "hidden divisible by 8",
            self.hidden <= 65_536 => "hidden at most 65536",
            matches!(self.roundings, ONCE | TWICE) => "one rounding or two",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        Launch { overlaps: true, ..Launch::linear(Self::NAME, self.rows, threads(self.rows)) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        u64::from(self.rows) * u64::from(self.hidden) * 4 + u64::from(self.hidden) * 2
    }
}

#[cfg(target_arch = "nvptx64")]
pub(crate) mod entry {
    use super::{RmsNorm, TWICE};
    use crate::row::{self, Row};
    use cuda_std::{bf16, block, global, grid, kernel, math, shared, thread};

    shared! {
        fn rms_norm_scratch() -> [f32; block::SCRATCH_WORDS as usize];
    }

    kernel! {
        /// A row to a block; all its threads come to the reductions.
        pub fn rms_norm(args: RmsNorm) {
            let start = u64::from(thread::block_idx_x()) * u64::from(args.hidden) * 2;
            grid::launch_dependents();
            let weight = Row::load(args.weight.addr, args.hidden);
            grid::wait_for_dependencies();
            let row = Row::load(args.x.addr + start, args.hidden);
            let y = args.y.addr + start;
            normalise(row, weight, (args.eps, args.roundings), |group, words| global::store(row::at(y, group), words));
        }
    }

    /// Calls `emit(group, y)` with each of this thread's groups of the normalised row.
    ///
    /// # Safety
    /// The whole block comes here; the rows are as for [`Row::for_each_with`].
    #[inline(always)]
    pub unsafe fn normalise(row: Row, weight: Row, (eps, roundings): (f32, u32), mut emit: impl FnMut(u32, [u32; 4])) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut squares = 0.0;
            row.for_each(|x| squares = x.iter().fold(squares, |sum, &x| math::fma(x, x, sum)));
            let mean_square = block::sum_f32_once(squares, rms_norm_scratch()) / row.width() as f32;
            let scale = math::rsqrt(mean_square + eps);
            row.for_each_with([weight], |group, x, [weight]| {
                let (x, weight) = (bf16::unpack_8(x), bf16::unpack_8(weight));
                let unit = |i: usize| if roundings == TWICE { bf16::round(x[i] * scale) } else { x[i] * scale };
                emit(group, bf16::pack_8(core::array::from_fn(|i| weight[i] * unit(i))));
            });
        }
    }
}
