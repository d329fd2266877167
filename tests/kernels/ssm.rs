//! The state of sequences as rows of a mixer's kernels have it, and the recurrence in f64, token by token.
use gpu_kernels::ssm::{CHUNK, Mixer, WINDOW};
use gpu_kernels::{Act, Ptr};

use crate::approx::Approx;
use crate::data::Data;
use crate::oracle::{Precision, Want, Written};
use crate::random::Random;

const CHUNK_TOKENS: usize = CHUNK as usize;

/// One sequence of a step: its new tokens, its length with them, and whether its state has to be brought on first, where
/// that can be.
#[derive(Clone, Copy, Debug)]
pub struct Sequence {
    pub new: usize,
    pub length: usize,
    pub lags: bool,
}

pub const fn at(new: usize, length: usize) -> Sequence {
    Sequence { new, length, lags: true }
}

/// A sequence whose state stands in front of its chunk already.
pub const fn again(new: usize, length: usize) -> Sequence {
    Sequence { lags: false, ..at(new, length) }
}

pub const fn mixer(heads: u32, head_dim: u32, groups: u32, state_size: u32) -> Mixer {
    Mixer { heads, head_dim, groups, state_size }
}

/// The integers of a step; slots in random order among some that nobody uses. A sequence of no length is a pad.
pub struct Batch {
    pub slots: Vec<i32>,
    pub row_start: Vec<i32>,
    pub lengths: Vec<i32>,
    pub slot_count: usize,
    fronts: Vec<i32>,
}

impl Batch {
    pub fn new(sequences: &[Sequence], random: &mut Random) -> Batch {
        let slot_count = sequences.len() + 2;
        let mut free = random.permutation(slot_count).into_iter();
        let mut slot = |s: &Sequence| if s.length == 0 { -1 } else { free.next().expect("enough slots") as i32 };
        let slots: Vec<i32> = sequences.iter().map(&mut slot).collect();
        let mut row_start = vec![0];
        sequences.iter().for_each(|s| row_start.push(row_start[row_start.len() - 1] + s.new as i32));
        let lengths = sequences.iter().map(|s| s.length as i32).collect();
        let mut fronts = vec![77; slot_count];
        for (s, slot) in sequences.iter().zip(&slots) {
            if let Ok(slot) = usize::try_from(*slot) {
                let position = s.length - s.new;
                let lags = s.lags && position > 0 && position.is_multiple_of(CHUNK_TOKENS);
                fronts[slot] = (position / CHUNK_TOKENS) as i32 - i32::from(lags);
            }
        }
        Batch { slots, row_start, lengths, slot_count, fronts }
    }

    pub fn rows(&self) -> usize {
        self.row_start[self.slots.len()] as usize
    }
}

/// The buffers that steps hand on.
#[derive(Clone, Copy)]
pub struct State {
    pub state: Ptr<f32>,
    pub chunk: Ptr<i32>,
    pub ring_x: Ptr<Act>,
    pub ring_b: Ptr<Act>,
    pub ring_dt: Ptr<f32>,
    pub window: Ptr<Act>,
}

impl State {
    /// All slots hold something: what an earlier owner left, or what is read.
    pub fn new(data: &mut Data, mixer: &Mixer, batch: &Batch, random: &mut Random) -> State {
        let (slots, heads, inner) = (batch.slot_count, mixer.heads as usize, mixer.inner() as usize);
        let shared = mixer.shared() as usize;
        let fronts = batch.fronts.iter().flat_map(|front| vec![*front; heads]).collect();
        State {
            state: data.reals("state", random.reals(slots * inner * mixer.state_size as usize, 1.0)),
            chunk: data.integers("chunk", fronts),
            ring_x: data.reals("ring_x", random.reals(slots * CHUNK_TOKENS * inner, 1.0)),
            ring_b: data.reals("ring_b", random.reals(slots * 2 * CHUNK_TOKENS * shared, 1.0)),
            ring_dt: data.reals("ring_dt", widths(slots * CHUNK_TOKENS * heads, random)),
            window: data.reals("window", random.reals(slots * (WINDOW * mixer.conv_dim()) as usize, 1.0)),
        }
    }
}

