//! Rows of `ssm_scan`.
use gpu_kernels::SsmScan;
use gpu_kernels::ssm::Mixer;

use crate::approx::Approx;
use crate::data::Data;
use crate::mutants::{BARRIER, Defect, STRIDE, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;
use crate::ssm::{Batch, Sequence, Span, State, Token, Wants, again, at, mixer, rates, widths};
use crate::ssm_conv::tiles;

/// A mixer, and the sequences of a step; no length: rows of nobody.
type Shape = (Mixer, &'static [Sequence]);

const SHAPES: [Shape; 18] = [
    (mixer(1, 16, 1, 16), &[at(2, 2)]),
    (mixer(2, 16, 1, 32), &[at(3, 3), at(2, 66)]),
    // A whole chunk, one that ends inside, and both behind others.
    (mixer(2, 16, 2, 16), &[at(64, 64)]),
    (mixer(1, 16, 1, 48), &[at(70, 70), at(20, 150)]),
    // The first token of a chunk: behind chunk 0, behind a later one, and where the state stands there already.
    (mixer(2, 32, 1, 16), &[at(5, 69), at(3, 131), again(9, 73)]),
    // From the middle of a chunk over one and over two ends; what a group's blocks read of the ring, the last one writes.
    (mixer(4, 16, 1, 16), &[at(100, 200), at(130, 258)]),
    (mixer(4, 16, 2, 16), &[at(160, 224), at(1, 90), at(60, 128), at(3, 0)]),
    (mixer(1, 32, 1, 32), &[at(40, 104), at(0, 0), at(33, 50)]),
    (mixer(1, 64, 1, 128), &[at(67, 131)]),
    (mixer(4, 64, 2, 128), &[at(3, 131), at(40, 104), at(66, 0)]),
    (mixer(1, 80, 1, 128), &[at(66, 70)]),
    (mixer(1, 64, 1, 256), &[at(65, 129)]),
    (mixer(1, 64, 1, 96), &[at(63, 127), at(2, 64)]),
    (mixer(3, 48, 3, 16), &[at(8, 8), at(9, 9), at(10, 10)]),
    // More chunks than are under way at once, from the front, from the middle of a chunk, and behind one to bring on.
    (mixer(2, 64, 2, 128), &[at(290, 290), at(2, 66)]),
    (mixer(2, 80, 1, 128), &[at(230, 330), at(257, 257)]),
    (mixer(4, 80, 2, 128), &[at(140, 268), at(1, 70), again(70, 198), at(66, 0)]),
    (mixer(1, 128, 1, 64), &[at(17, 81), at(129, 129), at(66, 0)]),
];

pub fn rows() -> Vec<Row<SsmScan>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, shape)).collect()
}

fn row(seed: u64, (mixer, sequences): &Shape) -> Row<SsmScan> {
    let (mut random, mut data) = (Random::new(seed), Data::default());
    let batch = Batch::new(sequences, &mut random);
    let (heads, channels) = (mixer.heads as usize, mixer.conv_dim() as usize);
    let stride = mixer.columns().next_multiple_of(8);
    let [tile_sequence, tile_row, tile_rows] = tiles(&batch);
    let state = State::new(&mut data, mixer, &batch, &mut random);
    let kernel = SsmScan {
        tiles: tile_row.len() as u32,
        xbc: data.reals("xbc", random.reals(batch.rows() * channels, 1.0)),
        dt: data.reals("dt", widths(batch.rows() * heads, &mut random)),
        zxbcdt: data.reals("zxbcdt", random.reals(batch.rows() * stride as usize, 1.0)),
        a_log: data.reals("a_log", rates(heads, &mut random)),
        d: data.reals("d", random.reals(heads, 1.0)),
        slots: data.integers("slots", batch.slots.clone()),
        row_start: data.integers("row_start", batch.row_start.clone()),
        lengths: data.integers("lengths", batch.lengths.clone()),
        tile_sequence: data.integers("tile_sequence", tile_sequence),
        tile_row: data.integers("tile_row", tile_row),
        tile_rows: data.integers("tile_rows", tile_rows),
        state: state.state,
        chunk: state.chunk,
        ring_x: state.ring_x,
        ring_b: state.ring_b,
        ring_dt: state.ring_dt,
        window: state.window,
        counters: data.integers("counters", vec![0; sequences.len() * mixer.groups as usize]),
        y: data.undefined("y", batch.rows() * mixer.inner() as usize),
        sequences: sequences.len() as u32,
        stride,
        heads: mixer.heads,
        head_dim: mixer.head_dim,
        groups: mixer.groups,
        state_size: mixer.state_size,
    };
    Row { name: format!("{mixer:?}, {sequences:?}"), kernel, data }
}

impl Oracle for SsmScan {
    const C: f64 = 16.0;
    const D: f64 = 2.0;
    const DEFECTS: &[Defect] = &[
        // In the warpgroups' entries, two sums of decay are subtracted whose term no row misses.
        Defect { entries: "ssm_scan", ..TERM },
        STRIDE,
        // The emulator's copies land when they are waited for: nothing shows that `_narrow` asks for them too early.
        Defect { entries: "ssm_scan", ..BARRIER },
    ];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let state = State {
            state: self.state,
            chunk: self.chunk,
            ring_x: self.ring_x,
            ring_b: self.ring_b,
            ring_dt: self.ring_dt,
            window: self.window,
        };
        let mixer = self.mixer();
        let (inner, channels, heads) = (mixer.inner() as usize, mixer.conv_dim() as usize, mixer.heads as usize);
        let mut wants = Wants::new(data, mixer, state);
        let (row_start, slots, lengths) = (data.i32s(self.row_start), data.i32s(self.slots), data.i32s(self.lengths));
        let (a_log, d) = (data.f64s(self.a_log), data.f64s(self.d));
        let (xbc, dt, zxbcdt) = (data.f64s(self.xbc), data.f64s(self.dt), data.f64s(self.zxbcdt));
        let exact = |values: &[f64]| -> Vec<Approx> { values.iter().map(|value| Approx::exact(*value)).collect() };
        let mut y = vec![Want::Kept; row_start[slots.len()] as usize * inner];
        for s in 0..slots.len() {
            let rows = row_start[s] as usize..row_start[s + 1] as usize;
            let out = &mut y[rows.start * inner..rows.end * inner];
            let Ok(slot) = usize::try_from(slots[s]) else {
                out.fill(Want::exact(0.0));
                continue;
            };
            if rows.len() < 2 {
                continue;
            }
            let position = lengths[s] as usize - rows.len();
            let token = |row: usize| Token {
                xbc: exact(&xbc[row * channels..][..channels]),
                dt: exact(&dt[row * heads..][..heads]),
            };
            let tokens = rows.clone().map(token).collect();
            let span = Span { slot, position, tokens, folds_at_end: true, rounds_weights: true };
            out.copy_from_slice(&wants.run(data, &span, (&a_log, &d), precision));
            // Of the last chunk, and of the three tokens that its first one is convolved with.
            let first = (position + rows.len()) / 64 * 64;
            for (row, position) in rows.clone().zip(position..).filter(|(_, position)| position + 3 >= first) {
                let columns = &zxbcdt[row * self.stride as usize + inner..][..channels];
                let at = wants.window_row(slot, position);
                let window = wants.window[at..][..channels].iter_mut().zip(columns);
                window.for_each(|(want, column)| *want = Want::exact(*column));
            }
        }
        let mut written = wants.written();
        written.push(Written::new(self.counters, vec![Want::exact(0.0); data.i32s(self.counters).len()]));
        written.push(Written::new(self.y, y));
        written
    }
}
