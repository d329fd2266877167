//! `gated_norm`: the gate and the group norm behind a state space model.
//!
//! # Formula
//! With `g = y · z / (1 + e^(−z))`, over each group of `width / groups` neighbours of a row:
//! `out = r(weight · g / √(mean(g²) + eps))`; `r` rounds to the activation type.
//! Source: Mamba-2's `RMSNormGated` with `norm_before_gate = False`, as Nemotron-H uses it.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `y` | `[rows, width]` | act | row-major |
//! | `z` | `[rows, z_stride]` | act | the first `width` of each row |
//! | `weight` | `[width]` | weight | |
//! | `out` | `[rows, width]` | act | row-major, written; may be `y` |
//!
//! # Launch
//! A block owns a group of a row; a thread owns every `threads`-th 8 neighbours of it.
//!
//! # Requires
//! `groups` divides `width`; a group's width and `z_stride` divisible by 8; all pointers 16-byte aligned; `out` overlaps
//! nothing that is read but `y`.
//!
//! # Moves
//! `rows · width · 3 · act + 2 · width` bytes.
//!
//! # Numerics
//! In f32, one rounding at the store. c = 16, d = 0.
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape, Weight};

/// Threads of a block.
const THREADS: u32 = 128;

kernel_args! {
    /// Arguments of `gated_norm`.
    pub struct GatedNorm {
        /// `[rows, width]`.
        pub y: Ptr<Act>,
        /// `[rows, z_stride]`: the gate, before its SiLU.
        pub z: Ptr<Act>,
        /// `[width]`.
        pub weight: Ptr<Weight>,
        /// `[rows, width]`, written.
        pub out: Ptr<Act>,
        /// Token rows.
        pub rows: u32,
        /// Width of a row.
        pub width: u32,
        /// Groups of a row, each with a norm of its own.
        pub groups: u32,
        /// Elements from one row of `z` to the next.
        pub z_stride: u32,
        /// Added to the mean square.
        pub eps: f32,
    }
}

impl Kernel for GatedNorm {
    const NAME: &'static str = "gated_norm";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 && self.rows < 1 << 16 => "at least one row, fewer than 65536",
            self.groups > 0 && self.width > 0 && self.width.is_multiple_of(self.groups) => "width divisible by groups",
            (self.width / self.groups).is_multiple_of(8) => "a group's width divisible by 8",
            self.z_stride.is_multiple_of(8) => "z_stride divisible by 8",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        let grid = [self.groups, self.rows, 1];
        Launch { grid, overlaps: true, ..Launch::linear(Self::NAME, 1, THREADS) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        u64::from(self.rows) * u64::from(self.width) * 6 + u64::from(self.width) * 2
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::GatedNorm;
    use crate::row::{self, Row};
    use crate::ssm::arithmetic::silu;
    use crate::ssm::divide;
    use cuda_std::{bf16, block, global, grid, kernel, math, shared, thread};

    shared! {
        fn gated_norm_scratch() -> [f32; block::SCRATCH_WORDS as usize];
    }

    kernel! {
        /// A group of a row to a block; all its threads come to the reduction.
        pub fn gated_norm(args: GatedNorm) {
            let width = divide(args.width, args.groups).0;
            let first = thread::block_idx_x() * width;
            let at = |row_width: u32| 2 * (u64::from(thread::block_idx_y()) * u64::from(row_width) + u64::from(first));
            grid::launch_dependents();
            let weight = Row::load(args.weight.addr + 2 * u64::from(first), width);
            grid::wait_for_dependencies();
            let y = Row::load(args.y.addr + at(args.width), width);
            let z = Row::load(args.z.addr + at(args.z_stride), width);
            let mut squares = 0.0;
            y.for_each_with([z], |_, y, [z]| {
                squares = gated(y, z).iter().fold(squares, |sum, &g| math::fma(g, g, sum));
            });
            let mean_square = block::sum_f32_once(squares, gated_norm_scratch()) / width as f32;
            let scale = math::rsqrt(mean_square + args.eps);
            let out = args.out.addr + at(args.width);
            y.for_each_with([z, weight], |group, y, [z, weight]| {
                let (g, weight) = (gated(y, z), bf16::unpack_8(weight));
                global::store(row::at(out, group), bf16::pack_8(core::array::from_fn(|i| weight[i] * (g[i] * scale))));
            });
        }
    }

    /// Eight outputs behind their gates.
    #[inline(always)]
    fn gated(y: [u32; 4], z: [u32; 4]) -> [f32; 8] {
        let (y, z) = (bf16::unpack_8(y), bf16::unpack_8(z));
        core::array::from_fn(|i| y[i] * silu(z[i]))
    }
}
