//! `ssm_scan`: a state space model (Mamba-2) over the tokens of the sequences that add several.
//!
//! # Formula
//! For every sequence s with `slots[s] ≥ 0` and several new rows `row_start[s] .. row_start[s+1]`, of which row t stands at position
//! `p = lengths[s] − (row_start[s+1] − t)`, for each head, with `A = −e^(a_log)`, all state that of slot `slots[s]`:
//! S is `state`, in front of chunk `chunk`, or 0 in chunk 0; where the first position is the first of chunk `chunk + 1`, the
//! ring's CHUNK entries bring it there, and where it is within chunk `chunk`, those before it. Then for each row
//! `S = e^(dt·A) · S + dt · x ⊗ B; y[t] = r(S·C + d · x)`, x, B, C being those of `xbc[t]` for the head and its group.
//! With q the chunk of the position behind the last row, then `state` is S in front of q (unless q is 0), `chunk = q`, the
//! ring holds the rows of chunk q, and the window those rows' columns of `zxbcdt`, with those of the three rows before. Rows of
//! tiles with sequence −1 become zeros. Nothing for other sequences. `r` rounds to the activation type.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `xbc` | `[rows, conv_dim]` | act | x, B, C side by side, from `ssm_conv` |
//! | `dt` | `[rows, heads]` | f32 | from `ssm_conv` |
//! | `zxbcdt` | `[rows, stride]` | act | z, x, B, C, dt side by side |
//! | `a_log`, `d` | `[heads]` | f32 | |
//! | `slots` | `[sequences]` | i32 | the sequence's slot, negative for a pad |
//! | `row_start` | `[sequences + 1]` | i32 | first row of each sequence |
//! | `lengths` | `[sequences]` | i32 | tokens of each sequence, this step's included |
//! | `tile_sequence`, `tile_row`, `tile_rows` | `[tiles]` | i32 | sequence or −1, first row, rows (1 to TILE_ROWS) |
//! | `state`, `chunk`, `ring_x`, `ring_b`, `ring_dt`, `window` | [`crate::ssm`] | f32, i32, act, act, f32, act | in and out |
//! | `counters` | `[sequences, groups]` | i32 | 0 before and after |
//! | `y` | `[rows, heads·head_dim]` | act | row-major, written |
//!
//! # Launch
//! A block owns a head of a sequence and takes its chunks one after the other, the next ones on their way to shared memory
//! during this one. With a the sums of dt·A from the chunk's start on,
//! `y_t = e^(a_t) · S·C_t + Σ_(j ≤ t) e^(a_t − a_j) · dt_j · (C_t·B_j) · x_j + d · x_t`, then
//! `S = e^(a_63) · S + Σ_j e^(a_63 − a_j) · dt_j · x_j ⊗ B_j`. The last block of a group of heads to end stores B: until then
//! another of them may read what stood there.
//!
//! On compute capability 9.0, heads of 64 and 80 channels with a state of 128 are `ssm_scan_wgmma_64` and `_80`: two
//! warpgroups hold S, transposed, in registers, take it over the chunk, and leave both its parts in shared memory as soon as
//! the third one has multiplied those of the chunk before; that one makes the outputs, and the weights of x while S meets C.
//! All others are `ssm_scan`, where S stays in shared memory and two warps make 16 rows; `ssm_scan_narrow`, where the device
//! has no room for two chunks.
//!
//! | head_dim, state_size | `_wgmma` | two chunks | one chunk |
//! |---|---|---|---|
//! | 64, 128 | 164 KB | 122 KB | 79 KB |
//! | 80, 128 | 222 KB | 134 KB | 89 KB |
//! | 128, 64 | | 108 KB | 73 KB |
//! | 64, 256 | | 218 KB | 143 KB |
//!
//! # Requires
//! `heads` divisible by `groups`; `head_dim` and `state_size` divisible by 16, `stride` by 8; `state_size` at most 256, `head_dim` at
//! most 128, `head_dim · state_size` at most 16 384; slots different among such sequences;
//! `zxbcdt`, `xbc`, `state`, `ring_x`, `ring_b` and `window` 16-byte aligned. The kernel in front, with which it may overlap, writes
//! none of the integers and none of these slots' state.
//!
//! # Moves
//! Of the rows x, B, C, dt and y once, and of each sequence S twice, but once where it begins.
//!
//! # Numerics
//! Sums and S in f32; sums of dt·A are subtracted before e is raised to them. For the tensor core the weights of x within a
//! chunk, and x (`_wgmma`: B) with its weight on the way into S, are rounded to the activation type: d = 2. S meets C as two values of that
//! type, a high and a low part. c = 16. The reference is the recurrence, token by token from the front of a chunk: on the CPU a
//! prompt's chunks change no bit.
use crate::kernel::{kernel_args, require};
use crate::ssm::{CHUNK, Mixer};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape};

