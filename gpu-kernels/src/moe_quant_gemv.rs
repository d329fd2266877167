//! `moe_quant_gemv`: the product of `moe_gemv` with experts of 8- or 4-bit codes; bound by the bytes of the experts that are
//! met, each of which is read once for every eight rows that go to it.
//!
//! # Formula
//! As `moe_gemv`'s, where `w[e, n, k]` is what docs/formats.md makes of the codes and scales of `format`.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `x` | `[rows, k]`, or `[rows · top_k, k]` | act | row-major |
//! | `w` | `[experts, n, k]` | packed | rows as docs/formats.md has them |
//! | `scales` | `[experts, n, Format::scales(k)]`, or null where that is 0 | f32 | row-major |
//! | `ids` | `[rows, top_k]` | i32 | row-major |
//! | `y` | `[rows · top_k, n]` | act | row-major, written |
//!
//! # Launch
//! As `moe_gemv`'s, with the rings of `quant_gemv`, but that a block has several tiles at a time: `team` of its 8 warps
//! share one, as few as make 1320 warps of the tiles of one token row, so that with 22 of 512 experts a warp has a tile
//! alone, and with 6 of 128 two share one. With one token row of up to 4 096 columns (`_row`) a block has tiles of one choice at a
//! time, whose row of tokens it copies to shared memory first, in the order in which codes are widened.
//!
//! # Requires
//! 1 to 384 choices, `rows · top_k`; `k` divisible by 8, `n` by 16; ids from 0 to `experts` − 1; a format that `quant_gemv`
//! takes; fewer than 2³² rows of all experts; no code or scale is NaN; `x` and `w` 16-byte aligned; `team` 1, 2, 4 or 8; `y`
//! overlaps nothing that is read.
//!
//! # Moves
//! The bytes of codes and scales of each expert that is met, and `rows · top_k · (k · act + n · act)`. Which are met the host
//! does not know: it counts as many as random choices would meet. Registers and rings as `quant_gemv`'s;
//! a copied row takes `2 · k` bytes.
//!
//! # Numerics
//! As `quant_gemv`'s, whatever else goes to an expert: c = 16, d = 4. `team` decides the order of sums, not `rows`.
use crate::format::Format;
use crate::gemv::{SYSTEM_BYTES, TILE, WARPS};
use crate::kernel::{kernel_args, require};
use crate::moe_gemv::{FIXED_BYTES, met};
use crate::quant_gemv::{BLOCKS, Rings};
use crate::{Act, DeviceInfo, Kernel, Launch, MoeGemv, Packed, Ptr, StepShape};

#[cfg(target_arch = "nvptx64")]
mod entry;
#[cfg(target_arch = "nvptx64")]
mod one_row;
#[cfg(target_arch = "nvptx64")]
mod ring;

kernel_args! {
    /// Arguments of `moe_quant_gemv`.
    pub struct MoeQuantGemv {
        /// `[rows, k]`, or with `row_per_choice` `[rows · top_k, k]`.
        pub x: Ptr<Act>,
        /// `[experts, n, k]`, the codes.
        pub w: Ptr<Packed>,
        /// `[experts, n, Format::scales(k)]`, or null where the format has none beside the codes.
        pub scales: Ptr<f32>,
        /// `[rows, top_k]`: the experts of each row.
        pub ids: Ptr<i32>,
        /// `[rows · top_k, n]`, written.
        pub y: Ptr<Act>,
        /// Token rows.
        pub rows: u32,
        /// Experts that a row goes to.
        pub top_k: u32,
        /// Experts.
        pub experts: u32,
        /// Rows of an expert's weight.
        pub n: u32,
        /// Columns of an expert's weight.
        pub k: u32,
        /// [`Format::kind`] of the weight.
        pub format: u32,
        /// [`Format::group`] of the weight.
        pub group: u32,
        /// `PLAIN` or `RELU2`.
        pub activation: u32,
        /// Whether `x` has a row for each choice instead of each token: 0 or 1.
        pub row_per_choice: u32,
        /// As in `moe_gemv`: 0 or 1.
        pub ids_settled: u32,
        /// Warps that share a tile: 1, 2, 4 or 8.
        pub team: u32,
    }
}

impl MoeQuantGemv {
    /// The product of `moe_gemv` with a weight of these codes and scales in `format`.
    pub const fn new(around: MoeGemv, (w, scales): (Ptr<Packed>, Ptr<f32>), format: Format) -> MoeQuantGemv {
        let MoeGemv { x, ids, y, rows, top_k, experts, n, k, activation, row_per_choice, ids_settled, .. } = around;
        // The experts of a lone row are the fewest.
        let team = team(top_k * (n / TILE), k, format);
        let (format, group) = (format.kind(), format.group());
        MoeQuantGemv {
            x,
            w,
            scales,
            ids,
            y,
            rows,
            top_k,
            experts,
            n,
            k,
            format,
            group,
            activation,
            row_per_choice,
            ids_settled,
            team,
        }
    }

