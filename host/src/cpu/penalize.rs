//! Reference of `penalize`.
use std::collections::BTreeMap;

use gpu_kernels::{Penalize, sampling};

use crate::device::{Activation, Memory, Reference};

impl Reference for Penalize {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (rows, vocab, words) = (self.rows as usize, self.vocab as usize, sampling::WORDS as usize);
        let parameters = memory.read::<i32>(self.sampling, rows * words);
        let (slots, index) = (memory.read::<i32>(self.slots, rows), memory.read::<i32>(self.index, rows));
        let (positions, history) = (memory.read_all::<i32>(self.positions), memory.read_all::<i32>(self.history));
        let (ids, values) = (memory.read_all::<i32>(self.bias_ids), memory.read_all::<i32>(self.bias_values));
        let mut logits = memory.write::<f32>(self.logits, rows * vocab);
        for (row, logits) in logits.chunks_mut(vocab).enumerate() {
            let parameters = &parameters[row * words..][..words];
            if parameters[sampling::PENALIZES as usize] != 0 {
                let tokens = positions[index[row] as usize] as usize + 1;
                penalize(logits, parameters, &history[slots[row] as usize * self.context as usize..][..tokens]);
            }
            let start = parameters[sampling::BIAS_START as usize] as usize;
            for bias in start..start + parameters[sampling::BIAS_COUNT as usize] as usize {
                logits[ids[bias] as usize] += f32::from_bits(values[bias].cast_unsigned());
            }
        }
    }
}

fn penalize(logits: &mut [f32], parameters: &[i32], history: &[i32]) {
    let float = |word: u32| f32::from_bits(parameters[word as usize].cast_unsigned());
    let (repeat, presence, frequency) =
        (float(sampling::REPEAT_PENALTY), float(sampling::PRESENCE_PENALTY), float(sampling::FREQUENCY_PENALTY));
    let prompt = parameters[sampling::PROMPT_LENGTH as usize] as usize;
    let mut counts: BTreeMap<i32, u32> = BTreeMap::new();
    for (position, id) in history.iter().enumerate() {
        *counts.entry(*id).or_default() += u32::from(position >= prompt);
    }
    for (id, count) in counts {
        let logit = &mut logits[id as usize];
        *logit = if *logit > 0.0 { *logit / repeat } else { *logit * repeat };
        *logit -= count as f32 * frequency;
        if count > 0 {
            *logit -= presence;
        }
    }
}