#[cfg(target_arch = "nvptx64")]
mod chunk;
#[cfg(target_arch = "nvptx64")]
mod end;
#[cfg(target_arch = "nvptx64")]
mod entry;
#[cfg(target_arch = "nvptx64")]
mod span;
#[cfg(target_arch = "nvptx64")]
mod wgmma;

/// Threads of a block: two warps for every 16 rows of a chunk.
const THREADS: u32 = 256;

/// Elements from one row to the next in shared memory: 8 more than it has, so that the rows that a warp reads at once are in
/// different banks.
const fn stride(width: u32) -> u32 {
    width + 8
}

/// Shared bytes of S.
const fn state_bytes(head_dim: u32, state_size: u32) -> u32 {
    head_dim * stride(state_size) * 4
}

/// Shared bytes of a chunk's B, C and x.
const fn stage_bytes(head_dim: u32, state_size: u32) -> u32 {
    CHUNK * (2 * stride(state_size) + stride(head_dim)) * 2
}

/// Of the entries that multiply by warpgroups: threads, the width of S, and chunks that are under way.
const WGMMA_THREADS: u32 = 384;
const WGMMA_SIZE: u32 = 128;
const WGMMA_STAGES: u32 = 3;
/// Numbers that are kept there of each position of a chunk.
const WGMMA_NUMBERS: u32 = 3;

/// Shared bytes there of both parts of S: 128 to a row of 64 channels.
const fn wgmma_state_bytes(head_dim: u32) -> u32 {
    head_dim.div_ceil(64) * WGMMA_SIZE * 128 * 2
}

/// Shared bytes there of a chunk's B, C and x.
const fn wgmma_stage_bytes(head_dim: u32) -> u32 {
    (2 * WGMMA_SIZE.div_ceil(64) + head_dim.div_ceil(64)) * CHUNK * 128
}

/// Shared bytes there of a chunk's outputs.
const fn wgmma_output_bytes(head_dim: u32) -> u32 {
    CHUNK * stride(head_dim) * 2
}

/// All shared bytes there.
const fn wgmma_shared_bytes(head_dim: u32) -> u32 {
    let chunks = wgmma_state_bytes(head_dim) + WGMMA_STAGES * wgmma_stage_bytes(head_dim);
    chunks + WGMMA_STAGES * WGMMA_NUMBERS * CHUNK * 4 + wgmma_output_bytes(head_dim)
}

/// S, as many chunks as are under way, and of two chunks Δ and the sums of its exponents.
const fn shared_bytes(head_dim: u32, state_size: u32, stages: u32) -> u32 {
    state_bytes(head_dim, state_size) + stages * stage_bytes(head_dim, state_size) + 4 * CHUNK * 4
}

