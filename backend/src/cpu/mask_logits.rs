//! Reference of `mask_logits`.
use gpu_kernels::MaskLogits;

use crate::device::{Activation, Memory, Reference};

impl Reference for MaskLogits {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (rows, vocab) = (self.rows as usize, self.vocab as usize);
        let index = memory.read::<i32>(self.index, rows);
        let masks = memory.read_all::<i32>(self.masks);
        let mut logits = memory.write::<f32>(self.logits, rows * vocab);
        for (row, first) in logits.chunks_mut(vocab).zip(index.iter()) {
            let Ok(first) = usize::try_from(*first) else { continue };
            for (tokens, word) in row.chunks_mut(32).zip(&masks[first..]) {
                let allowed = |bit: usize| (word.cast_unsigned() >> bit) & 1 == 1;
                tokens
                    .iter_mut()
                    .enumerate()
                    .filter(|(bit, _)| !allowed(*bit))
                    .for_each(|(_, logit)| *logit = f32::NEG_INFINITY);
            }
        }
    }
}
