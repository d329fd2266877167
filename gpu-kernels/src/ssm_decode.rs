//! `ssm_decode`: one token of a state space model (Mamba-2), for the sequences that add one: convolution, state and output.
//!
//! # Formula
//! For every sequence s with one new row `t = row_start[s]` and `slots[s] ≥ 0`, at position `p = lengths[s] − 1` of chunk
//! `q = p / CHUNK`, `i = p mod CHUNK`, all state that of slot `slots[s]`:
//! - x, B, C of row t are convolved as in `ssm_conv`, Δ is made as there; the row's own columns go to `window[p mod WINDOW]`.
//! - For each head, with `A = −e^(a_log)`, `S = state`, S = 0 in chunk 0: where i = 0, q > 0 and `chunk = q − 1`, first
//!   `state = S = e^(a_63) · S + Σ_j e^(a_63 − a_j) · Δ_j · x_j ⊗ B_j` over the ring's CHUNK entries, with `a_j = Σ_(k ≤ j) Δ_k · A`.
//!   Where i = 0, `chunk = q`.
//! - Entry i of the ring becomes the row's x, B, Δ. With j over the entries 0 to i of chunk q:
//!   `y[t] = r(e^(a_i) · S·C + Σ_j e^(a_i − a_j) · (C·B_j) · Δ_j · x_j + d · x_i)`.
//!
//! So y is that of the recurrence `S = e^(Δ·A) · S + Δ · x ⊗ B; y = S·C + d·x`. Row t becomes zeros where `slots[s]` is negative:
//! a pad, which touches no state. Nothing for other sequences. `r` rounds to the activation type.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `zxbcdt` | `[rows, stride]` | act | z, x, B, C, dt side by side |
//! | `conv_weight` | `[conv_dim, TAPS]` | weight | the last of a row is the current token's |
//! | `conv_bias` | `[conv_dim, 1]` | weight | |
//! | `a_log`, `d`, `dt_bias` | `[heads]` | f32 | |
//! | `slots` | `[sequences]` | i32 | the sequence's slot, negative for a pad |
//! | `row_start` | `[sequences + 1]` | i32 | first row of each sequence |
//! | `lengths` | `[sequences]` | i32 | tokens of each sequence, this step's included |
//! | `state`, `chunk`, `ring_x`, `ring_b`, `ring_dt`, `window` | [`crate::ssm`] | f32, i32, act, act, f32, act | in and out |
//! | `y` | `[rows, heads·head_dim]` | act | row-major, written |
//!
//! # Launch
//! A block owns a head of a sequence, eight lanes a row of S. S, and the ring's entries, are asked for before the kernel in front has ended and land
//! in shared memory, as many rows of S as find room. Every block convolves its group's B and C for itself; that of a group's
//! first head stores them. B has room for two chunks: while one block folds the last chunk, another begins the next.
//!
//! # Requires
//! `heads` divisible by `groups`; `head_dim`, `state_size` and `stride` divisible by 8, `state_size` at most 256, `head_dim` at most
//! 128; `lengths` above 0 and slots different among sequences that are no pads; `state`, `ring_x`, `ring_b` and `zxbcdt` 16-byte aligned. The kernel
//! in front, with which it may overlap, writes none of the integers and none of these slots' state.
//!
//! # Moves
//! For each sequence S once, the entries of its chunk, the window, the row and y; every CHUNK-th token S twice more.
//!
//! # Numerics
//! In f32; sums of Δ·A are subtracted before e is raised to them. x, B, C and y are rounded once each. c = 16, d = 4: a
//! rounded x, B or C may be the neighbour of what it is to be.
use crate::kernel::{kernel_args, require};
use crate::ssm::{CHUNK, Mixer, TAPS, divide};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape, Weight};

#[cfg(target_arch = "nvptx64")]
mod channels;
#[cfg(target_arch = "nvptx64")]
mod entry;
#[cfg(target_arch = "nvptx64")]
mod heads;

/// Threads of a block.
const THREADS: u32 = 256;

/// Elements of S that shared memory holds at once: all of a head of 80 rows of 128.
const STATE_ELEMENTS: u32 = 10_240;

/// Rows of S that shared memory holds at once: whole warps' of them.
const fn state_rows(head_dim: u32, state_size: u32) -> u32 {
    let fit = divide(STATE_ELEMENTS, state_size).0 / 8 * 8;
    if head_dim < fit { head_dim } else { fit }
}

/// Elements from one row of x to the next in shared memory: 8 more than it has, so that a column's are in different banks.
const fn x_stride(head_dim: u32) -> u32 {
    head_dim + 8
}

/// S, the ring's B and x, the token's x, B and C, and four numbers for each entry.
const fn shared_bytes(head_dim: u32, state_size: u32) -> u32 {
    let state = state_rows(head_dim, state_size) * state_size * 4;
    let ring = CHUNK * (state_size + x_stride(head_dim)) * 2;
    state + ring + (head_dim + 2 * state_size) * 4 + 4 * CHUNK * 4
}

