//! `ssm_conv`: the convolution in front of a state space model, for the sequences that add several tokens.
//!
//! # Formula
//! Tile i holds rows `tile_row[i] .. + tile_rows[i]` of the step, all of sequence `s = tile_sequence[i]`, whose row t stands
//! at position `p = lengths[s] − (row_start[s+1] − t)`. With d = `heads · head_dim`, and u(j) the d.. columns of the row of s
//! at position j: of `zxbcdt` from the sequence's first row on, of `window[slots[s], j mod WINDOW]` before, zero before
//! position 0: `v[c] = conv_bias[c] + Σ_k conv_weight[c, k] · u(p − 3 + k)[c]`, `xbc[t, c] = r(v[c] / (1 + e^(−v[c])))`.
//! With h over the heads, and their dt in the last columns of row t:
//! `dt[t, h] = max(softplus(zxbcdt[t, 2·d + 2·groups·state_size + h] + dt_bias[h]), dt_min)`, `softplus(v) = ln(1 + e^v)`.
//! Nothing for tiles with sequence −1. `r` rounds to the activation type.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `zxbcdt` | `[rows, stride]` | act | z, x, B, C, dt side by side |
//! | `conv_weight` | `[conv_dim, TAPS]` | weight | the last of a row is the current token's |
//! | `conv_bias` | `[conv_dim, 1]` | weight | |
//! | `dt_bias` | `[heads]` | f32 | |
//! | `window` | `[slots, WINDOW, conv_dim]` | act | at position mod WINDOW; `ssm_scan` writes it |
//! | `slots` | `[sequences]` | i32 | the sequence's slot |
//! | `row_start` | `[sequences + 1]` | i32 | first row of each sequence |
//! | `lengths` | `[sequences]` | i32 | tokens of each sequence, this step's included |
//! | `tile_sequence`, `tile_row`, `tile_rows` | `[tiles]` | i32 | sequence or −1, first row, rows (1 to TILE_ROWS) |
//! | `xbc` | `[rows, conv_dim]` | act | x, B, C side by side, written |
//! | `dt` | `[rows, heads]` | f32 | written |
//!
//! # Launch
//! A block owns 64 channels of a tile, a thread 8 of them of every 32nd row; the blocks behind the last channels own the
//! tile's Δ, 64 heads each.
//!
//! # Requires
//! `heads` divisible by `groups`; `head_dim`, `state_size` and `stride` divisible by 8; `zxbcdt`, `conv_weight`, `window` and
//! `xbc` 16-byte aligned; live tiles' slots not negative. The kernel in front, with which it may overlap, writes none of
//! the integers.
//!
//! # Moves
//! Of the tiles' rows the convolved columns and dt, once in and once out, and the convolution's weights.
//!
//! # Numerics
//! In f32; one rounding of `xbc`, none of `dt`. c = 16, d = 0.
use crate::kernel::{kernel_args, require};
use crate::ssm::{Mixer, TAPS};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape, Weight};

/// Channels, or heads, of a block.
const CHANNELS: u32 = 64;
/// Threads of a block.
const THREADS: u32 = 256;

kernel_args! {
    /// Arguments of `ssm_conv`.
    pub struct SsmConv {
        /// `[rows, stride]`: z, x, B, C, dt.
        pub zxbcdt: Ptr<Act>,
        /// `[conv_dim, TAPS]`.
        pub conv_weight: Ptr<Weight>,
        /// `[conv_dim, 1]`.
        pub conv_bias: Ptr<Weight>,
        /// `[heads]`.
        pub dt_bias: Ptr<f32>,
        /// `[slots, WINDOW, conv_dim]`.
        pub window: Ptr<Act>,
        /// `[sequences]`.
        pub slots: Ptr<i32>,
        /// `[sequences + 1]`.
        pub row_start: Ptr<i32>,
        /// `[sequences]`.
        pub lengths: Ptr<i32>,
        /// `[tiles]`: sequence, or −1 for rows of nobody.
        pub tile_sequence: Ptr<i32>,
        /// `[tiles]`: first row of the step.
        pub tile_row: Ptr<i32>,
        /// `[tiles]`: rows, 0 to TILE_ROWS.
        pub tile_rows: Ptr<i32>,
        /// `[rows, conv_dim]`, written.
        pub xbc: Ptr<Act>,
        /// `[rows, heads]`, written.
        pub dt: Ptr<f32>,
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
        /// Width of B and of C.
        pub state_size: u32,
        /// Least Δ; 0 for none.
        pub dt_min: f32,
    }
}

impl SsmConv {
    /// The mixer's shape.
    pub const fn mixer(&self) -> Mixer {
        Mixer { heads: self.heads, head_dim: self.head_dim, groups: self.groups, state_size: self.state_size }
    }
}

impl Kernel for SsmConv {
    const NAME: &'static str = "ssm_conv";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.tiles > 0 && self.tiles < 1 << 16 => "at least one tile, fewer than 65536",
            self.mixer().is_valid() => "heads divisible by groups, head_dim and state_size by 8",
            self.stride >= self.mixer().columns() && self.stride.is_multiple_of(8) => "stride of a whole row, divisible by 8",
            self.dt_min >= 0.0 => "dt_min not negative",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        let blocks = self.mixer().conv_dim().div_ceil(CHANNELS) + self.heads.div_ceil(CHANNELS);
        Launch { grid: [blocks, self.tiles, 1], overlaps: true, ..Launch::linear(Self::NAME, 1, THREADS) }
    }

    fn bytes_moved(&self, shape: &StepShape) -> u64 {
        let (channels, heads) = (u64::from(self.mixer().conv_dim()), u64::from(self.heads));
        let rows: u64 = shape.sequences.iter().map(|s| u64::from(s.new_tokens)).filter(|new| *new > 1).sum();
        rows * (channels * 4 + heads * 6) + channels * u64::from(TAPS + 1) * 2
    }
}
