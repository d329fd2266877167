//! Reference of `sample_limit`: by sorting.
use gpu_kernels::sample_limit::{BINS, LIMIT_WORDS};
use gpu_kernels::{SampleLimit, sampling};

use super::sample::{distance, weight};
use crate::device::{Activation, Memory, Reference};

impl Reference for SampleLimit {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (rows, vocab, words) = (self.rows as usize, self.vocab as usize, sampling::WORDS as usize);
        let logits = memory.read::<f32>(self.logits, rows * vocab);
        let parameters = memory.read::<i32>(self.sampling, rows * words);
        let slots = memory.read::<i32>(self.slots, rows);
        let sampled = memory.read_all::<i32>(self.sampled);
        let mut limits = memory.write::<i32>(self.limits, rows * LIMIT_WORDS as usize);
        let rows = logits.chunks(vocab).zip(parameters.chunks(words)).zip(slots.iter());
        for (((logits, parameters), slot), limits) in rows.zip(limits.chunks_mut(LIMIT_WORDS as usize)) {
            if parameters[sampling::INVERSE_TEMPERATURE as usize] != 0 && parameters[self.filter as usize] != 0 {
                find(self, logits, logits[sampled[*slot as usize] as usize], parameters, limits);
            }
        }
    }
}

/// Writes bin and rest after the first digit, the limit after the second.
fn find(kernel: &SampleLimit, logits: &[f32], best: f32, parameters: &[i32], limits: &mut [i32]) {
    let word = |word: u32| parameters[word as usize].cast_unsigned();
    let (by_count, first) = (kernel.filter == sampling::TOP_K, kernel.digit == 0);
    let inverse_temperature = f32::from_bits(word(sampling::INVERSE_TEMPERATURE));
    let behind_top_k = !by_count && word(sampling::TOP_K) > 0;
    let limit = if behind_top_k { limits[0].cast_unsigned() } else { sampling::MAX_DISTANCE };
    let bin = limits[1].cast_unsigned();
    let distances = logits.iter().map(|logit| distance(best - logit, inverse_temperature));
    let counted = distances.filter(|distance| *distance <= limit && (first || distance / BINS == bin));
    let measured = |distance: u32| {
        let digit = if first { distance / BINS } else { distance % BINS };
        (digit, if by_count { 1 } else { weight(distance) })
    };
    let mut measures: Vec<(u32, u64)> = counted.map(measured).collect();
    measures.sort_unstable();
    let total: u64 = measures.iter().map(|(_, measure)| measure).sum();
    let target = match (first, by_count) {
        (false, _) => u64::from(limits[3].cast_unsigned()) << 32 | u64::from(limits[2].cast_unsigned()),
        (true, true) => u64::from(word(kernel.filter)),
        (true, false) => ((u128::from(total) * u128::from(word(kernel.filter))) >> 32).max(1) as u64,
    };
    let mut sum = 0;
    let reaching = measures.iter().find(|(_, measure)| {
        sum += measure;
        sum >= target
    });
    let digit = reaching.expect("the target is at most the sum").0;
    if !first {
        limits[0] = (bin * BINS + digit).cast_signed();
        return;
    }
    let below: u64 = measures.iter().take_while(|(other, _)| *other < digit).map(|(_, measure)| measure).sum();
    let rest = target - below;
    limits[1..].copy_from_slice(&[digit.cast_signed(), rest as i32, (rest >> 32) as i32]);
}
