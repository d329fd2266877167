//! Reference of `keep_logits`.
use gpu_kernels::{KeepLogits, sampling};

use crate::device::{Activation, Memory, Reference};

impl Reference for KeepLogits {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (rows, vocab) = (self.rows as usize, self.vocab as usize);
        let logits = memory.read::<f32>(self.logits, rows * vocab);
        let asked = memory.read::<i32>(self.asked, rows);
        let mut kept = memory.write::<f32>(self.kept, rows * vocab);
        for row in (0..rows).filter(|row| asked[*row] != sampling::NOT_ASKED) {
            kept[row * vocab..][..vocab].copy_from_slice(&logits[row * vocab..][..vocab]);
        }
    }
}