/// Some Δ: from hardly any to more than one.
pub fn widths(count: usize, random: &mut Random) -> Vec<f32> {
    (0..count).map(|_| (random.uniform() * 3.0 - 3.0).exp()).collect()
}

/// `a_log`: decays from slow to fast.
pub fn rates(heads: usize, random: &mut Random) -> Vec<f32> {
    (0..heads).map(|_| random.uniform() * 2.0).collect()
}

/// `softplus(v)`, at least `least`.
pub fn step_width(v: f64, least: f64) -> Approx {
    let softplus = v.max(0.0) + (-v.abs()).exp().ln_1p();
    if softplus < least {
        return Approx::exact(least);
    }
    // The sum's rounding by how much it moves the value; exponential, logarithm, sum.
    Approx::near(softplus, v.abs() / (1.0 + (-v).exp()) + 8.0 * softplus)
}

/// A channel behind the convolution.
pub fn convolved(taps: &[f64], bias: f64, inputs: [f64; 4], precision: Precision) -> Approx {
    let terms: Vec<f64> = taps.iter().zip(inputs).map(|(tap, input)| tap * input).collect();
    let magnitude = bias.abs() + terms.iter().map(|term| term.abs()).sum::<f64>();
    Approx::near(bias + terms.iter().sum::<f64>(), 3.0 * magnitude).silu().rounded(precision)
}

/// A token's inputs of the recurrence.
#[derive(Clone)]
pub struct Token {
    /// `[conv_dim]`: x, B, C.
    pub xbc: Vec<Approx>,
    /// `[heads]`.
    pub dt: Vec<Approx>,
}

/// New tokens of a sequence.
pub struct Span {
    pub slot: usize,
    pub position: usize,
    pub tokens: Vec<Token>,
    /// Whether a chunk's end brings the state on, and what the ring keeps is the chunk behind it.
    pub folds_at_end: bool,
    /// Whether weights within a chunk are rounded.
    pub rounds_weights: bool,
}

/// What a launch must leave, built up sequence by sequence.
pub struct Wants {
    mixer: Mixer,
    of: State,
    pub state: Vec<Want>,
    pub chunk: Vec<Want>,
    pub ring_x: Vec<Want>,
    pub ring_b: Vec<Want>,
    pub ring_dt: Vec<Want>,
    pub window: Vec<Want>,
}

impl Wants {
    pub fn new(data: &Data, mixer: Mixer, of: State) -> Wants {
        let kept = |count| vec![Want::Kept; count];
        Wants {
            mixer,
            of,
            state: kept(data.f64s(of.state).len()),
            chunk: kept(data.i32s(of.chunk).len()),
            ring_x: kept(data.f64s(of.ring_x).len()),
            ring_b: kept(data.f64s(of.ring_b).len()),
            ring_dt: kept(data.f64s(of.ring_dt).len()),
            window: kept(data.f64s(of.window).len()),
        }
    }

    /// Where a position's window begins.
    pub fn window_row(&self, slot: usize, position: usize) -> usize {
        (slot * WINDOW as usize + position % WINDOW as usize) * self.mixer.conv_dim() as usize
    }

    pub fn written(self) -> Vec<Written> {
        vec![
            Written::new(self.of.state, self.state),
            Written::new(self.of.chunk, self.chunk),
            Written::new(self.of.ring_x, self.ring_x),
            Written::new(self.of.ring_b, self.ring_b),
            Written::new(self.of.ring_dt, self.ring_dt),
            Written::new(self.of.window, self.window),
        ]
    }

    /// The outputs of a span, `[tokens, inner]`; what it leaves is noted.
    pub fn run(&mut self, data: &Data, span: &Span, (a_log, d): (&[f64], &[f64]), precision: Precision) -> Vec<Want> {
        let (inner, dim) = (self.mixer.inner() as usize, self.mixer.head_dim as usize);
        let mut y = vec![Want::Kept; span.tokens.len() * inner];
        for head in 0..self.mixer.heads as usize {
            for (token, outputs) in
                self.head(data, span, head, (-a_log[head].exp(), d[head]), precision).iter().enumerate()
            {
                y[token * inner + head * dim..][..dim].copy_from_slice(outputs);
            }
        }
        self.keep(span);
        y
    }

