//! Reference of `step_gap`, by the host's clock.
use std::sync::LazyLock;
use std::time::Instant;

use gpu_kernels::StepGap;

use crate::device::{Activation, Memory, Reference};

/// From when on this clock counts.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Reference for StepGap {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let now = START.elapsed().as_nanos() as u32;
        let ended = &mut memory.write::<i32>(self.ended, 1)[0];
        if self.gaps.is_null() {
            *ended = now.cast_signed();
            return;
        }
        let count = &mut memory.write::<i32>(self.count, 1)[0];
        if let Some(gap) = memory.write::<f32>(self.gaps, self.steps as usize).get_mut(*count as usize) {
            *gap = now.wrapping_sub(ended.cast_unsigned()) as f32;
        }
        *count += 1;
    }
}
