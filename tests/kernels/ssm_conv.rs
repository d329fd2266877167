//! Rows of `ssm_conv`.
use gpu_kernels::ssm::{Mixer, WINDOW};
use gpu_kernels::{SsmConv, TILE_ROWS};

use crate::data::Data;
use crate::mutants::{Defect, EDGE, STRIDE, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;
use crate::ssm::{Batch, Sequence, at, convolved, mixer, step_width};

/// A mixer, least Δ, and the sequences of a step; no length: rows of nobody.
type Shape = (Mixer, f32, &'static [Sequence]);

const SHAPES: [Shape; 13] = [
    (mixer(1, 8, 1, 8), 0.0, &[at(2, 2)]),
    (mixer(2, 16, 1, 24), 0.0, &[at(3, 3), at(2, 66)]),
    (mixer(2, 8, 2, 16), 0.001, &[at(65, 65)]),
    (mixer(4, 16, 2, 48), 0.0, &[at(7, 9)]),
    (mixer(1, 40, 1, 8), 0.0, &[at(5, 70), at(1, 90), at(64, 65), at(3, 0)]),
    (mixer(3, 24, 3, 8), 0.3, &[at(2, 3), at(2, 4), at(2, 5), at(2, 6)]),
    (mixer(8, 8, 4, 8), 0.0, &[at(33, 97), at(0, 0)]),
    (mixer(2, 64, 1, 32), 0.0, &[at(66, 140)]),
    (mixer(72, 8, 8, 8), 0.0, &[at(4, 4)]),
    (mixer(130, 8, 1, 16), 0.001, &[at(9, 11)]),
    (mixer(2, 8, 1, 8), 0.0, &[at(130, 131), at(1, 1), at(2, 2)]),
    // A tile that ends where a thread's rows would begin.
    (mixer(1, 16, 1, 8), 0.0, &[at(24, 30)]),
    (mixer(5, 16, 5, 16), 0.0, &[at(17, 17), at(31, 200), at(2, 0)]),
];

pub fn rows() -> Vec<Row<SsmConv>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, shape)).collect()
}

/// Sequence, first row and rows of each tile: of sequences with several rows, then of rows of nobody, and one of no rows.
pub fn tiles(batch: &Batch) -> [Vec<i32>; 3] {
    let mut tiles = [vec![], vec![], vec![]];
    let mut add = |tile: [i32; 3]| tiles.iter_mut().zip(tile).for_each(|(list, value)| list.push(value));
    for s in 0..batch.slots.len() {
        let (first, end, is_pad) = (batch.row_start[s], batch.row_start[s + 1], batch.slots[s] < 0);
        if end - first > 1 || is_pad {
            for row in (first..end).step_by(TILE_ROWS as usize) {
                add([if is_pad { -1 } else { s as i32 }, row, (end - row).min(TILE_ROWS as i32)]);
            }
        }
    }
    add([-1, 0, 0]);
    tiles
}

fn row(seed: u64, (mixer, dt_min, sequences): &Shape) -> Row<SsmConv> {
    let (mut random, mut data) = (Random::new(seed), Data::default());
    let batch = Batch::new(sequences, &mut random);
    let (heads, channels) = (mixer.heads as usize, mixer.conv_dim() as usize);
    let stride = mixer.columns().next_multiple_of(8);
    let [tile_sequence, tile_row, tile_rows] = tiles(&batch);
    let kernel = SsmConv {
        tiles: tile_row.len() as u32,
        zxbcdt: data.reals("zxbcdt", random.reals(batch.rows() * stride as usize, 1.0)),
        conv_weight: data.weight("conv_weight", random.reals(channels * 4, 0.5), 4),
        conv_bias: data.weight("conv_bias", random.reals(channels, 0.5), 1),
        dt_bias: data.reals("dt_bias", (0..heads).map(|_| random.uniform() * 12.0 - 5.0).collect()),
        window: data.reals("window", random.reals(batch.slot_count * WINDOW as usize * channels, 1.0)),
        slots: data.integers("slots", batch.slots.clone()),
        row_start: data.integers("row_start", batch.row_start.clone()),
        lengths: data.integers("lengths", batch.lengths.clone()),
        tile_sequence: data.integers("tile_sequence", tile_sequence),
        tile_row: data.integers("tile_row", tile_row),
        tile_rows: data.integers("tile_rows", tile_rows),
        xbc: data.undefined("xbc", batch.rows() * channels),
        dt: data.undefined("dt", batch.rows() * heads),
        stride,
        heads: mixer.heads,
        head_dim: mixer.head_dim,
        groups: mixer.groups,
        state_size: mixer.state_size,
        dt_min: *dt_min,
    };
    Row { name: format!("{mixer:?}, {sequences:?}, dt_min {dt_min}"), kernel, data }
}

impl Oracle for SsmConv {
    const C: f64 = 16.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[EDGE, TERM, STRIDE];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let mixer = self.mixer();
        let (inner, channels, heads) = (mixer.inner() as usize, mixer.conv_dim() as usize, mixer.heads as usize);
        let (zxbcdt, window, dt_bias) = (data.f64s(self.zxbcdt), data.f64s(self.window), data.f64s(self.dt_bias));
        let (weight, bias) = (data.f64s(self.conv_weight), data.f64s(self.conv_bias));
        let (row_start, slots, lengths) = (data.i32s(self.row_start), data.i32s(self.slots), data.i32s(self.lengths));
        let rows = row_start[slots.len()] as usize;
        let (mut xbc, mut dt) = (vec![Want::Kept; rows * channels], vec![Want::Kept; rows * heads]);
        for s in (0..slots.len()).filter(|s| slots[*s] >= 0 && row_start[s + 1] - row_start[*s] > 1) {
            let (first, end, slot) = (row_start[s] as usize, row_start[s + 1] as usize, slots[s] as usize);
            let start = lengths[s] as usize - (end - first);
            // Column `channel` of the sequence at a position.
            let input = |position: Option<usize>, channel: usize| match position {
                None => 0.0,
                Some(p) if p >= start => zxbcdt[(first + p - start) * self.stride as usize + inner + channel],
                Some(p) => window[(slot * WINDOW as usize + p % WINDOW as usize) * channels + channel],
            };
            for (row, position) in (first..end).zip(start..) {
                for channel in 0..channels {
                    let inputs = [3, 2, 1, 0].map(|back| input(position.checked_sub(back), channel));
                    let value = convolved(&weight[channel * 4..][..4], bias[channel], inputs, precision);
                    // The one rounding, which the tolerance's ulp allows for.
                    xbc[row * channels + channel] = Want::near(value.value, value.error + unrounded(&value));
                }
                for head in 0..heads {
                    let v = zxbcdt[row * self.stride as usize + inner + channels + head] + dt_bias[head];
                    dt[row * heads + head] = step_width(v, f64::from(self.dt_min)).want();
                }
            }
        }
        vec![Written::new(self.xbc, xbc), Written::new(self.dt, dt)]
    }
}

/// An error that is enough for a value that may round to its neighbour and is not exactly there.
fn unrounded(value: &crate::approx::Approx) -> f64 {
    value.value.abs() * f64::from(u8::from(value.terms > 0.0))
}
