//! What the references of a mixer share: the convolution, and the recurrence over a sequence's new tokens.
use gpu_kernels::ssm::{CHUNK, Mixer, TAPS, WINDOW};
use gpu_kernels::{Act, Ptr, Weight};

use super::parallel::for_each;
use super::sum::dot;
use crate::device::{Activation, Memory};

const CHUNK_POSITIONS: usize = CHUNK as usize;
const WINDOW_POSITIONS: usize = WINDOW as usize;
const TAP_COUNT: usize = TAPS as usize;

/// The weights of the convolution, a row for each channel: its taps, then its bias.
pub struct Convolution(Vec<[f32; TAP_COUNT + 1]>);

impl Convolution {
    pub fn read(memory: &Memory, (weight, bias): (Ptr<Weight>, Ptr<Weight>), channels: usize) -> Convolution {
        let (weight, bias) = (memory.weight(weight), memory.weight(bias));
        let of = |channel| {
            let taps = weight.row(channel);
            [taps[0], taps[1], taps[2], taps[3], bias.row(channel)[0]].map(|value| value.to_f32())
        };
        Convolution((0..channels).map(of).collect())
    }

    /// The channels of a token, behind the convolution and SiLU; `rows` are those of the last positions, oldest first,
    /// none before position 0.
    pub fn of<A: Activation>(&self, rows: [Option<&[A]>; TAP_COUNT]) -> Vec<A> {
        let channel = |(channel, [w0, w1, w2, w3, bias]): (usize, &[f32; TAP_COUNT + 1])| {
            let input = |tap: usize| rows[tap].map_or(0.0, |row| row[channel].to_f32());
            let sum = bias + w0 * input(0) + w1 * input(1) + w2 * input(2) + w3 * input(3);
            A::from_f32(sum / (1.0 + (-sum).exp()))
        };
        self.0.iter().enumerate().map(channel).collect()
    }
}

/// Δ of a token, from what the product and the bias say of it.
pub fn step_width(dt: f32, bias: f32, least: f32) -> f32 {
    let sum = dt + bias;
    let softplus = if sum > 20.0 { sum } else { sum.exp().ln_1p() };
    softplus.max(least)
}

/// Where the state of sequences stands.
pub struct SlotState {
    pub mixer: Mixer,
    pub state: Ptr<f32>,
    pub chunk: Ptr<i32>,
    pub ring_x: Ptr<Act>,
    pub ring_b: Ptr<Act>,
    pub ring_dt: Ptr<f32>,
    pub window: Ptr<Act>,
}

impl SlotState {
    fn inner(&self) -> usize {
        self.mixer.inner() as usize
    }

    fn shared(&self) -> usize {
        self.mixer.shared() as usize
    }

    fn heads(&self) -> usize {
        self.mixer.heads as usize
    }

    /// Where the window's row of a position begins.
    pub fn window_row(&self, slot: usize, position: usize) -> usize {
        (slot * WINDOW_POSITIONS + position % WINDOW_POSITIONS) * self.mixer.conv_dim() as usize
    }

    /// The ring's first `count` entries of a chunk.
    fn entries<A: Activation>(&self, memory: &Memory, slot: usize, chunk: usize, count: usize) -> Entries {
        let mut entries = Entries::default();
        let (ring_x, ring_b) = (memory.read_all::<A>(self.ring_x), memory.read_all::<A>(self.ring_b));
        let ring_dt = memory.read_all::<f32>(self.ring_dt);
        let row = slot * CHUNK_POSITIONS;
        let row_b = (2 * slot + chunk % 2) * CHUNK_POSITIONS;
        let widened = |elements: &[A]| elements.iter().map(|element| element.to_f32()).collect();
        entries.x = widened(&ring_x[row * self.inner()..][..count * self.inner()]);
        entries.b = widened(&ring_b[row_b * self.shared()..][..count * self.shared()]);
        entries.dt = ring_dt[row * self.heads()..][..count * self.heads()].to_vec();
        entries
    }
}

