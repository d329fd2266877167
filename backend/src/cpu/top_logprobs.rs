//! Reference of `top_logprobs`: by sorting, with a sum in f64.
use gpu_kernels::top_logprobs::{BEST, WORDS};
use gpu_kernels::{TopLogprobs, sampling};

use crate::device::{Activation, Memory, Reference};

impl Reference for TopLogprobs {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (rows, vocab) = (self.rows as usize, self.vocab as usize);
        let logits = memory.read::<f32>(self.logits, rows * vocab);
        let asked = memory.read::<i32>(self.asked, rows);
        let slots = memory.read::<i32>(self.slots, rows);
        for row in (0..rows).filter(|row| asked[*row] != sampling::NOT_ASKED) {
            let slot = slots[row] as usize;
            // Read before the results are borrowed: the two may be parts of one buffer.
            let token = match asked[row] {
                sampling::CHOSEN => memory.read_all::<i32>(self.sampled)[slot],
                token => token,
            };
            let words = results(&logits[row * vocab..][..vocab], token as usize);
            let mut results = memory.write_all::<i32>(self.results);
            results[slot * WORDS as usize..][..WORDS as usize].copy_from_slice(&words);
        }
    }
}

/// A slot's words for the row that `token` was chosen from.
fn results(row: &[f32], token: usize) -> Vec<i32> {
    let mut ids: Vec<usize> = (0..row.len()).collect();
    let order = |a: &usize, b: &usize| row[*b].total_cmp(&row[*a]).then(a.cmp(b));
    let count = row.len().min(BEST as usize);
    if count < ids.len() {
        ids.select_nth_unstable_by(count - 1, order);
    }
    ids.truncate(count);
    ids.sort_unstable_by(order);
    let greatest = f64::from(row[ids[0]]);
    let sum: f64 = row.iter().map(|logit| (f64::from(*logit) - greatest).exp()).sum();
    let bits = |value: f32| value.to_bits().cast_signed();
    let mut words = vec![bits(sum as f32), bits(row[token])];
    let best = ids.iter().map(|id| (*id as i32, bits(row[*id])));
    let (ids, logits): (Vec<i32>, Vec<i32>) =
        best.chain(std::iter::repeat((-1, bits(f32::NEG_INFINITY)))).take(BEST as usize).unzip();
    words.extend(ids);
    words.extend(logits);
    words
}