    /// The inputs that the ring holds of the first `count` tokens of a chunk.
    fn ring(&self, data: &Data, slot: usize, chunk: usize, count: usize) -> Vec<Token> {
        let [x, b] = [data.f64s(self.of.ring_x), data.f64s(self.of.ring_b)];
        let dt = data.f64s(self.of.ring_dt);
        let (inner, shared, heads) =
            (self.mixer.inner() as usize, self.mixer.shared() as usize, self.mixer.heads as usize);
        let exact = |values: &[f64]| -> Vec<Approx> { values.iter().map(|value| Approx::exact(*value)).collect() };
        let token = |entry: usize| {
            let (row, row_b) = (slot * CHUNK_TOKENS + entry, (2 * slot + chunk % 2) * CHUNK_TOKENS + entry);
            let xb = [exact(&x[row * inner..][..inner]), exact(&b[row_b * shared..][..shared])].concat();
            Token { xbc: xb, dt: exact(&dt[row * heads..][..heads]) }
        };
        (0..count).map(token).collect()
    }

    fn head(
        &mut self,
        data: &Data,
        span: &Span,
        head: usize,
        (rate, skip): (f64, f64),
        precision: Precision,
    ) -> Vec<Vec<Want>> {
        let mixer = self.mixer;
        let (heads, elements) = (mixer.heads as usize, (mixer.head_dim * mixer.state_size) as usize);
        let (chunk, begun) = (span.position / CHUNK_TOKENS, span.position % CHUNK_TOKENS);
        let place = span.slot * heads + head;
        let lags = begun == 0 && chunk > 0 && data.i32s(self.of.chunk)[place] == chunk as i32 - 1;
        let front = chunk - usize::from(lags);
        let kept = &data.f64s(self.of.state)[place * elements..][..elements];
        let mut run = Head::new(&mixer, head, rate, span.rounds_weights);
        if front > 0 {
            run.elements = kept
                .iter()
                .map(|value| Element { value: *value, magnitude: value.abs(), ..Element::default() })
                .collect();
        }
        let mut stored = None;
        if lags {
            self.ring(data, span.slot, front, CHUNK_TOKENS).iter().for_each(|token| run.step(token));
            run.end_chunk();
            stored = Some(run.elements.clone());
        }
        self.ring(data, span.slot, chunk, begun).iter().for_each(|token| run.step(token));
        let mut y = Vec::new();
        for (token, position) in span.tokens.iter().zip(span.position..) {
            run.step(token);
            y.push(run.output(token, skip, precision));
            if span.folds_at_end && (position + 1).is_multiple_of(CHUNK_TOKENS) {
                run.end_chunk();
                stored = Some(run.elements.clone());
            }
        }
        let end = span.position + span.tokens.len();
        if span.folds_at_end || begun == 0 {
            let chunk = if span.folds_at_end { end / CHUNK_TOKENS } else { chunk };
            self.chunk[place] = Want::exact(chunk as f64);
        }
        if let Some(elements_now) = stored {
            let wants = self.state[place * elements..][..elements].iter_mut().zip(&elements_now);
            wants.for_each(|(want, element)| *want = element.want());
        }
        y
    }

    /// Notes the tokens that the ring keeps.
    fn keep(&mut self, span: &Span) {
        let (inner, shared, heads) =
            (self.mixer.inner() as usize, self.mixer.shared() as usize, self.mixer.heads as usize);
        let end = span.position + span.tokens.len();
        let first = if span.folds_at_end { end / CHUNK_TOKENS * CHUNK_TOKENS } else { 0 };
        for (token, position) in span.tokens.iter().zip(span.position..).filter(|(_, position)| *position >= first) {
            let entry = span.slot * CHUNK_TOKENS + position % CHUNK_TOKENS;
            let entry_b = span.slot * 2 * CHUNK_TOKENS + position % (2 * CHUNK_TOKENS);
            let set = |wants: &mut [Want], values: &[Approx]| {
                wants.iter_mut().zip(values).for_each(|(want, value)| *want = value.want());
            };
            set(&mut self.ring_x[entry * inner..][..inner], &token.xbc[..inner]);
            set(&mut self.ring_b[entry_b * shared..][..shared], &token.xbc[inner..][..shared]);
            set(&mut self.ring_dt[entry * heads..][..heads], &token.dt);
        }
    }
}

