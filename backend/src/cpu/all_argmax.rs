//! Reference of `all_argmax`: what one rank does when the others have come, or do not and it is told to give up.
use gpu_kernels::OneShotAllArgmax;
use gpu_kernels::argmax::{NONE_FINITE, NOT_A_NUMBER};

use super::{argmax, meeting};
use crate::device::{Activation, Memory, Reference};

impl Reference for OneShotAllArgmax {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let Some(told) = meeting::receive(&self.meeting, memory, 4 * self.rows as usize) else { return };
        let choose = |row: usize| {
            let told = told.iter().map(|words| (f32::from_bits(words[4 * row]), words[4 * row + 1]));
            let (mut best, mut id) = (f32::NEG_INFINITY, 0);
            for (value, of_rank) in told {
                if value > best {
                    (best, id) = (value, of_rank);
                }
            }
            match best {
                f32::INFINITY => (0, NOT_A_NUMBER),
                f32::NEG_INFINITY => (0, NONE_FINITE),
                _ => (id.cast_signed(), 0),
            }
        };
        let chosen: Vec<(i32, i32)> = (0..self.rows as usize).map(choose).collect();
        argmax::store(&chosen, memory, [self.slots, self.sampled, self.faults]);
    }
}
