//! Rows of `attn_prefill`.
use gpu_kernels::{AttnPrefill, HEAD_DIMS, TILE_ROWS};

use crate::attention::{Cache, Shape, in_fp8, maximum, shape, visible};
use crate::cached::Kept;
use crate::data::{Data, Values};
use crate::mutants::{BARRIER, Defect, EDGE, FACTOR, LANES, MASK, PRODUCT, STRIDE, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::paged::{Batch, Heads, Sequence};
use crate::random::Random;

const SHAPES: [Shape; 9] = [
    shape((1, 1, 32), 0, &[(2, 2)]),
    shape((6, 2, 96), 0, &[(3, 3), (2, 66)]),
    shape((24, 8, 128), 0, &[(5, 70)]),
    shape((3, 3, 192), 0, &[(65, 65)]),
    shape((4, 2, 64), 0, &[(3, 70), (1, 90), (70, 140), (1, 0), (1, 0)]),
    Shape { scale: 6.0, ..shape((4, 1, 128), 0, &[(33, 97)]) },
    // A window that ends within the last page for every column of it but two.
    shape((2, 1, 64), 40, &[(64, 166)]),
    shape((1, 1, 128), 40, &[(64, 166)]),
    // Scores whose exponentials are beyond f32.
    Shape { scale: 24.0, ..shape((2, 1, 64), 0, &[(33, 97)]) },
];

/// Tiles whose rows end at every place, each before a row that is not theirs to write.
const RAGGED: &[(usize, usize)] = &[
    (2, 2),
    (1, 1),
    (6, 6),
    (1, 1),
    (10, 10),
    (1, 1),
    (14, 14),
    (1, 1),
    (18, 18),
    (1, 1),
    (22, 22),
    (1, 1),
    (26, 26),
    (1, 1),
    (30, 30),
    (1, 1),
    (34, 34),
    (1, 1),
    (38, 38),
    (1, 1),
    (42, 42),
    (1, 1),
    (46, 46),
    (1, 1),
    (50, 50),
    (1, 1),
    (54, 54),
    (1, 1),
    (58, 58),
    (1, 1),
    (62, 62),
    (1, 1),
];

/// The same of rows that belong to no sequence.
const RAGGED_PADS: &[(usize, usize)] = &[
    (2, 0),
    (1, 1),
    (6, 0),
    (1, 1),
    (10, 0),
    (1, 1),
    (14, 0),
    (1, 1),
    (18, 0),
    (1, 1),
    (22, 0),
    (1, 1),
    (26, 0),
    (1, 1),
    (30, 0),
    (1, 1),
    (34, 0),
    (1, 1),
    (38, 0),
    (1, 1),
    (42, 0),
    (1, 1),
    (46, 0),
    (1, 1),
    (50, 0),
    (1, 1),
    (54, 0),
    (1, 1),
    (58, 0),
    (1, 1),
    (62, 0),
    (1, 1),
];

/// For every head size: one query head per kv head, three, and eight; from one page of keys to five, which end early,
/// exactly and late; a window that hides a page from some rows of a tile.
const fn every_size(dim: usize) -> [Shape; 8] {
    [
        shape((3, 1, dim), 0, &[(33, 128)]),
        shape((2, 2, dim), 0, &[(2, 64), (3, 128), (2, 190), (17, 256), (2, 320)]),
        shape((8, 1, dim), 40, &[(9, 104), (2, 2)]),
        shape((1, 1, dim), 0, &[(64, 64), (45, 110)]),
        shape((1, 1, dim), 0, &[(33, 64)]),
        shape((1, 1, dim), 0, &[(5, 192)]),
        shape((1, 1, dim), 0, RAGGED),
        shape((1, 1, dim), 0, RAGGED_PADS),
    ]
}

/// For every head size, with pools of codes: from one page of keys to five, a window, scores beyond f32's exponentials.
const fn every_size_in_fp8(dim: usize) -> [Shape; 6] {
    [
        in_fp8(shape((3, 1, dim), 0, &[(33, 128)])),
        in_fp8(shape((2, 2, dim), 0, &[(2, 64), (3, 128), (2, 190), (17, 256), (2, 320)])),
        in_fp8(shape((8, 1, dim), 40, &[(9, 104), (2, 2), (64, 0)])),
        in_fp8(shape((1, 1, dim), 0, &[(64, 64), (45, 110)])),
        in_fp8(Shape { scale: 24.0, ..shape((2, 1, dim), 0, &[(33, 97)]) }),
        in_fp8(Shape { nan: true, ..shape((2, 1, dim), 0, &[(5, 70), (3, 3)]) }),
    ]
}

pub fn rows() -> Vec<Row<AttnPrefill>> {
    let every_size = HEAD_DIMS.iter().flat_map(|dim| every_size(*dim as usize));
    let in_fp8 = HEAD_DIMS.iter().flat_map(|dim| every_size_in_fp8(*dim as usize));
    SHAPES
        .into_iter()
        .chain(every_size)
        .chain(in_fp8)
        .enumerate()
        .map(|(seed, shape)| row(seed as u64, &shape))
        .collect()
}

/// Sequence, first row and rows of each tile: the sequences with several new rows, then the pads' rows, then one tile that
/// the bucket has too many.
fn tiles(batch: &Batch) -> [Vec<i32>; 3] {
    let mut tiles = [vec![], vec![], vec![]];
    let mut add = |tile: [i32; 3]| tiles.iter_mut().zip(tile).for_each(|(list, value)| list.push(value));
    for (s, sequence) in batch.sequences.iter().enumerate() {
        let (first, pad) = (batch.row_start[s], sequence.length == 0);
        if sequence.new > 1 || pad {
            for row in (0..sequence.new as i32).step_by(TILE_ROWS as usize) {
                let rows = (sequence.new as i32 - row).min(TILE_ROWS as i32);
                add([if pad { -1 } else { s as i32 }, first + row, rows]);
            }
        }
    }
    add([-1, 0, 0]);
    tiles
}

fn row(seed: u64, shape: &Shape) -> Row<AttnPrefill> {
    let mut random = Random::new(seed);
    let Heads { heads, kv_heads, dim } = shape.heads;
    let sequences: Vec<Sequence> =
        shape.sequences.iter().map(|(new, length)| Sequence { new: *new, length: *length }).collect();
    let batch = Batch::new(&sequences, &mut random);
    let [tile_sequence, tile_row, tile_rows] = tiles(&batch);
    let tiles = tile_row.len() as u32;
    let mut data = Data::default();
    let [k_scale, v_scale] = shape.kept().map(|kept| kept.scale);
    let q = data.reals("q", random.reals(batch.rows() * shape.heads.qkv(), shape.scale));
    let [k_pool, v_pool] = shape.pools(&batch, &mut random).map(Values::Reals);
    let kernel = AttnPrefill {
        q,
        k_pool: data.pool("k_pool", shape.kv, k_pool),
        v_pool: data.pool("v_pool", shape.kv, v_pool),
        block_table: data.integers("block_table", batch.block_table.clone()),
        row_start: data.integers("row_start", batch.row_start.clone()),
        lengths: data.integers("lengths", batch.lengths.clone()),
        tile_sequence: data.integers("tile_sequence", tile_sequence),
        tile_row: data.integers("tile_row", tile_row),
        tile_rows: data.integers("tile_rows", tile_rows),
        out: data.undefined("out", batch.rows() * heads * dim),
        tiles,
        q_stride: shape.heads.qkv() as u32,
        heads: heads as u32,
        kv_heads: kv_heads as u32,
        head_dim: dim as u32,
        pages_per_sequence: batch.pages_per_sequence as u32,
        window: shape.window as u32,
        scale: 1.0 / (dim as f32).sqrt(),
        kv: shape.kv,
        k_scale,
        v_scale,
    };
    let (heads, kv, scale) = (shape.heads, shape.kv, shape.scale);
    let name = format!("{heads:?}, {kv:?}, window {}, {:?}, scale {scale}", shape.window, shape.sequences);
    Row { name, kernel, data }
}

impl Oracle for AttnPrefill {
    const C: f64 = 16.0;
    const D: f64 = 4.0;
    const DEFECTS: &[Defect] = &[
        // Where pages are asked for two ahead, asking for one behind the last copies nothing.
        Defect { entries: "attn_prefill_192", ..EDGE },
        Defect { entries: "attn_prefill_256", ..EDGE },
        MASK,
        TERM,
        FACTOR,
        STRIDE,
        LANES,
        // Where keys and values never share a buffer, the barrier before the outputs are staged orders nothing.
        Defect { entries: "_192", ..BARRIER },
        Defect { entries: "_wgmma_64", ..BARRIER },
        Defect { entries: "_wgmma_64", ..PRODUCT },
        Defect { entries: "_fp8_64", ..BARRIER },
    ];

    /// Of the entries with pools of codes two are enough.
    fn spares(entry: &str, _: &Defect) -> bool {
        entry.contains("_fp8_") && !entry.ends_with("_64")
    }

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let (heads, dim) = (self.heads as usize, self.head_dim as usize);
        let tables = (self.block_table, self.pages_per_sequence);
        let kept = |scale| Kept { format: self.kv, scale };
        let pools = [(self.k_pool, kept(self.k_scale)), (self.v_pool, kept(self.v_scale))];
        let cache = Cache::new(data, pools, tables, (self.kv_heads, self.head_dim));
        let (q, row_start, lengths) = (data.f64s(self.q), data.i32s(self.row_start), data.i32s(self.lengths));
        let mut out = vec![Want::Kept; row_start[lengths.len()] as usize * heads * dim];
        for tile in 0..self.tiles as usize {
            let [s, first, rows] =
                [self.tile_sequence, self.tile_row, self.tile_rows].map(|list| data.i32s(list)[tile]);
            for row in first..first + rows {
                let out = &mut out[row as usize * heads * dim..][..heads * dim];
                let Ok(s) = usize::try_from(s) else {
                    out.fill(Want::exact(0.0));
                    continue;
                };
                let keys = visible((lengths[s] - (row_start[s + 1] - row)) as usize, self.window);
                for (head, out) in out.chunks_mut(dim).enumerate() {
                    let query = &q[row as usize * self.q_stride as usize + head * dim..][..dim];
                    let group = (s, head / (heads / self.kv_heads as usize));
                    let scores = cache.scores(query, group, keys.clone(), f64::from(self.scale));
                    out.copy_from_slice(&attended(&cache, group, &scores, precision));
                }
            }
        }
        vec![Written::new(self.out, out)]
    }
}

