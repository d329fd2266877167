//! `publish`: the chosen tokens, where the host reads them.
//!
//! # Formula
//! `out[i] = tokens[i]`
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `tokens` | `[count]` | i32 | |
//! | `out` | `[count]` | i32 | written; pinned memory of the host |
//!
//! # Launch
//! A thread owns an element.
//!
//! # Requires
//! `tokens` and `out` do not overlap. The host reads behind an event.
//!
//! # Moves
//! `8 · count` bytes, half of them over the bus. On an H200, as the last node of a step's graph, it leaves the device idle for
//! 3.8 µs between two steps, itself included; a copy by the driver, 11.8 (`nemotron bench decode`).
//!
//! # Numerics
//! Integers: exact.
use crate::kernel::{kernel_args, require};
use crate::{DeviceInfo, Kernel, Launch, Ptr, StepShape};

/// Threads of a block.
const THREADS: u32 = 128;

kernel_args! {
    /// Arguments of `publish`.
    pub struct Publish {
        /// `[count]`.
        pub tokens: Ptr<i32>,
        /// `[count]`, written.
        pub out: Ptr<i32>,
        /// Elements.
        pub count: u32,
    }
}

impl Kernel for Publish {
    const NAME: &'static str = "publish";

    fn check(&self) -> Result<(), &'static str> {
        require! { self.count > 0 => "at least one token", }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        Launch { overlaps: true, ..Launch::linear(Self::NAME, self.count.div_ceil(THREADS), THREADS) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        u64::from(self.count) * 8
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::Publish;
    use cuda_std::{global, grid, kernel, thread};

    kernel! {
        /// One element per thread.
        pub fn publish(args: Publish) {
            grid::wait_for_dependencies();
            let index = thread::global_index();
            if index < args.count {
                let at = 4 * u64::from(index);
                let token: i32 = global::load(args.tokens.addr + at);
                global::store(args.out.addr + at, token);
            }
        }
    }
}
