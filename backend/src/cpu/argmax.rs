//! Reference of `argmax`.
use gpu_kernels::Argmax;
use gpu_kernels::argmax::{NONE_FINITE, NOT_A_NUMBER};

use crate::device::{Activation, Memory, Reference};

impl Reference for Argmax {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (rows, vocab) = (self.rows as usize, self.vocab as usize);
        let logits = memory.read::<f32>(self.logits, rows * vocab);
        let slots = memory.read::<i32>(self.slots, rows);
        let chosen: Vec<(i32, i32)> = logits.chunks(vocab).map(choose).collect();
        // One after the other: the two may be parts of one buffer.
        let mut sampled = memory.write_all::<i32>(self.sampled);
        slots.iter().zip(&chosen).for_each(|(slot, (best, _))| sampled[*slot as usize] = *best);
        drop(sampled);
        let mut faults = memory.write_all::<i32>(self.faults);
        slots.iter().zip(&chosen).for_each(|(slot, (_, fault))| faults[*slot as usize] = *fault);
    }
}

/// The best of a row and its fault.
fn choose(row: &[f32]) -> (i32, i32) {
    if row.iter().any(|logit| logit.is_nan() || *logit == f32::INFINITY) {
        return (0, NOT_A_NUMBER);
    }
    let mut best = 0;
    for (i, logit) in row.iter().enumerate() {
        if *logit > row[best] {
            best = i;
        }
    }
    (best as i32, if row[best].is_finite() { 0 } else { NONE_FINITE })
}
