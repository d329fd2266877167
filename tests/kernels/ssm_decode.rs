//! Rows of `ssm_decode`.
use gpu_kernels::SsmDecode;
use gpu_kernels::ssm::Mixer;

use crate::approx::Approx;
use crate::data::Data;
use crate::mutants::{BARRIER, Defect, LANES, PAGE, STRIDE, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;
use crate::ssm::{Batch, Sequence, Span, State, Token, Wants, again, at, convolved, mixer, rates, step_width};

/// A mixer, least Δ, and the sequences of a step.
type Shape = (Mixer, f32, &'static [Sequence]);

const SHAPES: [Shape; 14] = [
    (mixer(1, 8, 1, 8), 0.0, &[at(1, 1)]),
    (mixer(1, 16, 1, 48), 0.0, &[at(1, 2), at(1, 4)]),
    (mixer(2, 24, 1, 16), 0.0, &[at(1, 64), at(1, 40)]),
    // The first token of a chunk: behind chunk 0, whose S counts as zero, and behind a later one; brought on already.
    (mixer(2, 16, 2, 32), 0.0, &[at(1, 65), again(1, 65)]),
    (mixer(4, 16, 2, 16), 0.0, &[at(1, 129), again(1, 193), at(1, 321)]),
    (mixer(3, 8, 3, 24), 0.001, &[at(1, 66), at(1, 200), at(1, 0), at(1, 128), at(1, 0)]),
    // Sequences of several tokens, and of none, are passed over.
    (mixer(2, 32, 1, 32), 0.0, &[at(5, 70), at(1, 90), at(0, 10), at(1, 3)]),
    (mixer(2, 64, 1, 128), 0.0, &[at(1, 170)]),
    (mixer(1, 80, 1, 128), 0.0, &[at(1, 129)]),
    // More rows of S than shared memory holds at once.
    (mixer(1, 64, 1, 256), 0.0, &[at(1, 135), at(1, 193)]),
    (mixer(1, 128, 1, 96), 0.0, &[at(1, 65), at(1, 7)]),
    (mixer(1, 128, 1, 104), 0.1, &[at(1, 129)]),
    (mixer(16, 8, 8, 8), 0.0, &[at(1, 100), at(1, 1), at(1, 257)]),
    (mixer(4, 40, 4, 64), 0.0, &[at(1, 256), at(1, 6), at(1, 5)]),
];

pub fn rows() -> Vec<Row<SsmDecode>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, shape)).collect()
}

fn row(seed: u64, (mixer, dt_min, sequences): &Shape) -> Row<SsmDecode> {
    let (mut random, mut data) = (Random::new(seed), Data::default());
    let batch = Batch::new(sequences, &mut random);
    let (heads, channels) = (mixer.heads as usize, mixer.conv_dim() as usize);
    let stride = mixer.columns().next_multiple_of(8);
    let state = State::new(&mut data, mixer, &batch, &mut random);
    let kernel = SsmDecode {
        zxbcdt: data.reals("zxbcdt", random.reals(batch.rows() * stride as usize, 1.0)),
        conv_weight: data.weight("conv_weight", random.reals(channels * 4, 0.5), 4),
        conv_bias: data.weight("conv_bias", random.reals(channels, 0.5), 1),
        a_log: data.reals("a_log", rates(heads, &mut random)),
        d: data.reals("d", random.reals(heads, 1.0)),
        dt_bias: data.reals("dt_bias", (0..heads).map(|_| random.uniform() * 3.0 - 2.0).collect()),
        slots: data.integers("slots", batch.slots.clone()),
        row_start: data.integers("row_start", batch.row_start.clone()),
        lengths: data.integers("lengths", batch.lengths.clone()),
        state: state.state,
        chunk: state.chunk,
        ring_x: state.ring_x,
        ring_b: state.ring_b,
        ring_dt: state.ring_dt,
        window: state.window,
        y: data.undefined("y", batch.rows() * mixer.inner() as usize),
        sequences: sequences.len() as u32,
        stride,
        heads: mixer.heads,
        head_dim: mixer.head_dim,
        groups: mixer.groups,
        state_size: mixer.state_size,
        dt_min: *dt_min,
    };
    Row { name: format!("{mixer:?}, {sequences:?}, dt_min {dt_min}"), kernel, data }
}

/// The buffers that steps hand on.
fn state(args: &SsmDecode) -> State {
    State {
        state: args.state,
        chunk: args.chunk,
        ring_x: args.ring_x,
        ring_b: args.ring_b,
        ring_dt: args.ring_dt,
        window: args.window,
    }
}

impl Oracle for SsmDecode {
    const C: f64 = 16.0;
    const D: f64 = 4.0;
    const DEFECTS: &[Defect] = &[TERM, STRIDE, LANES, BARRIER, PAGE];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let mut wants = Wants::new(data, self.mixer(), state(self));
        let (row_start, slots, lengths) = (data.i32s(self.row_start), data.i32s(self.slots), data.i32s(self.lengths));
        let inner = self.mixer().inner() as usize;
        let (a_log, d) = (data.f64s(self.a_log), data.f64s(self.d));
        let mut y = vec![Want::Kept; row_start[slots.len()] as usize * inner];
        for s in (0..slots.len()).filter(|s| row_start[s + 1] - row_start[*s] == 1) {
            let row = row_start[s] as usize;
            let y = &mut y[row * inner..][..inner];
            let Ok(slot) = usize::try_from(slots[s]) else {
                y.fill(Want::exact(0.0));
                continue;
            };
            let position = lengths[s] as usize - 1;
            let token = token(self, data, &mut wants, (row, slot, position), precision);
            let span = Span { slot, position, tokens: vec![token], folds_at_end: false, rounds_weights: false };
            y.copy_from_slice(&wants.run(data, &span, (&a_log, &d), precision));
        }
        let mut written = wants.written();
        written.push(Written::new(self.y, y));
        written
    }
}

/// The token's inputs of the recurrence; its columns go to the window.
fn token(
    args: &SsmDecode,
    data: &Data,
    wants: &mut Wants,
    (row, slot, position): (usize, usize, usize),
    precision: Precision,
) -> Token {
    let mixer = args.mixer();
    let (inner, channels) = (mixer.inner() as usize, mixer.conv_dim() as usize);
    let (zxbcdt, window) = (data.f64s(args.zxbcdt), data.f64s(args.window));
    let columns = &zxbcdt[row * args.stride as usize + inner..][..channels + mixer.heads as usize];
    let (weight, bias) = (data.f64s(args.conv_weight), data.f64s(args.conv_bias));
    let channel = |channel: usize| {
        let older = |back: usize| match position.checked_sub(back) {
            Some(position) => window[wants.window_row(slot, position) + channel],
            None => 0.0,
        };
        let inputs = [older(3), older(2), older(1), columns[channel]];
        convolved(&weight[channel * 4..][..4], bias[channel], inputs, precision)
    };
    let xbc: Vec<Approx> = (0..channels).map(channel).collect();
    let row = wants.window_row(slot, position);
    for (want, column) in wants.window[row..][..channels].iter_mut().zip(columns) {
        *want = Want::exact(*column);
    }
    let dt = columns[channels..].iter().zip(data.f64s(args.dt_bias));
    Token { xbc, dt: dt.map(|(dt, bias)| step_width(dt + bias, f64::from(args.dt_min))).collect() }
}
