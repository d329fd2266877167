//! `step_gap`: how long the device stands still between two steps, by its own clock.
//!
//! # Formula
//! With the clock's nanoseconds modulo 2³² as `now`: where `gaps` is null, as the last kernel of a step, `ended[0] = now`.
//! Where it is not, as the first one, with `i = count[0]`: `gaps[i] = now − ended[0]` modulo 2³² if `i < steps`, and
//! `count[0] = i + 1`.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `ended` | `[1]` | i32 | in, or written |
//! | `count` | `[1]` | i32 | in and out; not touched where `gaps` is null |
//! | `gaps` | `[steps]` | f32 | nanoseconds, one element written; null at the end of a step |
//!
//! # Launch
//! One thread. It reads the clock before anything else, so what comes behind that at the end of a step, its own store and
//! its end, counts as gap.
//!
//! # Requires
//! One stream for all steps.
//!
//! # Moves
//! 4 bytes at the end of a step, 16 at the start.
//!
//! # Numerics
//! Exact below 2²⁴ ns.
use crate::kernel::{kernel_args, require};
use crate::{DeviceInfo, Kernel, Launch, Ptr, StepShape};

kernel_args! {
    /// Arguments of `step_gap`.
    pub struct StepGap {
        /// `[1]`: when the last step ended.
        pub ended: Ptr<i32>,
        /// `[1]`: gaps so far.
        pub count: Ptr<i32>,
        /// `[steps]`: nanoseconds; null at the end of a step.
        pub gaps: Ptr<f32>,
        /// Room for gaps.
        pub steps: u32,
    }
}

impl Kernel for StepGap {
    const NAME: &'static str = "step_gap";

    fn check(&self) -> Result<(), &'static str> {
        require! { self.gaps.is_null() || self.steps > 0 => "room for a gap", }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        Launch::linear(Self::NAME, 1, 1)
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        if self.gaps.is_null() { 4 } else { 16 }
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::StepGap;
    use cuda_std::{global, kernel, time};

    kernel! {
        /// One thread.
        pub fn step_gap(args: StepGap) {
            let now = time::nanoseconds() as u32;
            if args.gaps.is_null() {
                return global::store(args.ended.addr, now);
            }
            let step: u32 = global::load(args.count.addr);
            let ended: u32 = global::load(args.ended.addr);
            if step < args.steps {
                global::store(args.gaps.addr + u64::from(step) * 4, now.wrapping_sub(ended) as f32);
            }
            global::store(args.count.addr, step + 1);
        }
    }
}
