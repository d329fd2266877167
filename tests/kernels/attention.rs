//! What the attention oracles share: scores of a query over the cache in f64, and how far f32 may move them.
use std::ops::Range;

use gpu_kernels::{Kv, KvFormat, PAGE_TOKENS, Ptr};

use crate::cached::{Kept, NAN, TIED_SCALES};
use crate::data::Data;
use crate::paged::{Batch, Heads};
use crate::random::Random;

/// The cache as a query head of a sequence sees it.
pub struct Cache {
    pub k_pool: Vec<f64>,
    pub v_pool: Vec<f64>,
    pub block_table: Vec<i32>,
    pub pages_per_sequence: usize,
    pub kv_heads: usize,
    pub dim: usize,
}

/// A key's score, and the first-order error of the score.
pub struct Score {
    pub position: usize,
    pub value: f64,
    pub error: f64,
}

impl Cache {
    pub fn new(data: &Data, pools: [(Ptr<Kv>, Kept); 2], table: (Ptr<i32>, u32), heads: (u32, u32)) -> Cache {
        let numbers =
            |(pool, kept): (Ptr<Kv>, Kept)| data.f64s(pool).into_iter().map(|element| kept.number(element)).collect();
        let [k_pool, v_pool] = pools.map(numbers);
        Cache {
            k_pool,
            v_pool,
            block_table: data.i32s(table.0).to_vec(),
            pages_per_sequence: table.1 as usize,
            kv_heads: heads.0 as usize,
            dim: heads.1 as usize,
        }
    }

    /// Where a key's row stands in a pool.
    pub fn row(&self, sequence: usize, head: usize, position: usize) -> Range<usize> {
        let tokens = PAGE_TOKENS as usize;
        let page = self.block_table[sequence * self.pages_per_sequence + position / tokens] as usize;
        let start = ((page * self.kv_heads + head) * tokens + position % tokens) * self.dim;
        start..start + self.dim
    }

    /// `scale · q·k` for each of `keys`.
    pub fn scores(
        &self,
        query: &[f64],
        (sequence, head): (usize, usize),
        keys: Range<usize>,
        scale: f64,
    ) -> Vec<Score> {
        let score = |position| {
            let key = &self.k_pool[self.row(sequence, head, position)];
            let products = query.iter().zip(key).map(|(q, k)| scale * q * k);
            let (value, magnitude) = products.fold((0.0, 0.0), |(sum, size), p| (sum + p, size + p.abs()));
            Score { position, value, error: magnitude + value.abs() }
        };
        keys.map(score).collect()
    }

    /// The value row of a key.
    pub fn value(&self, (sequence, head): (usize, usize), position: usize) -> &[f64] {
        &self.v_pool[self.row(sequence, head, position)]
    }
}

/// The largest score.
pub fn maximum(scores: &[Score]) -> &Score {
    scores.iter().max_by(|a, b| a.value.total_cmp(&b.value)).expect("a query sees itself")
}

/// The keys that the query at `position` sees.
pub fn visible(position: usize, window: u32) -> Range<usize> {
    let first = if window == 0 { 0 } else { (position + 1).saturating_sub(window as usize) };
    first..position + 1
}

/// A step over a paged cache.
pub struct Shape {
    pub heads: Heads,
    /// Dims that are rotated; none where another kernel has done it.
    pub rotary: Option<usize>,
    pub window: usize,
    pub sequences: &'static [(usize, usize)],
    /// Standard deviation of queries and keys.
    pub scale: f32,
    /// What the pools keep.
    pub kv: KvFormat,
    /// Whether the first key and value of the first head are no numbers.
    pub nan: bool,
    /// How many times as coarse as would suit them codes are.
    pub coarse: f32,
}

impl Shape {
    /// How keys and values are kept: some are beyond what codes have.
    pub fn kept(&self) -> [Kept; 2] {
        let scale = |scale| if self.kv == KvFormat::Act { 1.0 } else { scale };
        let [k_scale, v_scale] = TIED_SCALES.map(|scale| scale * self.coarse);
        [scale(k_scale * self.scale), scale(v_scale)].map(|scale| Kept { format: self.kv, scale })
    }

    /// The pools of a batch, keys first.
    pub fn pools(&self, batch: &Batch, random: &mut Random) -> [Vec<f32>; 2] {
        let pools = [self.scale, 1.0].map(|scale| batch.pool(self.heads, scale, random));
        let [k_kept, v_kept] = self.kept();
        let [k_pool, v_pool] = pools;
        let mut pools = [k_kept.pool(k_pool), v_kept.pool(v_pool)];
        if self.nan {
            let first = batch.block_table[0] as usize * self.heads.kv_heads * PAGE_TOKENS as usize * self.heads.dim;
            pools.iter_mut().for_each(|pool| pool[first..][..self.heads.dim].fill(f32::from(NAN)));
        }
        pools
    }
}

pub const fn shape(
    (heads, kv_heads, dim): (usize, usize, usize),
    window: usize,
    sequences: &'static [(usize, usize)],
) -> Shape {
    Shape {
        heads: Heads { heads, kv_heads, dim },
        rotary: None,
        window,
        sequences,
        scale: 1.0,
        kv: KvFormat::Act,
        nan: false,
        coarse: 1.0,
    }
}

/// The same, with pools of codes.
pub const fn in_fp8(shape: Shape) -> Shape {
    Shape { kv: KvFormat::Fp8, ..shape }
}

pub const fn rotating(rotary: usize, shape: Shape) -> Shape {
    Shape { rotary: Some(rotary), ..shape }
}
