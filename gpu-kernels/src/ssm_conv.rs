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
//! A block owns 128 channels of a tile, a thread 8 of them of eight neighbouring rows, whose inputs it asks for at once; the
//! blocks behind the last channels own the tile's Δ, 16 heads each.
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
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape, TILE_ROWS, Weight};

/// Threads side by side: groups of eight channels, or heads, of a block.
const LANES: u32 = 16;
/// Neighbouring rows of a thread.
const RUN: u32 = 8;
/// Threads of a block.
const THREADS: u32 = LANES * TILE_ROWS / RUN;
/// Channels of a block.
const CHANNELS: u32 = 8 * LANES;

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
            !self.dt_min.is_sign_negative() && !self.dt_min.is_nan() => "dt_min not negative",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        let blocks = self.mixer().conv_dim().div_ceil(CHANNELS) + self.heads.div_ceil(LANES);
        Launch { grid: [blocks, self.tiles, 1], overlaps: true, ..Launch::linear(Self::NAME, 1, THREADS) }
    }

    fn bytes_moved(&self, shape: &StepShape) -> u64 {
        let (channels, heads) = (u64::from(self.mixer().conv_dim()), u64::from(self.heads));
        let rows: u64 = shape.sequences.iter().map(|s| u64::from(s.new_tokens)).filter(|new| *new > 1).sum();
        rows * (channels * 4 + heads * 6) + channels * u64::from(TAPS + 1) * 2
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::{CHANNELS, LANES, RUN, SsmConv};
    use crate::row::{self, GROUP};
    use crate::ssm::arithmetic::{convolved, dt_address, integer, number, step_width};
    use crate::ssm::{TAPS, WINDOW};
    use cuda_std::unroll::{array, unroll};
    use cuda_std::{bf16, global, grid, kernel, thread};

    /// Rows that a run reads before its first.
    const BEFORE: u32 = TAPS - 1;
    /// Rows that a run reads.
    const READ: usize = (RUN + BEFORE) as usize;

    /// Some neighbouring rows of a tile.
    struct Run {
        /// The first, and the row behind the last.
        row: u32,
        end: u32,
        /// The sequence's first row, that row's position, and the slot.
        first_row: u32,
        first: u32,
        slot: u32,
    }

    kernel! {
        /// Some channels, or the Δ of some heads, of a tile.
        pub fn ssm_conv(args: SsmConv) {
            grid::launch_dependents();
            let tile = thread::block_idx_y();
            let sequence = integer(args.tile_sequence, tile);
            if sequence < 0 {
                return;
            }
            let sequence = sequence as u32;
            let first_row = integer(args.row_start, sequence) as u32;
            let new = integer(args.row_start, sequence + 1) as u32 - first_row;
            let row = integer(args.tile_row, tile) as u32;
            let end = row + integer(args.tile_rows, tile) as u32;
            let (lane, row) = (thread::thread_idx_x() % LANES, row + thread::thread_idx_x() / LANES * RUN);
            let (first, slot) = (integer(args.lengths, sequence) as u32 - new, integer(args.slots, sequence) as u32);
            let run = Run { row, end: end.min(row + RUN), first_row, first, slot };
            let blocks = args.mixer().conv_dim().div_ceil(CHANNELS);
            if thread::block_idx_x() < blocks {
                channels(&args, &run, thread::block_idx_x() * LANES + lane);
            } else {
                widths(&args, &run, (thread::block_idx_x() - blocks) * LANES + lane);
            }
        }
    }

    /// The convolution of a group of eight channels.
    ///
    /// # Safety
    /// The kernel's Requires hold.
    #[inline(always)]
    unsafe fn channels(args: &SsmConv, run: &Run, group: u32) {
        let mixer = args.mixer();
        if group >= mixer.conv_dim() / GROUP {
            return;
        }
        // SAFETY: the group is one of the channels'; rows are the run's, and older ones of its sequence.
        unsafe {
            let taps: [[u32; 4]; 4] =
                array::<4, _>(|i| global::load(row::at(args.conv_weight.addr, group * 4 + i as u32)));
            let bias = bf16::unpack_8(global::load(row::at(args.conv_bias.addr, group)));
            grid::wait_for_dependencies();
            let inputs: [[u32; 4]; READ] = array::<READ, _>(|i| input(args, run, i as u32, group));
            unroll::<{ RUN as usize }>(
                #[inline(always)]
                |i| {
                    let row = run.row + i as u32;
                    if row < run.end {
                        let inputs = array::<{ TAPS as usize }, _>(|tap| bf16::unpack_8(inputs[i + tap]));
                        let out = array::<8, _>(|c| {
                            let taps = [taps[c / 2][c % 2 * 2], taps[c / 2][c % 2 * 2 + 1]];
                            convolved(taps, bias[c], [inputs[0][c], inputs[1][c], inputs[2][c], inputs[3][c]])
                        });
                        let at = 2 * u64::from(row) * u64::from(mixer.conv_dim());
                        global::store(row::at(args.xbc.addr + at, group), bf16::pack_8(out));
                    }
                },
            );
        }
    }

    /// Eight channels of the `i`-th row that the run reads: of the step, of the window, or zeros. Behind the run any row will
    /// do.
    ///
    /// # Safety
    /// As for [`channels`].
    #[inline(always)]
    unsafe fn input(args: &SsmConv, run: &Run, i: u32, group: u32) -> [u32; 4] {
        let mixer = args.mixer();
        let address = if i >= BEFORE || run.row != run.first_row {
            let row = (run.row + i - BEFORE).min(run.end - 1);
            args.zxbcdt.addr + 2 * (u64::from(row) * u64::from(args.stride) + u64::from(mixer.inner()))
        } else if run.first + i < BEFORE {
            return [0; 4];
        } else {
            let entry = run.slot * WINDOW + (run.first + i - BEFORE) % WINDOW;
            args.window.addr + 2 * u64::from(entry) * u64::from(mixer.conv_dim())
        };
        // SAFETY: a row of the step, or an entry of the window that an earlier step wrote.
        unsafe { global::load(row::at(address, group)) }
    }

    /// Δ of a head.
    ///
    /// # Safety
    /// The kernel's Requires hold.
    #[inline(always)]
    unsafe fn widths(args: &SsmConv, run: &Run, head: u32) {
        if head >= args.heads {
            return;
        }
        // SAFETY: the head is one of the mixer's, the rows are the run's.
        unsafe {
            let bias = number(args.dt_bias, head);
            grid::wait_for_dependencies();
            let mut row = run.row;
            while row < run.end {
                let dt = global::load::<u16>(dt_address(args.zxbcdt, args.stride, &args.mixer(), (row, head)));
                let at = u64::from(row) * u64::from(args.heads) + u64::from(head);
                global::store(args.dt.addr + 4 * at, step_width(bf16::to_f32(dt) + bias, args.dt_min));
                row += 1;
            }
        }
    }
}