/// An element of S: its value, the sum of its terms' magnitudes, and what they may be off by.
#[derive(Clone, Copy, Default)]
struct Element {
    value: f64,
    magnitude: f64,
    error: f64,
    terms: f64,
}

impl Element {
    fn want(&self) -> Want {
        Want::Value { value: self.value, error: self.error, terms: self.terms }
    }
}

/// The recurrence of a head.
struct Head {
    mixer: Mixer,
    head: usize,
    rate: f64,
    rounds: bool,
    /// The sum of Δ·A since the chunk began.
    sum: f64,
    elements: Vec<Element>,
}

impl Head {
    fn new(mixer: &Mixer, head: usize, rate: f64, rounds: bool) -> Head {
        let elements = vec![Element::default(); (mixer.head_dim * mixer.state_size) as usize];
        Head { mixer: *mixer, head, rate, rounds, sum: 0.0, elements }
    }

    fn x<'a>(&self, token: &'a Token) -> &'a [Approx] {
        let dim = self.mixer.head_dim as usize;
        &token.xbc[self.head * dim..][..dim]
    }

    /// B (0) or C (1).
    fn shared<'a>(&self, token: &'a Token, which: u32) -> &'a [Approx] {
        let first = self.mixer.inner() + which * self.mixer.shared();
        let group = self.mixer.group(self.head as u32);
        &token.xbc[(first + group * self.mixer.state_size) as usize..][..self.mixer.state_size as usize]
    }

    fn step(&mut self, token: &Token) {
        let dt = token.dt[self.head];
        let (decay, exponent) = ((dt.value * self.rate).exp(), (dt.value * self.rate).abs());
        let (x, b) = (self.x(token), self.shared(token, 0));
        let width = dt.error / dt.value.max(f64::MIN_POSITIVE);
        self.sum += dt.value * self.rate;
        for (row, x) in self.elements.chunks_mut(b.len()).zip(x) {
            for (s, b) in row.iter_mut().zip(b) {
                let input = dt.value * x.value * b.value;
                let operands = dt.value * (x.error * b.value.abs() + b.error * x.value.abs());
                // The exponential's argument and itself, the product; then the input's products, and the sum.
                s.error = decay * (s.error + s.magnitude * (3.0 + exponent * (2.0 + width)))
                    + input.abs() * (3.0 + width)
                    + operands;
                s.magnitude = decay * s.magnitude + input.abs();
                let rounded = if self.rounds { input.abs() } else { 0.0 };
                s.terms = decay * s.terms + rounded + dt.value * (x.terms * b.value.abs() + b.terms * x.value.abs());
                s.value = decay * s.value + input;
            }
        }
    }

    /// What sums of exponents that are subtracted add to the errors.
    fn spread(&self) -> f64 {
        8.0 + 4.0 * self.sum.abs()
    }

    fn end_chunk(&mut self) {
        let spread = self.spread();
        self.elements.iter_mut().for_each(|s| s.error += s.magnitude * spread);
        self.sum = 0.0;
    }

    fn output(&self, token: &Token, skip: f64, precision: Precision) -> Vec<Want> {
        let (x, c) = (self.x(token), self.shared(token, 1));
        let rows = self.elements.chunks(c.len()).zip(x);
        let output = |(row, x): (&[Element], &Approx)| {
            let (mut value, mut error, mut terms) = (skip * x.value, 0.0, skip.abs() * x.terms);
            error += (skip * x.value).abs() * 2.0 + skip.abs() * x.error;
            for (s, c) in row.iter().zip(c) {
                value += s.value * c.value;
                error += c.value.abs() * (s.error + s.magnitude * (self.spread() + 8.0)) + c.error * s.value.abs();
                terms += c.value.abs() * s.terms + c.terms * s.magnitude;
            }
            Want::Value { value: precision.round(value), error, terms }
        };
        rows.map(output).collect()
    }
}
