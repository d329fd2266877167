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
