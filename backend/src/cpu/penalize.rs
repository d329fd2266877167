//! Reference of `penalize`.
use std::collections::{BTreeMap, BTreeSet};

use gpu_kernels::{Penalize, sampling};

use crate::device::{Activation, Memory, Reference};

impl Reference for Penalize {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (rows, vocab, words) = (self.rows as usize, self.vocab as usize, sampling::WORDS as usize);
        let parameters = memory.read::<i32>(self.sampling, rows * words);
        let (slots, index) = (memory.read::<i32>(self.slots, rows), memory.read::<i32>(self.index, rows));
        let (positions, history) = (memory.read_all::<i32>(self.positions), memory.read_all::<i32>(self.history));
        let (ids, values) = (memory.read_all::<i32>(self.bias_ids), memory.read_all::<i32>(self.bias_values));
        let (until, phrases) = (memory.read_all::<i32>(self.bias_until), memory.read_all::<i32>(self.phrases));
        let mut logits = memory.write::<f32>(self.logits, rows * vocab);
        for (row, logits) in logits.chunks_mut(vocab).enumerate() {
            let parameters = &parameters[row * words..][..words];
            let word = |word: u32| parameters[word as usize] as usize;
            let tokens = positions[index[row] as usize] as usize + 1;
            let history = &history[slots[row] as usize * self.context as usize..][..tokens];
            if word(sampling::PHRASES) > 0 {
                complete_phrases(logits, &phrases[word(sampling::PHRASES)..], history);
            }
            if word(sampling::PENALIZES) != 0 {
                penalize(logits, parameters, history);
            }
            if word(sampling::NGRAM) > 0 {
                forbid_repeats(logits, word(sampling::NGRAM), history);
            }
            for bias in word(sampling::BIAS_START)..word(sampling::BIAS_START) + word(sampling::BIAS_COUNT) {
                let forbidden = (tokens as u32) < until[bias].cast_unsigned();
                let value = f32::from_bits(values[bias].cast_unsigned());
                logits[ids[bias] as usize] += if forbidden { f32::NEG_INFINITY } else { value };
            }
        }
    }
}

fn complete_phrases(logits: &mut [f32], table: &[i32], history: &[i32]) {
    let entries = table[1..].chunks(sampling::PHRASE_WORDS as usize).take(table[0] as usize);
    let mut sums: BTreeMap<i32, f32> = BTreeMap::new();
    for entry in entries {
        let [last, value, start, count] = entry else { unreachable!("a phrase has four words") };
        if history.ends_with(&table[*start as usize..][..*count as usize]) {
            *sums.entry(*last).or_default() += f32::from_bits(value.cast_unsigned());
        }
    }
    sums.into_iter().for_each(|(id, sum)| logits[id as usize] += sum);
}

fn forbid_repeats(logits: &mut [f32], size: usize, history: &[i32]) {
    let Some(start) = (history.len() + 1).checked_sub(size) else { return };
    let repeating = history.windows(size).filter(|ngram| ngram[..size - 1] == history[start..]);
    let repeated: BTreeSet<i32> = repeating.map(|ngram| ngram[size - 1]).collect();
    repeated.into_iter().for_each(|id| logits[id as usize] += f32::NEG_INFINITY);
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