/// Inputs of the recurrence, token by token.
#[derive(Default)]
struct Entries {
    /// `[tokens, heads·head_dim]`.
    x: Vec<f32>,
    /// `[tokens, groups·state_size]`.
    b: Vec<f32>,
    /// `[tokens, heads]`.
    dt: Vec<f32>,
}

impl Entries {
    /// Takes one head's S from in front of the first token to behind the last, and calls `behind(token, S)` after each.
    fn run(&self, mixer: &Mixer, head: usize, rate: f32, state: &mut [f32], mut behind: impl FnMut(usize, &[f32])) {
        let (dim, size) = (mixer.head_dim as usize, mixer.state_size as usize);
        let tokens = self.dt.chunks(mixer.heads as usize).zip(self.x.chunks(mixer.inner() as usize));
        for (token, ((dt, x), b)) in tokens.zip(self.b.chunks(mixer.shared() as usize)).enumerate() {
            let (dt, x) = (dt[head], &x[head * dim..][..dim]);
            let b = &b[mixer.group(head as u32) as usize * size..][..size];
            let decay = (dt * rate).exp();
            for (row, x) in state.chunks_mut(size).zip(x) {
                let input = dt * x;
                row.iter_mut().zip(b).for_each(|(s, b)| *s = *s * decay + input * b);
            }
            behind(token, state);
        }
    }
}

/// A sequence's new tokens.
pub struct Tokens<A> {
    pub slot: usize,
    /// Of the first.
    pub position: usize,
    /// `[tokens, conv_dim]`, behind the convolution.
    pub xbc: Vec<A>,
    /// `[tokens, heads]`.
    pub dt: Vec<f32>,
    /// Whether a chunk's end brings the state on; else the next chunk's first token does.
    pub folds_at_end: bool,
}

impl<A: Activation> Tokens<A> {
    fn count(&self, place: &SlotState) -> usize {
        self.dt.len() / place.heads()
    }

    fn entries(&self, mixer: &Mixer) -> Entries {
        let (inner, shared) = (mixer.inner() as usize, mixer.shared() as usize);
        let columns = |first: usize, count: usize| {
            let rows = self.xbc.chunks(mixer.conv_dim() as usize);
            rows.flat_map(|row| &row[first..][..count]).map(|element| element.to_f32()).collect()
        };
        Entries { x: columns(0, inner), b: columns(inner, shared), dt: self.dt.clone() }
    }

    /// Runs the recurrence over the tokens; state, chunk and ring go on. The outputs, `[tokens, heads·head_dim]`.
    pub fn run(&self, memory: &Memory, place: &SlotState, a_log: Ptr<f32>, d: Ptr<f32>) -> Vec<A> {
        let (heads, dim, tokens) = (place.heads(), place.mixer.head_dim as usize, self.count(place));
        let mut by_head = vec![A::default(); tokens * place.inner()];
        {
            let (a_log, d) = (memory.read::<f32>(a_log, heads), memory.read::<f32>(d, heads));
            let parameters: Vec<(f32, f32)> = a_log.iter().zip(d.iter()).map(|(a, d)| (-a.exp(), *d)).collect();
            let size = place.mixer.state_size as usize;
            let mut states = memory.write_all::<f32>(place.state);
            let mut chunks = memory.write_all::<i32>(place.chunk);
            let states = states[self.slot * heads * dim * size..].chunks_mut(dim * size);
            let chunks = chunks[self.slot * heads..].iter_mut();
            let items = by_head.chunks_mut(tokens * dim).zip(states.zip(chunks)).zip(parameters).enumerate();
            let inputs = self.inputs(memory, place);
            let operations = (tokens + self.position % CHUNK_POSITIONS) * place.inner() * size;
            for_each(operations, items.collect(), |(head, ((y, (state, chunk)), parameters))| {
                self.run_head(place, head, parameters, &inputs, (state, chunk), y);
            });
        }
        self.store(memory, place);
        let mut y = vec![A::default(); by_head.len()];
        for (head, of_head) in by_head.chunks(tokens * dim).enumerate() {
            for (y, of_token) in y.chunks_mut(heads * dim).zip(of_head.chunks(dim)) {
                y[head * dim..][..dim].copy_from_slice(of_token);
            }
        }
        y
    }