kernel_args! {
    /// Arguments of `ssm_decode`.
    pub struct SsmDecode {
        /// `[rows, stride]`: z, x, B, C, dt.
        pub zxbcdt: Ptr<Act>,
        /// `[conv_dim, TAPS]`.
        pub conv_weight: Ptr<Weight>,
        /// `[conv_dim, 1]`.
        pub conv_bias: Ptr<Weight>,
        /// `[heads]`: logarithm of the decay.
        pub a_log: Ptr<f32>,
        /// `[heads]`: factor of x itself.
        pub d: Ptr<f32>,
        /// `[heads]`.
        pub dt_bias: Ptr<f32>,
        /// `[sequences]`: negative for pads.
        pub slots: Ptr<i32>,
        /// `[sequences + 1]`.
        pub row_start: Ptr<i32>,
        /// `[sequences]`.
        pub lengths: Ptr<i32>,
        /// `[slots, heads, head_dim, state_size]`, in and out.
        pub state: Ptr<f32>,
        /// `[slots, heads]`, in and out.
        pub chunk: Ptr<i32>,
        /// `[slots, CHUNK, heads·head_dim]`, in and out.
        pub ring_x: Ptr<Act>,
        /// `[slots, 2·CHUNK, groups·state_size]`, in and out.
        pub ring_b: Ptr<Act>,
        /// `[slots, CHUNK, heads]`, in and out.
        pub ring_dt: Ptr<f32>,
        /// `[slots, WINDOW, conv_dim]`, in and out.
        pub window: Ptr<Act>,
        /// `[rows, heads·head_dim]`, written.
        pub y: Ptr<Act>,
        /// Sequences of the bucket.
        pub sequences: u32,
        /// Elements from one row of `zxbcdt` to the next.
        pub stride: u32,
        /// Heads.
        pub heads: u32,
        /// Channels of a head.
        pub head_dim: u32,
        /// Groups of heads that share B and C.
        pub groups: u32,
        /// Width of B, of C, and of a row of the state.
        pub state_size: u32,
        /// Least Δ; 0 for none.
        pub dt_min: f32,
    }
}

impl SsmDecode {
    /// The mixer's shape.
    pub const fn mixer(&self) -> Mixer {
        Mixer { heads: self.heads, head_dim: self.head_dim, groups: self.groups, state_size: self.state_size }
    }
}

impl Kernel for SsmDecode {
    const NAME: &'static str = "ssm_decode";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.sequences > 0 && self.sequences < 1 << 16 => "at least one sequence, fewer than 65536",
            self.mixer().is_valid() => "heads divisible by groups, head_dim and state_size by 8",
            self.state_size <= 256 && self.head_dim <= 128 => "state_size at most 256, head_dim at most 128",
            self.stride >= self.mixer().columns() && self.stride.is_multiple_of(8) => "stride of a whole row, divisible by 8",
            !self.dt_min.is_sign_negative() && !self.dt_min.is_nan() => "dt_min not negative",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        let grid = [self.heads, self.sequences, 1];
        let shared_bytes = shared_bytes(self.head_dim, self.state_size);
        Launch { grid, shared_bytes, overlaps: true, ..Launch::linear(Self::NAME, 1, THREADS) }
    }

    fn bytes_moved(&self, shape: &StepShape) -> u64 {
        let mixer = self.mixer();
        let (inner, shared, heads) = (u64::from(mixer.inner()), u64::from(mixer.shared()), u64::from(self.heads));
        let channels = u64::from(mixer.conv_dim());
        let state = inner * u64::from(self.state_size) * 4;
        let entry = inner * 2 + shared * 2 + heads * 4;
        let decodes = shape.sequences.iter().filter(|s| s.new_tokens == 1 && s.length > 0);
        let per_sequence = decodes.map(|s| {
            let (chunk, at) = ((s.length - 1) / CHUNK, u64::from((s.length - 1) % CHUNK));
            let folds = chunk > 0 && at == 0;
            let states = u64::from(chunk > 0) + u64::from(folds);
            let entries = at + 1 + if folds { u64::from(CHUNK) } else { 0 };
            states * state + entries * entry + channels * 2 * (1 + u64::from(TAPS)) + heads * 2 + inner * 2
        });
        per_sequence.sum::<u64>() + channels * u64::from(TAPS + 1) * 2 + heads * 12
    }

    fn flops(&self, shape: &StepShape) -> u64 {
        let decodes = shape.sequences.iter().filter(|s| s.new_tokens == 1);
        let tokens = decodes.count() as u64;
        2 * tokens * u64::from(self.mixer().inner()) * u64::from(self.state_size)
    }
}
