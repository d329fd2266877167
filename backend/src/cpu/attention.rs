//! What the attention references share: the rotation, keys and values by page, one split of keys, and the join of splits.
use std::ops::Range;

use gpu_kernels::{PAGE_TOKENS, SPLIT_TOKENS};

use super::cached::Cached;
use super::sum::{dot, sum};
use crate::device::Activation;

/// The cached keys and values of one kv head of one sequence.
pub struct Cache<'a, E> {
    /// `[pages, kv_heads, PAGE_TOKENS, head_dim]`.
    pub k_pool: &'a [E],
    /// As `k_pool`.
    pub v_pool: &'a [E],
    /// The sequence's page ids.
    pub pages: &'a [i32],
    /// Key and value heads.
    pub kv_heads: usize,
    /// The kv head.
    pub head: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// What keys and values were divided by.
    pub scales: [f32; 2],
}

impl<E> Cache<'_, E> {
    /// Where the row of key `position` stands in a pool.
    fn row(&self, position: usize) -> Range<usize> {
        cache_row(self.pages, (self.kv_heads, self.head), self.head_dim, position)
    }
}

/// Where the row of key `position` stands in a pool: of kv head `head` among `kv_heads`, each `dim` wide.
pub fn cache_row(pages: &[i32], (kv_heads, head): (usize, usize), dim: usize, position: usize) -> Range<usize> {
    let (page, offset) = (position / PAGE_TOKENS as usize, position % PAGE_TOKENS as usize);
    let start = ((pages[page] as usize * kv_heads + head) * PAGE_TOKENS as usize + offset) * dim;
    start..start + dim
}

/// Rotates dims j and j + R/2 of a head, R/2 being the number of angles, with three roundings.
pub fn rotate<A: Activation>(head: &mut [A], (cos, sin): (&[A], &[A])) {
    let (low, high) = head[..2 * cos.len()].split_at_mut(cos.len());
    for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        let (lo, hi, cos, sin) = (low.to_f32(), high.to_f32(), cos.to_f32(), sin.to_f32());
        *low = A::from_f32(A::round(lo * cos) + A::round(-hi * sin));
        *high = A::from_f32(A::round(hi * cos) + A::round(lo * sin));
    }
}

/// The keys that the query at `position` sees; all up to itself where `window` is 0.
pub fn visible(position: usize, window: usize) -> Range<usize> {
    let first = if window == 0 { 0 } else { (position + 1).saturating_sub(window) };
    first..position + 1
}

/// The splits that hold a key of `keys`, and which of the keys each holds. Splits count from position 0.
fn splits(keys: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> + Clone {
    let tokens = SPLIT_TOKENS as usize;
    let numbers = keys.start / tokens..keys.end.div_ceil(tokens);
    numbers.map(move |i| (i, keys.start.max(i * tokens)..keys.end.min((i + 1) * tokens)))
}

/// What a split of keys comes to: `Σ r(e^(s − max)) · v` and `[max, Σ e^(s − max)]`.
pub type Split = (Vec<f32>, [f32; 2]);

/// One head's output over `keys`, and the splits that it was joined from, by number.
pub fn attend<A: Activation, E: Cached>(
    q: &[A],
    cache: &Cache<E>,
    keys: Range<usize>,
    scale: f32,
    out: &mut [A],
) -> Vec<(usize, Split)> {
    let query: Vec<f32> = q.iter().map(|q| q.to_f32()).collect();
    let splits: Vec<_> = splits(keys).map(|(i, keys)| (i, split::<A, E>(&query, cache, keys, scale))).collect();
    merge(splits.iter().map(|(_, split)| split), out);
    splits
}

/// One split, with s = scale · q·k over `keys`.
fn split<A: Activation, E: Cached>(query: &[f32], cache: &Cache<E>, keys: Range<usize>, scale: f32) -> Split {
    let mut key = vec![0.0; cache.head_dim];
    let mut scores = [0.0; SPLIT_TOKENS as usize];
    let scores = &mut scores[..keys.len()];
    for (score, position) in scores.iter_mut().zip(keys.clone()) {
        let row = &cache.k_pool[cache.row(position)];
        key.iter_mut().zip(row).for_each(|(key, kept)| *key = kept.number(cache.scales[0]));
        *score = scale * dot(query, &key);
    }
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut partial = vec![0.0; cache.head_dim];
    for (score, position) in scores.iter_mut().zip(keys) {
        *score = (*score - max).exp();
        let weight = A::round(*score);
        for (out, value) in partial.iter_mut().zip(&cache.v_pool[cache.row(position)]) {
            *out += weight * value.number(cache.scales[1]);
        }
    }
    (partial, [max, sum(scores.iter().copied())])
}

/// Joins splits, given in order, into one head's output.
fn merge<'a, A: Activation>(splits: impl Iterator<Item = &'a Split> + Clone, out: &mut [A]) {
    let max = splits.clone().map(|(_, [max, _])| *max).fold(f32::NEG_INFINITY, f32::max);
    let mut values = vec![0.0; out.len()];
    let mut total = 0.0;
    for (partial, [split_max, split_total]) in splits {
        let factor = (split_max - max).exp();
        total += factor * split_total;
        values.iter_mut().zip(partial).for_each(|(value, partial)| *value += factor * partial);
    }
    out.iter_mut().zip(values).for_each(|(out, value)| *out = A::from_f32(value / total));
}
