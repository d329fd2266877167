//! `swiglu`: the gated SiLU of gate and up, which stand side by side.
//!
//! # Formula
//! With `g = gate_up[t, i]`, `u = gate_up[t, width + i]`: `y[t, i] = r(r(g / (1 + e^(−g))) · u)`; `r` rounds to the
//! activation type. Source: `LlamaMLP` of transformers.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `gate_up` | `[rows, 2·width]` | act | gate, then up |
//! | `y` | `[rows, width]` | act | row-major, written |
//!
//! # Launch
//! A thread owns 8 neighbours of a row.
//!
//! # Requires
//! `width` divisible by 8; `gate_up` and `y` 16-byte aligned and not overlapping.
//!
//! # Moves
//! `3 · rows · width · act` bytes.
//!
//! # Numerics
//! SiLU in f32, rounded; the product rounded once more. c = 16; d = 1: a SiLU at a tie may round to its neighbour.
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape};

kernel_args! {
    /// Arguments of `swiglu`.
    pub struct Swiglu {
        /// `[rows, 2·width]`: gate, then up.
        pub gate_up: Ptr<Act>,
        /// `[rows, width]`, written.
        pub y: Ptr<Act>,
        /// Token rows.
        pub rows: u32,
        /// Width of gate and of up.
        pub width: u32,
    }
}

impl Kernel for Swiglu {
    const NAME: &'static str = "swiglu";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 => "at least one row",
            self.width > 0 && self.width.is_multiple_of(8) => "width divisible by 8",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        let grid = [self.width.div_ceil(256 * 8), self.rows, 1];
        Launch { grid, overlaps: true, ..Launch::linear(Self::NAME, 1, 256) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        u64::from(self.rows) * u64::from(self.width) * 6
    }
}

#[cfg(target_arch = "nvptx64")]
pub(crate) mod entry {
    use super::Swiglu;
    use crate::row;
    use cuda_std::{bf16, global, grid, kernel, math, thread};

    kernel! {
        /// Eight neighbours of a row per thread.
        pub fn swiglu(args: Swiglu) {
            grid::launch_dependents();
            grid::wait_for_dependencies();
            let group = thread::global_index();
            if group < args.width / row::GROUP {
                let bytes = 2 * u64::from(args.width);
                let token = u64::from(thread::block_idx_y());
                let from = args.gate_up.addr + token * 2 * bytes;
                let gate = bf16::unpack_8(global::load(row::at(from, group)));
                let up = bf16::unpack_8(global::load(row::at(from + bytes, group)));
                let y = core::array::from_fn(|i| gated(gate[i], up[i]));
                global::store(row::at(args.y.addr + token * bytes, group), bf16::pack_8(y));
            }
        }
    }

    /// Not yet rounded.
    #[inline(always)]
    pub fn gated(gate: f32, up: f32) -> f32 {
        bf16::round(silu(gate)) * up
    }

    #[inline(always)]
    fn silu(x: f32) -> f32 {
        x * math::rcp(1.0 + math::exp(-x))
    }
}
