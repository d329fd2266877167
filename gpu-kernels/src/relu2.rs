//! `relu2`: the squared ReLU.
//!
//! # Formula
//! `y = r(max(x, 0)²)`; `r` rounds to the activation type.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `x` | `[count]` | act | contiguous |
//! | `y` | `[count]` | act | contiguous, written; may be `x` itself |
//!
//! # Launch
//! A thread owns 8 neighbours.
//!
//! # Requires
//! `count` divisible by 8; `x` and `y` 16-byte aligned, and the same or not overlapping.
//!
//! # Moves
//! `2 · count · act` bytes.
//!
//! # Numerics
//! The square of a bf16 is exact in f32 and rounded once: exact (c = 0, d = 0).
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape};

kernel_args! {
    /// Arguments of `relu2`.
    pub struct Relu2 {
        /// `[count]`.
        pub x: Ptr<Act>,
        /// `[count]`, written; may be `x`.
        pub y: Ptr<Act>,
        /// Elements.
        pub count: u32,
    }
}

impl Kernel for Relu2 {
    const NAME: &'static str = "relu2";

    fn check(&self) -> Result<(), &'static str> {
        require! { self.count > 0 && self.count.is_multiple_of(8) => "count divisible by 8", }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        Launch { overlaps: true, ..Launch::linear(Self::NAME, self.count.div_ceil(256 * 8), 256) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        u64::from(self.count) * 4
    }
}

#[cfg(target_arch = "nvptx64")]
pub(crate) mod entry {
    use super::Relu2;
    use crate::row;
    use cuda_std::{bf16, global, grid, kernel, math, thread};

    kernel! {
        /// Eight neighbours per thread.
        pub fn relu2(args: Relu2) {
            grid::launch_dependents();
            grid::wait_for_dependencies();
            let group = thread::global_index();
            if group < args.count / row::GROUP {
                let x = bf16::unpack_8(global::load(row::at(args.x.addr, group)));
                global::store(row::at(args.y.addr, group), bf16::pack_8(x.map(relu2_of)));
            }
        }
    }

    /// Not yet rounded.
    #[inline(always)]
    pub fn relu2_of(x: f32) -> f32 {
        let positive = math::max(x, 0.0);
        positive * positive
    }
}
