//! Rows of `attn_merge`.
use gpu_kernels::{AttnMerge, SPLIT_TOKENS};

use crate::attention::visible;
use crate::attn_decode::{Shape, shape};
use crate::data::Data;
use crate::mutants::{Defect, LANES, STRIDE, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::paged::{Batch, Heads, Sequence};
use crate::random::Random;

const SHAPES: [Shape; 15] = [
    shape((1, 1, 32), 0, &[(1, 1)]),
    shape((2, 2, 32), 0, &[(1, 128), (1, 129)]),
    shape((3, 1, 64), 0, &[(1, 127)]),
    shape((8, 1, 64), 0, &[(1, 130), (1, 0)]),
    shape((6, 2, 96), 0, &[(1, 33), (1, 257), (1, 2)]),
    shape((3, 1, 96), 40, &[(1, 400)]),
    shape((3, 1, 128), 0, &[(1, 1000)]),
    shape((24, 8, 128), 0, &[(1, 700)]),
    shape((2, 1, 128), 130, &[(1, 400), (1, 129), (1, 131)]),
    shape((3, 3, 192), 0, &[(1, 129)]),
    shape((2, 1, 256), 0, &[(1, 513)]),
    shape((12, 4, 256), 0, &[(1, 4096)]),
    shape((2, 1, 32), 0, &[(1, 8000), (1, 4100)]),
    shape((4, 2, 64), 0, &[(1, 70), (3, 90), (1, 300), (1, 0), (1, 0)]),
    Shape { scale: 40.0, ..shape((4, 1, 128), 0, &[(1, 800)]) },
];

pub fn rows() -> Vec<Row<AttnMerge>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, shape)).collect()
}

/// `shape.scale` is the spread of the splits' maxima.
fn row(seed: u64, shape: &Shape) -> Row<AttnMerge> {
    let mut random = Random::new(seed);
    let Heads { heads, dim, .. } = shape.heads;
    let sequences: Vec<Sequence> =
        shape.sequences.iter().map(|(new, length)| Sequence { new: *new, length: *length }).collect();
    let batch = Batch::new(&sequences, &mut random);
    let longest = sequences.iter().map(|s| s.length).max().unwrap_or(0);
    let splits = longest.div_ceil(SPLIT_TOKENS as usize) + 1;
    let count = sequences.len() * heads * splits;
    let live = |at: usize| {
        let keys = visible(sequences[at / splits / heads].length.saturating_sub(1), shape.window as u32);
        (keys.start / SPLIT_TOKENS as usize..keys.end.div_ceil(SPLIT_TOKENS as usize)).contains(&(at % splits))
    };
    // Splits that this step did not write hold what an earlier one left.
    let stat =
        |at| if live(at) { [random.uniform() * 3.0 * shape.scale, 64.0 + 63.0 * random.uniform()] } else { [1e4, 1e6] };
    let stats = (0..count).flat_map(stat).collect();
    let partial = (0..count * dim).map(|_| 8.0 * random.uniform()).collect();
    let mut data = Data::default();
    let kernel = AttnMerge {
        partial: data.reals("partial", partial),
        stats: data.reals("stats", stats),
        row_start: data.integers("row_start", batch.row_start.clone()),
        lengths: data.integers("lengths", batch.lengths.clone()),
        out: data.undefined("out", batch.rows() * heads * dim),
        sequences: sequences.len() as u32,
        splits: splits as u32,
        heads: heads as u32,
        head_dim: dim as u32,
        window: shape.window as u32,
    };
    let name = format!("{:?}, window {}, {:?}, scale {}", shape.heads, shape.window, shape.sequences, shape.scale);
    Row { name, kernel, data }
}

impl Oracle for AttnMerge {
    const C: f64 = 8.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[TERM, STRIDE, LANES];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let (heads, splits, dim) = (self.heads as usize, self.splits as usize, self.head_dim as usize);
        let (partial, stats) = (data.f64s(self.partial), data.f64s(self.stats));
        let (row_start, lengths) = (data.i32s(self.row_start), data.i32s(self.lengths));
        let mut out = vec![Want::Kept; row_start[lengths.len()] as usize * heads * dim];
        for s in (0..lengths.len()).filter(|s| row_start[s + 1] - row_start[*s] == 1) {
            let row = &mut out[row_start[s] as usize * heads * dim..][..heads * dim];
            if lengths[s] == 0 {
                row.fill(Want::exact(0.0));
                continue;
            }
            let keys = visible(lengths[s] as usize - 1, self.window);
            let live = keys.start / SPLIT_TOKENS as usize..keys.end.div_ceil(SPLIT_TOKENS as usize);
            for (head, out) in row.chunks_mut(dim).enumerate() {
                let live = (s * heads + head) * splits + live.start..(s * heads + head) * splits + live.end;
                let split = |i: usize| (&partial[i * dim..][..dim], [stats[i * 2], stats[i * 2 + 1]]);
                let splits: Vec<_> = live.map(split).collect();
                (0..dim).for_each(|d| out[d] = joined(&splits, d, precision));
            }
        }
        vec![Written::new(self.out, out)]
    }
}

fn joined(splits: &[(&[f64], [f64; 2])], d: usize, precision: Precision) -> Want {
    let max = splits.iter().map(|(_, [max, _])| *max).fold(f64::NEG_INFINITY, f64::max);
    let (mut value, mut value_error, mut total, mut total_error) = (0.0, 0.0, 0.0, 0.0);
    for (partial, [split_max, split_total]) in splits {
        let factor = (split_max - max).exp();
        // The exponential's argument (a difference, a product), the exponential, the product and the sum.
        let error = factor * (3.0 + split_max.abs() + max.abs());
        value += factor * partial[d];
        value_error += error * partial[d].abs();
        total += factor * split_total;
        total_error += error * split_total;
    }
    let out = value / total;
    Want::near(precision.round(out), value_error / total + out.abs() * total_error / total)
}
