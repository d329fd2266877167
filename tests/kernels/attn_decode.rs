//! Rows of `attn_decode`.
use gpu_kernels::{AttnDecode, HEAD_DIMS, SPLIT_TOKENS};

use crate::attention::{Cache, Score, maximum, visible};
use crate::data::Data;
use crate::mutants::{BARRIER, Defect, FACTOR, LANES, MASK, PAGE, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::paged::{Batch, Heads, Sequence};
use crate::random::Random;

pub struct Shape {
    pub heads: Heads,
    pub window: usize,
    pub sequences: &'static [(usize, usize)],
    /// Standard deviation of queries and keys.
    pub scale: f32,
}

pub const fn shape(
    (heads, kv_heads, dim): (usize, usize, usize),
    window: usize,
    sequences: &'static [(usize, usize)],
) -> Shape {
    Shape { heads: Heads { heads, kv_heads, dim }, window, sequences, scale: 1.0 }
}

const SHAPES: [Shape; 5] = [
    shape((1, 1, 32), 0, &[(1, 1)]),
    shape((24, 8, 128), 0, &[(1, 71)]),
    shape((12, 4, 256), 0, &[(1, 9)]),
    shape((4, 2, 64), 0, &[(1, 70), (3, 90), (1, 300), (1, 0), (1, 0)]),
    Shape { scale: 6.0, ..shape((4, 1, 128), 0, &[(1, 200)]) },
];

/// For every head size: one query head per kv head, three, and eight; pages and splits that end early, exactly and late.
const fn every_size(dim: usize) -> [Shape; 4] {
    [
        shape((2, 2, dim), 0, &[(1, 33), (1, 64), (1, 65), (1, 127)]),
        shape((3, 1, dim), 0, &[(1, 130), (1, 257), (1, 0)]),
        shape((8, 1, dim), 0, &[(1, 128), (1, 31)]),
        shape((4, 1, dim), 130, &[(1, 300), (1, 129), (1, 131)]),
    ]
}

pub fn rows() -> Vec<Row<AttnDecode>> {
    let every_size = HEAD_DIMS.iter().flat_map(|dim| every_size(*dim as usize));
    SHAPES.into_iter().chain(every_size).enumerate().map(|(seed, shape)| row(seed as u64, &shape)).collect()
}

fn row(seed: u64, shape: &Shape) -> Row<AttnDecode> {
    let mut random = Random::new(seed);
    let Heads { heads, kv_heads, dim } = shape.heads;
    let sequences: Vec<Sequence> =
        shape.sequences.iter().map(|(new, length)| Sequence { new: *new, length: *length }).collect();
    let batch = Batch::new(&sequences, &mut random);
    let longest = sequences.iter().map(|s| s.length).max().unwrap_or(0);
    // One split more than the longest sequence has: a depth class is rounded up.
    let splits = longest.div_ceil(SPLIT_TOKENS as usize) + 1;
    let mut data = Data::default();
    let kernel = AttnDecode {
        q: data.reals("q", random.reals(batch.rows() * shape.heads.qkv(), shape.scale)),
        k_pool: data.reals("k_pool", batch.pool(shape.heads, shape.scale, &mut random)),
        v_pool: data.reals("v_pool", batch.pool(shape.heads, 1.0, &mut random)),
        block_table: data.integers("block_table", batch.block_table.clone()),
        row_start: data.integers("row_start", batch.row_start.clone()),
        lengths: data.integers("lengths", batch.lengths.clone()),
        partial: data.undefined("partial", sequences.len() * heads * splits * dim),
        stats: data.undefined("stats", sequences.len() * heads * splits * 2),
        sequences: sequences.len() as u32,
        splits: splits as u32,
        q_stride: shape.heads.qkv() as u32,
        heads: heads as u32,
        kv_heads: kv_heads as u32,
        head_dim: dim as u32,
        pages_per_sequence: batch.pages_per_sequence as u32,
        window: shape.window as u32,
        scale: 1.0 / (dim as f32).sqrt(),
    };
    let name = format!("{:?}, window {}, {:?}, scale {}", shape.heads, shape.window, shape.sequences, shape.scale);
    Row { name, kernel, data }
}

impl Oracle for AttnDecode {
    const C: f64 = 16.0;
    const D: f64 = 2.0;
    const DEFECTS: &[Defect] = &[MASK, PAGE, TERM, FACTOR, LANES, BARRIER];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let (heads, splits, dim) = (self.heads as usize, self.splits as usize, self.head_dim as usize);
        let tables = (self.block_table, self.pages_per_sequence);
        let cache = Cache::new(data, (self.k_pool, self.v_pool), tables, (self.kv_heads, self.head_dim));
        let (q, row_start, lengths) = (data.f64s(self.q), data.i32s(self.row_start), data.i32s(self.lengths));
        let mut partial = vec![Want::Kept; self.sequences as usize * heads * splits * dim];
        let mut stats = vec![Want::Kept; self.sequences as usize * heads * splits * 2];
        for s in (0..lengths.len()).filter(|s| row_start[s + 1] - row_start[*s] == 1 && lengths[*s] > 0) {
            let keys = visible(lengths[s] as usize - 1, self.window);
            let tokens = SPLIT_TOKENS as usize;
            for (head, i) in
                (0..heads).flat_map(|h| (keys.start / tokens..keys.end.div_ceil(tokens)).map(move |i| (h, i)))
            {
                let query = &q[row_start[s] as usize * self.q_stride as usize + head * dim..][..dim];
                let split = keys.start.max(i * tokens)..keys.end.min((i + 1) * tokens);
                let group = (s, head / (heads / self.kv_heads as usize));
                let scores = cache.scores(query, group, split, f64::from(self.scale));
                let at = (s * heads + head) * splits + i;
                let written = sums(&cache, group, &scores, precision);
                stats[at * 2..][..2].copy_from_slice(&written.0);
                partial[at * dim..][..dim].copy_from_slice(&written.1);
            }
        }
        vec![Written::new(self.partial, partial), Written::new(self.stats, stats)]
    }
}

/// Maximum and sum of a split, and its partial output.
fn sums(cache: &Cache, group: (usize, usize), scores: &[Score], precision: Precision) -> ([Want; 2], Vec<Want>) {
    let max = maximum(scores);
    let (mut total, mut total_error) = (0.0, 0.0);
    let mut partial = vec![(0.0, 0.0, 0.0); cache.dim];
    for score in scores {
        let e = (score.value - max.value).exp();
        // The exponential moves by as much as its argument does.
        let error = 1.0 + score.error + max.error;
        total += e;
        total_error += e * error;
        for ((sum, sum_error, terms), value) in partial.iter_mut().zip(cache.value(group, score.position)) {
            *sum += precision.round(e) * value;
            *sum_error += e * value.abs() * error;
            *terms += e * value.abs();
        }
    }
    let partial = partial.into_iter().map(|(value, error, terms)| Want::Value { value, error, terms }).collect();
    ([Want::near(max.value, max.error), Want::near(total, total_error)], partial)
}