kernel_args! {
    /// Arguments of `ssm_scan`.
    pub struct SsmScan {
        /// `[rows, conv_dim]`: x, B, C, convolved.
        pub xbc: Ptr<Act>,
        /// `[rows, heads]`: Δ.
        pub dt: Ptr<f32>,
        /// `[rows, stride]`: z, x, B, C, dt, not convolved.
        pub zxbcdt: Ptr<Act>,
        /// `[heads]`: logarithm of the decay.
        pub a_log: Ptr<f32>,
        /// `[heads]`: factor of x itself.
        pub d: Ptr<f32>,
        /// `[sequences]`.
        pub slots: Ptr<i32>,
        /// `[sequences + 1]`.
        pub row_start: Ptr<i32>,
        /// `[sequences]`.
        pub lengths: Ptr<i32>,
        /// `[tiles]`: sequence, or −1 for rows to fill with zeros.
        pub tile_sequence: Ptr<i32>,
        /// `[tiles]`: first row of the step.
        pub tile_row: Ptr<i32>,
        /// `[tiles]`: rows, 0 to TILE_ROWS.
        pub tile_rows: Ptr<i32>,
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
        /// `[slots, WINDOW, conv_dim]`, written.
        pub window: Ptr<Act>,
        /// `[sequences, groups]`: 0 between launches.
        pub counters: Ptr<i32>,
        /// `[rows, heads·head_dim]`, written.
        pub y: Ptr<Act>,
        /// Sequences of the bucket.
        pub sequences: u32,
        /// Tiles of the bucket.
        pub tiles: u32,
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
    }
}

impl SsmScan {
    /// The mixer's shape.
    pub const fn mixer(&self) -> Mixer {
        Mixer { heads: self.heads, head_dim: self.head_dim, groups: self.groups, state_size: self.state_size }
    }
}

impl Kernel for SsmScan {
    const NAME: &'static str = "ssm_scan";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.sequences > 0 && self.sequences < 1 << 16 => "at least one sequence, fewer than 65536",
            self.mixer().is_valid() => "heads divisible by groups, head_dim and state_size by 8",
            self.state_size <= 256 && self.head_dim <= 128 => "state_size at most 256, head_dim at most 128",
            self.state_size * self.head_dim <= 16_384 => "head_dim · state_size at most 16384",
            self.state_size.is_multiple_of(16) && self.head_dim.is_multiple_of(16) => "head_dim and state_size divisible by 16",
            self.stride >= self.mixer().columns() && self.stride.is_multiple_of(8) => "stride of a whole row, divisible by 8",
        }
    }

    fn launch(&self, device: &DeviceInfo) -> Launch {
        let grid = [self.heads, self.sequences, 1];
        let by_warpgroups = match (self.head_dim, self.state_size) {
            (64, WGMMA_SIZE) if device.has_wgmma() => Some("ssm_scan_wgmma_64"),
            (80, WGMMA_SIZE) if device.has_wgmma() => Some("ssm_scan_wgmma_80"),
            _ => None,
        };
        if let Some(symbol) = by_warpgroups {
            let shared_bytes = wgmma_shared_bytes(self.head_dim);
            return Launch { grid, shared_bytes, overlaps: true, ..Launch::linear(symbol, 1, WGMMA_THREADS) };
        }
        let needed = |stages| shared_bytes(self.head_dim, self.state_size, stages);
        let (symbol, stages) =
            if needed(2) <= device.shared_bytes_per_block { (Self::NAME, 2) } else { ("ssm_scan_narrow", 1) };
        Launch { grid, shared_bytes: needed(stages), overlaps: true, ..Launch::linear(symbol, 1, THREADS) }
    }

    fn bytes_moved(&self, shape: &StepShape) -> u64 {
        let mixer = self.mixer();
        let (inner, channels) = (u64::from(mixer.inner()), u64::from(mixer.conv_dim()));
        let state = inner * u64::from(self.state_size) * 4;
        let prefills = shape.sequences.iter().filter(|s| s.new_tokens > 1);
        let per_sequence = prefills.map(|s| {
            let states = if s.length > s.new_tokens { 2 } else { 1 };
            u64::from(s.new_tokens) * (channels * 2 + inner * 2 + u64::from(self.heads) * 4) + states * state
        });
        per_sequence.sum()
    }

    fn flops(&self, shape: &StepShape) -> u64 {
        let prefills = shape.sequences.iter().filter(|s| s.new_tokens > 1);
        let tokens: u64 = prefills.map(|s| u64::from(s.new_tokens)).sum();
        // C·S and the update of S; C·B and the weighted x of half a chunk.
        let (size, dim, half) = (u64::from(self.state_size), u64::from(self.head_dim), u64::from(CHUNK / 2));
        2 * tokens * u64::from(self.heads) * (2 * size * dim + half * (size + dim))
    }
}