/// One head's output. Where a running maximum stands decides how e_j rounds: d allows for it.
fn attended(
    cache: &Cache,
    group: (usize, usize),
    scores: &[crate::attention::Score],
    precision: Precision,
) -> Vec<Want> {
    let max = maximum(scores);
    let weights: Vec<(f64, f64)> = scores
        .iter()
        .map(|score| {
            let e = (score.value - max.value).exp();
            (e, e * (2.0 + score.error + max.error))
        })
        .collect();
    let total: f64 = weights.iter().map(|(e, _)| e).sum();
    let total_error: f64 = weights.iter().map(|(_, error)| error).sum();
    let mut sums = vec![(0.0, 0.0, 0.0); cache.dim];
    for (score, (e, error)) in scores.iter().zip(&weights) {
        for ((sum, sum_error, terms), value) in sums.iter_mut().zip(cache.value(group, score.position)) {
            *sum += e * value;
            *sum_error += error * value.abs();
            *terms += e * value.abs();
        }
    }
    let want = |(sum, sum_error, terms): (f64, f64, f64)| {
        let value = sum / total;
        let error = (sum_error + value.abs() * total_error) / total;
        Want::Value { value: precision.round(value), error, terms: terms / total }
    };
    sums.into_iter().map(want).collect()
}