    /// All that is not about the weight.
    pub const fn around(&self) -> MoeGemv {
        let MoeQuantGemv { x, ids, y, rows, top_k, experts, n, k, activation, row_per_choice, ids_settled, .. } = *self;
        MoeGemv { x, w: Ptr::NULL, ids, y, rows, top_k, experts, n, k, activation, row_per_choice, ids_settled }
    }
}

/// Groups of eight columns that a thread copies of a lone token row.
const BROUGHT: usize = 2;
/// Columns of the longest one that is copied.
const MOST_COPIED: usize = BROUGHT * WARPS as usize * 32 * 8;
/// Numbers of tiles from one choice of a lone row to the next.
const CHOICE: u32 = 1 << 16;
/// Bytes of shared memory of the entries of a lone row beside the dynamic ones: the sums, twice, and what the system takes.
const LONE_BYTES: u32 = 2 * WARPS * TILE * 4 + SYSTEM_BYTES;

/// Warps that are to be at work: ten for each multiprocessor of a large GPU.
const AT_WORK: u32 = 1_320;

/// Warps that share one of `tiles` tiles: as few as will do for all of them to have enough warps, since a tile costs each of its
/// warps a barrier and a part of the join; and none without a step. The order of the sums depends on it, so it may depend on what
/// is the same for any number of token rows only.
const fn team(tiles: u32, k: u32, format: Format) -> u32 {
    let Some(rings) = Rings::of(format.kind(), format.group()) else { return WARPS };
    let steps = k.div_ceil(rings.columns / WARPS);
    let mut team = 1;
    while team < WARPS && 2 * team <= steps && team * tiles < AT_WORK {
        team *= 2;
    }
    team
}

impl Kernel for MoeQuantGemv {
    const NAME: &'static str = "moe_quant_gemv";

    fn check(&self) -> Result<(), &'static str> {
        self.around().check()?;
        let beside = Format::of(self.format, self.group).map(|format| format.scales(u64::from(self.k)));
        require! {
            self.team.is_power_of_two() && self.team <= WARPS => "teams of 1, 2, 4 or 8 warps",
            u64::from(self.n) * u64::from(self.experts) < 1 << 32 => "fewer than 2^32 rows of all experts",
            Rings::of(self.format, self.group).is_some() => "a packed format with groups of a power of two",
            beside.is_none_or(|scales| (scales == 0) == self.scales.is_null()) => "scales where the format has them",
        }
    }

    fn launch(&self, device: &DeviceInfo) -> Launch {
        let Some(rings) = Rings::of(self.format, self.group) else { return Launch::linear(Self::NAME, 0, 0) };
        let [several, one] = rings.expert_symbols;
        let is_lone = self.rows == 1 && self.k as usize <= MOST_COPIED && self.n / TILE < CHOICE;
        let staged = if is_lone { 2 * self.k.next_multiple_of(rings.columns / WARPS) } else { 0 };
        let shared_bytes = rings.bytes + staged;
        let fixed = if is_lone { LONE_BYTES } else { FIXED_BYTES };
        let resident = ((device.shared_bytes_per_block + SYSTEM_BYTES) / (shared_bytes + fixed)).clamp(1, BLOCKS);
        let (blocks, tiles) = (device.multiprocessors * resident, self.n / TILE);
        let (symbol, grid) = if is_lone {
            // As few tiles to a block as let all choices begin at once, where there are teams for that.
            let at_once = tiles.div_ceil((blocks / self.top_k).max(1)).min(WARPS / self.team);
            let across = tiles.div_ceil(at_once);
            (one, [across, (blocks / across).clamp(1, self.top_k), 1])
        } else {
            (several, [blocks.clamp(1, self.rows * self.top_k * tiles), 1, 1])
        };
        Launch { grid, shared_bytes, overlaps: true, ..Launch::linear(symbol, 1, WARPS * 32) }
    }

    fn bytes_moved(&self, shape: &StepShape) -> u64 {
        let (n, k, choices) = (u64::from(self.n), u64::from(self.k), u64::from(self.rows * self.top_k));
        let expert = Format::of(self.format, self.group).map_or(0, |format| format.bytes(n, k));
        let weights = met(shape, self.rows, self.top_k, self.experts) * expert as f64;
        weights as u64 + choices * 2 * (n + k)
    }

    fn flops(&self, shape: &StepShape) -> u64 {
        self.around().flops(shape)
    }
}
