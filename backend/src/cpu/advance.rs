//! Reference of `advance`.
use gpu_kernels::Advance;

use crate::device::{Activation, Memory, Reference};

impl Reference for Advance {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let fresh = &mut memory.write::<i32>(self.fresh, 1)[0];
        if *fresh != 0 {
            *fresh = 0;
            return;
        }
        let sequences = self.sequences as usize;
        let mut positions = memory.write::<i32>(self.positions, sequences);
        let mut lengths = memory.write::<i32>(self.lengths, sequences);
        for (position, length) in positions.iter_mut().zip(lengths.iter_mut()).filter(|(_, length)| **length > 0) {
            *position += 1;
            *length += 1;
        }
    }
}
