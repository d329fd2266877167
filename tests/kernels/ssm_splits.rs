//! However a prompt is cut into steps, the references of a mixer's kernels give each of its rows the same bits; and a step
//! that is repeated, or that was one too many, leaves nothing behind.
use gpu_kernels::ssm::{Mixer, WINDOW};
use gpu_kernels::{Ptr, Role, SsmConv, SsmDecode, SsmScan, TILE_ROWS};
use nemotron_backend::device::{PlannedKernel, Reference};

use crate::data::{Data, Values};
use crate::emulator::Emulator;
use crate::oracle::Precision;
use crate::random::Random;
use crate::ssm::{mixer, rates};
use crate::target::Target;

const SLOTS: usize = 2;

/// A sequence and what is kept of it, handed on from launch to launch.
struct Mixed<'a> {
    mixer: Mixer,
    /// `[tokens, stride]`: what the input product gives.
    columns: Vec<f32>,
    parameters: [Vec<f32>; 5],
    /// state, chunk, ring_x, ring_b, ring_dt, window.
    kept: [Values; 6],
    target: &'a mut dyn Target,
}

/// One row's output.
type Outputs = Vec<Option<f64>>;

impl<'a> Mixed<'a> {
    fn new(mixer: Mixer, tokens: usize, target: &'a mut dyn Target) -> Mixed<'a> {
        let mut random = Random::new(11);
        let (heads, channels, inner) = (mixer.heads as usize, mixer.conv_dim() as usize, mixer.inner() as usize);
        let stride = mixer.columns().next_multiple_of(8) as usize;
        // The slot's earlier owner left large numbers.
        let mut left = |count: usize| Values::Reals(random.reals(count, 100.0));
        let kept = [
            left(SLOTS * inner * mixer.state_size as usize),
            Values::Integers(vec![3; SLOTS * heads]),
            left(SLOTS * 64 * inner),
            left(SLOTS * 128 * mixer.shared() as usize),
            left(SLOTS * 64 * heads),
            left(SLOTS * WINDOW as usize * channels),
        ];
        let parameters = [
            random.reals(channels * 4, 0.5),
            random.reals(channels, 0.5),
            rates(heads, &mut random),
            random.reals(heads, 1.0),
            (0..heads).map(|_| random.uniform() * 2.0 - 2.0).collect(),
        ];
        Mixed { mixer, columns: random.reals(tokens * stride, 1.0), parameters, kept, target }
    }

    fn keep<R: Role>(&self, data: &mut Data, which: usize) -> Ptr<R> {
        const NAMES: [&str; 6] = ["state", "chunk", "ring_x", "ring_b", "ring_dt", "window"];
        match &self.kept[which] {
            Values::Reals(reals) => data.reals(NAMES[which], reals.clone()),
            Values::Integers(_) | Values::Undefined(_) | Values::Codes(..) => {
                let Values::Integers(integers) = &self.kept[which] else { panic!("kept buffers are defined") };
                let chunk = data.integers(NAMES[which], integers.clone());
                let (buffer, offset) = chunk.target().expect("not null");
                Ptr::new(buffer, offset)
            }
        }
    }

    /// Runs a kernel, and hands on what the buffers `handed` hold then.
    fn launch<K: Reference + PlannedKernel>(
        &mut self,
        kernel: &K,
        data: &Data,
        handed: &[(usize, u32)],
    ) -> Vec<Outputs> {
        let outcome = self.target.run(kernel, data).unwrap_or_else(|fault| panic!("{}: {fault}", K::NAME));
        for (which, buffer) in handed {
            let values = outcome[*buffer as usize].iter().map(|value| value.expect("defined"));
            self.kept[*which] = match self.kept[*which] {
                Values::Integers(_) => Values::Integers(values.map(|value| value as i32).collect()),
                _ => Values::Reals(values.map(|value| value as f32).collect()),
            };
        }
        outcome
    }

    /// Tokens `first .. first + new` as one step; their outputs, a row each.
    fn step(&mut self, first: usize, new: usize) -> Vec<Outputs> {
        let y = if new == 1 { self.decode(first) } else { self.prefill(first, new) };
        y.chunks(self.mixer.inner() as usize).map(<[_]>::to_vec).collect()
    }

    fn stride(&self) -> usize {
        self.mixer.columns().next_multiple_of(8) as usize
    }

    fn rows(&self, first: usize, new: usize) -> Vec<f32> {
        self.columns[first * self.stride()..][..new * self.stride()].to_vec()
    }

    fn decode(&mut self, position: usize) -> Outputs {
        let (mixer, mut data) = (self.mixer, Data::default());
        let [weight, bias, a_log, d, dt_bias] = self.parameters.clone();
        let kernel = SsmDecode {
            state: self.keep(&mut data, 0),
            chunk: self.keep(&mut data, 1),
            ring_x: self.keep(&mut data, 2),
            ring_b: self.keep(&mut data, 3),
            ring_dt: self.keep(&mut data, 4),
            window: self.keep(&mut data, 5),
            y: data.undefined("y", mixer.inner() as usize),
            zxbcdt: data.reals("zxbcdt", self.rows(position, 1)),
            conv_weight: data.weight("conv_weight", weight, 4),
            conv_bias: data.weight("conv_bias", bias, 1),
            a_log: data.reals("a_log", a_log),
            d: data.reals("d", d),
            dt_bias: data.reals("dt_bias", dt_bias),
            slots: data.integers("slots", vec![1]),
            row_start: data.integers("row_start", vec![0, 1]),
            lengths: data.integers("lengths", vec![position as i32 + 1]),
            sequences: 1,
            stride: self.stride() as u32,
            heads: mixer.heads,
            head_dim: mixer.head_dim,
            groups: mixer.groups,
            state_size: mixer.state_size,
            dt_min: 0.0,
        };
        let handed: Vec<_> = (0..6).map(|which| (which, which as u32)).collect();
        self.launch(&kernel, &data, &handed).swap_remove(6)
    }

    fn prefill(&mut self, first: usize, new: usize) -> Outputs {
        let convolved = self.convolve(first, new);
        self.scan(first, new, convolved)
    }

    /// x, B and C of the tokens, and Δ.
    fn convolve(&mut self, first: usize, new: usize) -> [Vec<f32>; 2] {
        let mixer = self.mixer;
        let (heads, channels) = (mixer.heads as usize, mixer.conv_dim() as usize);
        let [weight, bias, _, _, dt_bias] = self.parameters.clone();
        let (starts, counts) = tiles(new);
        let mut data = Data::default();
        let conv = SsmConv {
            xbc: data.undefined("xbc", new * channels),
            dt: data.undefined("dt", new * heads),
            window: self.keep(&mut data, 5),
            zxbcdt: data.reals("zxbcdt", self.rows(first, new)),
            conv_weight: data.weight("conv_weight", weight, 4),
            conv_bias: data.weight("conv_bias", bias, 1),
            dt_bias: data.reals("dt_bias", dt_bias),
            slots: data.integers("slots", vec![1]),
            row_start: data.integers("row_start", vec![0, new as i32]),
            lengths: data.integers("lengths", vec![(first + new) as i32]),
            tile_sequence: data.integers("tile_sequence", vec![0; starts.len()]),
            tiles: starts.len() as u32,
            tile_row: data.integers("tile_row", starts),
            tile_rows: data.integers("tile_rows", counts),
            stride: self.stride() as u32,
            heads: mixer.heads,
            head_dim: mixer.head_dim,
            groups: mixer.groups,
            state_size: mixer.state_size,
            dt_min: 0.0,
        };
        let convolved = self.launch(&conv, &data, &[]);
        [0, 1].map(|buffer: usize| convolved[buffer].iter().map(|value| value.expect("written") as f32).collect())
    }

    fn scan(&mut self, first: usize, new: usize, [xbc, dt]: [Vec<f32>; 2]) -> Outputs {
        let mixer = self.mixer;
        let [_, _, a_log, d, _] = self.parameters.clone();
        let (starts, counts) = tiles(new);
        let mut data = Data::default();
        let scan = SsmScan {
            state: self.keep(&mut data, 0),
            chunk: self.keep(&mut data, 1),
            ring_x: self.keep(&mut data, 2),
            ring_b: self.keep(&mut data, 3),
            ring_dt: self.keep(&mut data, 4),
            window: self.keep(&mut data, 5),
            y: data.undefined("y", new * mixer.inner() as usize),
            xbc: data.reals("xbc", xbc),
            dt: data.reals("dt", dt),
            zxbcdt: data.reals("zxbcdt", self.rows(first, new)),
            a_log: data.reals("a_log", a_log),
            d: data.reals("d", d),
            slots: data.integers("slots", vec![1]),
            row_start: data.integers("row_start", vec![0, new as i32]),
            lengths: data.integers("lengths", vec![(first + new) as i32]),
            tile_sequence: data.integers("tile_sequence", vec![0; starts.len()]),
            tiles: starts.len() as u32,
            tile_row: data.integers("tile_row", starts),
            tile_rows: data.integers("tile_rows", counts),
            counters: data.integers("counters", vec![0; mixer.groups as usize]),
            sequences: 1,
            stride: self.stride() as u32,
            heads: mixer.heads,
            head_dim: mixer.head_dim,
            groups: mixer.groups,
            state_size: mixer.state_size,
        };
        let handed: Vec<_> = (0..6).map(|which| (which, which as u32)).collect();
        self.launch(&scan, &data, &handed).swap_remove(6)
    }
}

/// First row and rows of each tile of a step of one sequence.
fn tiles(rows: usize) -> (Vec<i32>, Vec<i32>) {
    let starts = (0..rows as i32).step_by(TILE_ROWS as usize);
    starts.map(|row| (row, (rows as i32 - row).min(TILE_ROWS as i32))).unzip()
}

const SHAPE: Mixer = mixer(4, 16, 2, 16);

#[test]
fn splits_of_a_prompt_change_no_bit() {
    let length = 290;
    for precision in [Precision::F32, Precision::Bf16] {
        let mut target = precision;
        let whole = Mixed::new(SHAPE, length, &mut target).step(0, length);
        for split in [1, 7, 64, 200] {
            let mut target = precision;
            let mut mixed = Mixed::new(SHAPE, length, &mut target);
            let steps = (0..length).step_by(split);
            let rows: Vec<Outputs> = steps.flat_map(|first| mixed.step(first, split.min(length - first))).collect();
            for (position, (got, want)) in rows.iter().zip(&whole).enumerate() {
                assert!(got == want, "{precision:?}, steps of {split}: row {position} differs");
            }
        }
    }
}

/// A step of the tokens `first .. first + new`.
type Step = (usize, usize);

/// Steps with repeated ones, and the same without.
const REPEATED: [(&[Step], &[Step]); 4] = [
    // One too many, at every kind of place: within a chunk, and where the state is brought on.
    (&[(0, 60), (60, 1), (61, 1), (61, 1), (62, 1)], &[(0, 60), (60, 1), (61, 1), (62, 1)]),
    (&[(0, 128), (128, 1), (128, 1), (129, 1)], &[(0, 128), (128, 1), (129, 1)]),
    (&[(0, 120), (120, 8), (128, 1), (128, 1), (129, 2)], &[(0, 120), (120, 8), (128, 1), (129, 2)]),
    // A draft of five tokens of which two stay.
    (&[(0, 70), (70, 5), (72, 3), (75, 1)], &[(0, 70), (70, 2), (72, 3), (75, 1)]),
];

#[test]
fn repeated_steps_leave_nothing_behind() {
    for (with, without) in REPEATED {
        let last = |mut target: Precision, steps: &[Step]| {
            let mut mixed = Mixed::new(SHAPE, 140, &mut target);
            steps.iter().map(|(first, new)| mixed.step(*first, *new)).last()
        };
        for precision in [Precision::F32, Precision::Bf16] {
            assert!(last(precision, with) == last(precision, without), "{precision:?}: {with:?}");
        }
    }
}

#[test]
fn the_ptx_hands_on_what_it_needs() {
    // Chunks that end within a step, between two steps, and in decode.
    let steps: [Step; 9] = [(0, 62), (62, 1), (63, 1), (64, 1), (65, 70), (135, 56), (191, 1), (192, 3), (195, 70)];
    let mut reference = Precision::Bf16;
    let (mut emulator, length) = (Emulator::new(), 265);
    let mut theirs = Mixed::new(SHAPE, length, &mut reference);
    let mut ours = Mixed::new(SHAPE, length, &mut emulator);
    for (first, new) in steps {
        let (got, want) = (ours.step(first, new).concat(), theirs.step(first, new).concat());
        let scale = want.iter().flatten().fold(0.0_f64, |most, value| most.max(value.abs()));
        for (got, want) in got.iter().zip(&want) {
            let (got, want) = (got.expect("written"), want.expect("written"));
            assert!((got - want).abs() <= 2f64.powi(-7) * scale, "step {first} + {new}: got {got}, want {want}");
        }
    }
}
