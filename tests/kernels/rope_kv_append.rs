//! Rows of `rope_kv_append`.
use gpu_kernels::{KvFormat, PAGE_TOKENS, RopeKvAppend};
use half::bf16;

use crate::cached::{Kept, TIED_SCALES};
use crate::data::{Data, Values};
use crate::mutants::{Defect, EDGE, FACTOR, PAGE, STRIDE, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::paged::{Batch, Heads, Sequence};
use crate::random::Random;

struct Shape {
    heads: Heads,
    rotary: usize,
    /// Pads write the scrap page.
    sequences: &'static [(usize, usize)],
    scale: f32,
    kv: KvFormat,
}

const fn shape(
    (heads, kv_heads, dim): (usize, usize, usize),
    rotary: usize,
    sequences: &'static [(usize, usize)],
) -> Shape {
    Shape { heads: Heads { heads, kv_heads, dim }, rotary, sequences, scale: 1.0, kv: KvFormat::Act }
}

const SHAPES: [Shape; 20] = [
    shape((1, 1, 32), 32, &[(1, 1)]),
    shape((2, 2, 32), 16, &[(1, 33), (1, 65), (1, 64)]),
    shape((3, 1, 64), 64, &[(7, 7)]),
    shape((8, 1, 64), 32, &[(1, 130), (1, 0), (1, 0)]),
    shape((6, 2, 96), 96, &[(70, 70)]),
    shape((2, 1, 96), 48, &[(3, 66), (5, 5), (1, 1)]),
    shape((3, 1, 128), 128, &[(1, 64)]),
    shape((24, 8, 128), 64, &[(2, 65)]),
    shape((8, 8, 192), 192, &[(1, 129), (2, 2)]),
    shape((2, 1, 256), 256, &[(3, 3)]),
    shape((4, 2, 256), 2, &[(1, 7), (33, 100)]),
    shape((3, 3, 64), 0, &[(5, 67)]),
    shape((48, 8, 128), 128, &[(2, 3)]),
    shape((40, 40, 64), 64, &[(1, 2)]),
    shape((34, 34, 64), 36, &[(2, 66)]),
    shape((96, 8, 192), 96, &[(1, 1)]),
    shape((48, 16, 128), 64, &[(1, 1)]),
    shape((1, 1, 64), 60, &[(1, 1)]),
    shape((32, 32, 128), 64, &[(1, 1)]),
    Shape { scale: 1e20, ..shape((4, 1, 128), 64, &[(3, 65), (1, 0)]) },
];

/// Scales of the rows with pools of codes: numbers that codes have, those below the least, those beyond all.
const SCALES: [f32; 4] = [1.0, 0.05, 30.0, 1e-3];

pub fn rows() -> Vec<Row<RopeKvAppend>> {
    let in_fp8 = SHAPES.iter().zip(SCALES.into_iter().cycle());
    let in_fp8 = in_fp8.map(|(shape, scale)| Shape { kv: KvFormat::Fp8, scale: scale * shape.scale, ..*shape });
    let shapes = SHAPES.into_iter().chain(in_fp8).enumerate();
    shapes.map(|(seed, shape)| row(seed as u64, &shape)).chain([every_bf16()]).collect()
}

/// Every bf16 as a value, infinities and NaNs too, and as a key that is not rotated.
fn every_bf16() -> Row<RopeKvAppend> {
    const DIM: usize = 256;
    let heads = Heads { heads: 1, kv_heads: 16, dim: DIM };
    let tokens = (1 << 16) / (heads.kv_heads * DIM);
    let shape = Shape { kv: KvFormat::Fp8, ..shape((1, 16, DIM), 0, &[]) };
    let batch = Batch::new(&[Sequence { new: tokens, length: tokens }], &mut Random::new(0));
    let all = |token: usize| (0..heads.kv_heads * DIM).map(move |i| (token * heads.kv_heads * DIM + i) as u16);
    let all = |token| all(token).map(|bits| bf16::from_bits(bits).to_f32());
    let qkv = (0..tokens).flat_map(|token| [0.0; DIM].into_iter().chain(all(token)).chain(all(token))).collect();
    of_batch(&shape, &batch, qkv, "every bf16".into())
}

fn row(seed: u64, shape: &Shape) -> Row<RopeKvAppend> {
    let mut random = Random::new(seed);
    let heads = shape.heads;
    let sequences: Vec<Sequence> =
        shape.sequences.iter().map(|(new, length)| Sequence { new: *new, length: *length }).collect();
    let batch = Batch::new(&sequences, &mut random);
    let qkv = random.reals(batch.rows() * heads.qkv(), shape.scale);
    let (rotary, kv, scale) = (shape.rotary, shape.kv, shape.scale);
    let name = format!("{heads:?}, {kv:?}, rotary {rotary}, {:?}, scale {scale:e}", shape.sequences);
    of_batch(shape, &batch, qkv, name)
}

fn of_batch(shape: &Shape, batch: &Batch, qkv: Vec<f32>, name: String) -> Row<RopeKvAppend> {
    let heads = shape.heads;
    let (positions, slots) = places(batch);
    let context = 1 + positions.iter().max().copied().unwrap_or(0) as usize;
    let mut data = Data::default();
    let [k_scale, v_scale] = if shape.kv == KvFormat::Act { [1.0; 2] } else { TIED_SCALES };
    let pool = batch.pages * heads.kv_heads * PAGE_TOKENS as usize * heads.dim;
    let kernel = RopeKvAppend {
        qkv: data.reals("qkv", qkv),
        cos: data.reals("cos", angles(context, shape.rotary, f64::cos)),
        sin: data.reals("sin", angles(context, shape.rotary, f64::sin)),
        positions: data.integers("positions", positions),
        slot_mapping: data.integers("slot_mapping", slots),
        k_pool: data.pool("k_pool", shape.kv, Values::Undefined(pool)),
        v_pool: data.pool("v_pool", shape.kv, Values::Undefined(pool)),
        rows: batch.rows() as u32,
        heads: heads.heads as u32,
        kv_heads: heads.kv_heads as u32,
        head_dim: heads.dim as u32,
        rotary_dims: shape.rotary as u32,
        kv: shape.kv,
        k_scale,
        v_scale,
    };
    Row { name, kernel, data }
}

/// Position and slot of each row; pads share row 0 of the scrap page.
pub fn places(batch: &Batch) -> (Vec<i32>, Vec<i32>) {
    let tokens = PAGE_TOKENS as usize;
    let tables = batch.sequences.iter().zip(batch.block_table.chunks(batch.pages_per_sequence));
    let rows = tables.flat_map(|(sequence, table)| {
        (0..sequence.new).map(|row| {
            let position = (sequence.length + row).saturating_sub(sequence.new);
            (position as i32, table[position / tokens] * tokens as i32 + (position % tokens) as i32)
        })
    });
    rows.unzip()
}

/// `[context, rotary/2]`, and one row too many where nothing is rotated, since a buffer is not empty.
pub fn angles(context: usize, rotary: usize, f: fn(f64) -> f64) -> Vec<f32> {
    let angle = |position: usize, j: usize| position as f64 * 10_000f64.powf(-2.0 * j as f64 / rotary.max(1) as f64);
    let pairs = (0..context).flat_map(|position| (0..(rotary / 2).max(1)).map(move |j| (position, j)));
    pairs.map(|(position, j)| bf16::from_f64(f(angle(position, j))).to_f32()).collect()
}

impl Oracle for RopeKvAppend {
    const C: f64 = 0.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[PAGE, EDGE, TERM, FACTOR, STRIDE];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let (heads, kv_heads, dim) = (self.heads as usize, self.kv_heads as usize, self.head_dim as usize);
        let tokens = PAGE_TOKENS as usize;
        let mut qkv = data.f64s(self.qkv);
        let pool = data.0[self.k_pool.target().expect("a pool").0 as usize].len();
        let (mut k_pool, mut v_pool) = (vec![Want::Kept; pool], vec![Want::Kept; pool]);
        let (cos, sin) = (data.f64s(self.cos), data.f64s(self.sin));
        let row_width = (heads + 2 * kv_heads) * dim;
        let places = data.i32s(self.positions).iter().zip(data.i32s(self.slot_mapping));
        for (row, (position, slot)) in qkv.chunks_mut(row_width).zip(places) {
            let half = self.rotary_dims as usize / 2;
            let angles = *position as usize * half..(*position as usize + 1) * half;
            let rotate = |head: &mut [f64]| rotate(head, &cos[angles.clone()], &sin[angles.clone()], precision);
            row[..heads * dim].chunks_mut(dim).for_each(rotate);
            for head in 0..kv_heads {
                let (page, offset) = (*slot as usize / tokens, *slot as usize % tokens);
                let mut key = row[(heads + head) * dim..][..dim].to_vec();
                rotate(&mut key);
                let value = &row[(heads + kv_heads + head) * dim..][..dim];
                // The scrap page is page 0: rows of pads meet there in any order.
                let kept = [self.k_scale, self.v_scale].map(|scale| Kept { format: self.kv, scale });
                let want = |kept: Kept, value| if page == 0 { Want::Any } else { Want::exact(kept.of(value)) };
                let at = ((page * kv_heads + head) * tokens + offset) * dim;
                key.iter().zip(&mut k_pool[at..]).for_each(|(value, cell)| *cell = want(kept[0], *value));
                value.iter().zip(&mut v_pool[at..]).for_each(|(value, cell)| *cell = want(kept[1], *value));
            }
        }
        let queries = qkv.chunks(row_width).flat_map(|row| {
            row.iter().enumerate().map(|(i, value)| if i < heads * dim { Want::exact(*value) } else { Want::Kept })
        });
        vec![
            Written::new(self.qkv, queries.collect()),
            Written::new(self.k_pool, k_pool),
            Written::new(self.v_pool, v_pool),
        ]
    }
}

pub fn rotate(head: &mut [f64], cos: &[f64], sin: &[f64], precision: Precision) {
    let half = cos.len();
    let r = |value| precision.round(value);
    for j in 0..half {
        let (lo, hi) = (head[j], head[j + half]);
        head[j] = r(r(lo * cos[j]) + r(-hi * sin[j]));
        head[j + half] = r(r(hi * cos[j]) + r(lo * sin[j]));
    }
}