    /// The chunk in front of the first token's where that is a chunk's first, the tokens in front of it in its chunk, and the
    /// new ones.
    fn inputs(&self, memory: &Memory, place: &SlotState) -> [Entries; 3] {
        let (chunk, begun) = (self.position / CHUNK_POSITIONS, self.position % CHUNK_POSITIONS);
        let whole = if chunk > 0 && begun == 0 { CHUNK_POSITIONS } else { 0 };
        [
            place.entries::<A>(memory, self.slot, chunk.saturating_sub(1), whole),
            place.entries::<A>(memory, self.slot, chunk, begun),
            self.entries(&place.mixer),
        ]
    }

    fn run_head(
        &self,
        place: &SlotState,
        head: usize,
        (rate, skip): (f32, f32),
        [last, begun, new]: &[Entries; 3],
        (kept, chunk): (&mut [f32], &mut i32),
        y: &mut [A],
    ) {
        let mixer = &place.mixer;
        let (dim, size) = (mixer.head_dim as usize, mixer.state_size as usize);
        let at = self.position / CHUNK_POSITIONS;
        // The chunk that S stands in front of; in front of chunk 0 it is zero, whatever is kept.
        let front = if at > 0 && !last.dt.is_empty() && *chunk == at as i32 - 1 { at - 1 } else { at };
        let mut state = if front > 0 { kept.to_vec() } else { vec![0.0; kept.len()] };
        if front < at {
            last.run(mixer, head, rate, &mut state, |_, _| {});
            kept.copy_from_slice(&state);
        }
        if self.position.is_multiple_of(CHUNK_POSITIONS) {
            *chunk = at as i32;
        }
        begun.run(mixer, head, rate, &mut state, |_, _| {});
        let c_at = (mixer.inner() + mixer.shared()) as usize + mixer.group(head as u32) as usize * size;
        new.run(mixer, head, rate, &mut state, |token, state| {
            let row = &self.xbc[token * mixer.conv_dim() as usize..];
            let c: Vec<f32> = row[c_at..][..size].iter().map(|c| c.to_f32()).collect();
            let outputs = y[token * dim..][..dim].iter_mut().zip(state.chunks(size)).zip(&row[head * dim..]);
            outputs.for_each(|((y, s), x)| *y = A::from_f32(dot(s, &c) + skip * x.to_f32()));
            if self.folds_at_end && (self.position + token + 1).is_multiple_of(CHUNK_POSITIONS) {
                kept.copy_from_slice(state);
            }
        });
        if self.folds_at_end {
            *chunk = ((self.position + y.len() / dim) / CHUNK_POSITIONS) as i32;
        }
    }

    /// Writes the tokens of the chunk that the state stands in front of to the ring.
    fn store(&self, memory: &Memory, place: &SlotState) {
        let (inner, shared, heads) = (place.inner(), place.shared(), place.heads());
        let end = self.position + self.count(place);
        let first = if self.folds_at_end { end / CHUNK_POSITIONS * CHUNK_POSITIONS } else { self.position };
        let mut ring_x = memory.write_all::<A>(place.ring_x);
        let mut ring_b = memory.write_all::<A>(place.ring_b);
        let mut ring_dt = memory.write_all::<f32>(place.ring_dt);
        for position in first.max(self.position)..end {
            let token = position - self.position;
            let row = &self.xbc[token * place.mixer.conv_dim() as usize..];
            let entry = self.slot * CHUNK_POSITIONS + position % CHUNK_POSITIONS;
            let entry_b = self.slot * 2 * CHUNK_POSITIONS + position % (2 * CHUNK_POSITIONS);
            ring_x[entry * inner..][..inner].copy_from_slice(&row[..inner]);
            ring_b[entry_b * shared..][..shared].copy_from_slice(&row[inner..][..shared]);
            ring_dt[entry * heads..][..heads].copy_from_slice(&self.dt[token * heads..][..heads]);
        }
    }
}
