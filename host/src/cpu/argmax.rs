//! Reference of `argmax`.
use gpu_kernels::Argmax;

use crate::device::{Activation, Memory, Reference};

impl Reference for Argmax {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (rows, vocab) = (self.rows as usize, self.vocab as usize);
        let logits = memory.read::<f32>(self.logits, rows * vocab);
        let slots = memory.read::<i32>(self.slots, rows);
        let mut sampled = memory.write_all::<i32>(self.sampled);
        for (row, slot) in logits.chunks(vocab).zip(slots.iter()) {
            let mut best = 0;
            for (i, logit) in row.iter().enumerate() {
                if *logit > row[best] {
                    best = i;
                }
            }
            sampled[*slot as usize] = best as i32;
        }
    }
}
