//! What the attention references share: keys and values by page, one split of keys, and the join of splits.
use std::ops::Range;

use gpu_kernels::{PAGE_TOKENS, SPLIT_TOKENS};

use super::sum::{dot, sum};
use crate::device::Activation;

/// The cached keys and values of one kv head of one sequence.
pub struct Cache<'a, A> {
    /// `[pages, kv_heads, PAGE_TOKENS, head_dim]`.
    pub k_pool: &'a [A],
    /// As `k_pool`.
    pub v_pool: &'a [A],
    /// The sequence's page ids.
    pub pages: &'a [i32],
    /// Key and value heads.
    pub kv_heads: usize,
    /// The kv head.
    pub head: usize,
    /// Width of a head.
    pub head_dim: usize,
}

impl<A> Cache<'_, A> {
    /// Where the row of key `position` stands in a pool.
    fn row(&self, position: usize) -> Range<usize> {
        let (page, offset) = (position / PAGE_TOKENS as usize, position % PAGE_TOKENS as usize);
        let block = self.pages[page] as usize * self.kv_heads + self.head;
        let start = (block * PAGE_TOKENS as usize + offset) * self.head_dim;
        start..start + self.head_dim
    }
}

/// The keys that the query at `position` sees; all up to itself where `window` is 0.
pub fn visible(position: usize, window: usize) -> Range<usize> {
    let first = if window == 0 { 0 } else { (position + 1).saturating_sub(window) };
    first..position + 1
}

/// The splits that hold a key of `keys`, and which of the keys each holds. Splits count from position 0.
pub fn splits(keys: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> + Clone {
    let tokens = SPLIT_TOKENS as usize;
    let numbers = keys.start / tokens..keys.end.div_ceil(tokens);
    numbers.map(move |i| (i, keys.start.max(i * tokens)..keys.end.min((i + 1) * tokens)))
}

/// One split: with s = scale · q·k over `keys`, writes `Σ r(e^(s − max)) · v` and returns `[max, Σ e^(s − max)]`.
pub fn split<A: Activation>(
    query: &[f32],
    cache: &Cache<A>,
    keys: Range<usize>,
    scale: f32,
    partial: &mut [f32],
) -> [f32; 2] {
    let mut key = vec![0.0; cache.head_dim];
    let mut scores = [0.0; SPLIT_TOKENS as usize];
    let scores = &mut scores[..keys.len()];
    for (score, position) in scores.iter_mut().zip(keys.clone()) {
        widen(&cache.k_pool[cache.row(position)], &mut key);
        *score = scale * dot(query, &key);
    }
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    partial.fill(0.0);
    for (score, position) in scores.iter_mut().zip(keys) {
        *score = (*score - max).exp();
        let weight = A::round(*score);
        for (out, value) in partial.iter_mut().zip(&cache.v_pool[cache.row(position)]) {
            *out += weight * value.to_f32();
        }
    }
    [max, sum(scores.iter().copied())]
}

/// Joins splits, given in order as their partial sums and `[max, sum]`, into one head's output.
pub fn merge<'a, A: Activation>(splits: impl Iterator<Item = (&'a [f32], [f32; 2])> + Clone, out: &mut [A]) {
    let max = splits.clone().map(|(_, [max, _])| max).fold(f32::NEG_INFINITY, f32::max);
    let mut values = vec![0.0; out.len()];
    let mut total = 0.0;
    for (partial, [split_max, split_total]) in splits {
        let factor = (split_max - max).exp();
        total += factor * split_total;
        values.iter_mut().zip(partial).for_each(|(value, partial)| *value += factor * partial);
    }
    out.iter_mut().zip(values).for_each(|(out, value)| *out = A::from_f32(value / total));
}

/// `from` as f32.
pub fn widen<A: Activation>(from: &[A], to: &mut [f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = from.to_f32());
}
