//! The entry points of `gemv`.
use super::store::Sums;
use super::stream::{Overlap, Stream, Tokens};
use super::{Gemv, NARROW, SLOTS, WARPS, WIDE, slot_bytes};
use crate::all_reduce::meeting::Outbox;
use crate::gated_norm::entry::Gated;
use crate::row::{self, Row};
use crate::{GEMV_MAX_ROWS, Ptr, Role, layer_norm_1p, rms_norm};
use core::num::NonZero;
use cuda_std::barrier::sync_threads;
use cuda_std::shared::{self, Shared};
use cuda_std::unroll::unroll;
use cuda_std::{grid, kernel, mma, thread};

const W: usize = WIDE as usize;
const N: usize = NARROW as usize;

/// Pieces of eight of a gated row that a lane asks for before it uses them: of 4 096 elements in eight groups all that it has.
pub(crate) const GATED: usize = 2;

kernel! {
    /// Up to eight token rows to a block.
    pub fn gemv(args: Gemv) {
        let args = of_block(&args);
        product(&args, Stream::<W, _>::new(args, Overlap::of(&args)), None);
        grid::first_block_waits_for_dependencies();
    }

    /// Up to eight token rows to a block, narrow steps.
    pub fn gemv_narrow(args: Gemv) {
        let args = of_block(&args);
        product(&args, Stream::<N, _>::new(args, Overlap::of(&args)), None);
        grid::first_block_waits_for_dependencies();
    }

    /// One token row behind `rms_norm`.
    pub fn gemv_rms_norm(args: Gemv) {
        behind_rms_norm::<W>(&args);
    }

    /// One token row behind `rms_norm`, narrow steps.
    pub fn gemv_rms_norm_narrow(args: Gemv) {
        behind_rms_norm::<N>(&args);
    }

    /// One token row behind `layer_norm_1p`.
    pub fn gemv_layer_norm_1p(args: Gemv) {
        behind_layer_norm_1p::<W>(&args);
    }

    /// One token row behind `layer_norm_1p`, narrow steps.
    pub fn gemv_layer_norm_1p_narrow(args: Gemv) {
        behind_layer_norm_1p::<N>(&args);
    }

    /// One token row behind `gated_norm`.
    pub fn gemv_gated_norm(args: Gemv) {
        behind_gated_norm::<W>(&args);
    }

    /// One token row behind `gated_norm`, narrow steps.
    pub fn gemv_gated_norm_narrow(args: Gemv) {
        behind_gated_norm::<N>(&args);
    }
}

/// The product of the block's own token rows.
#[inline(always)]
fn of_block(args: &Gemv) -> Gemv {
    let first = thread::block_idx_y() * GEMV_MAX_ROWS;
    let width = args.width();
    Gemv {
        x: from_row(args.x, first, args.k),
        residual: from_row(args.residual, first, width),
        y: from_row(args.y, first, width),
        y_f32: from_row(args.y_f32, first, width),
        rows: (args.rows - first).min(GEMV_MAX_ROWS),
        ..*args
    }
}

/// The rows of a matrix from `row` on; null where there is no matrix.
#[inline(always)]
fn from_row<R: Role>(mut matrix: Ptr<R>, row: u32, width: u32) -> Ptr<R> {
    if !matrix.is_null() {
        matrix.addr += u64::from(row) * u64::from(width) * R::ELEMENT.bytes(2);
    }
    matrix
}

/// # Safety
/// The kernel's Requires hold; the whole block comes here.
#[inline(always)]
unsafe fn behind_rms_norm<const QUADS: usize>(args: &Gemv) {
    // SAFETY: the block's threads share the row out, and use it behind a barrier.
    unsafe {
        let weight = Row::load(args.norm_weight.addr, args.k);
        let stream = Stream::<QUADS, _>::new(*args, Overlap::of(args));
        let (x, normed) = (Row::load(args.x.addr, args.k), behind_the_rings(QUADS as u32));
        rms_norm::entry::normalise(x, weight, (args.eps, args.roundings), |group, words| normed.store(group, words));
        sync_threads();
        product(&Gemv { outbox: Outbox::NONE, ..*args }, stream, Some(normed));
        grid::first_block_waits_for_dependencies();
    }
}

impl Gemv {
    /// The row and its gates.
    #[inline(always)]
    pub fn gated(&self) -> Option<Gated> {
        // A divisor that may be zero would bring a panic, and its message, into the kernel.
        let pieces = self.k / row::GROUP / NonZero::new(self.norm_groups)?;
        Some(Gated { y: self.x.addr, z: self.gate.addr, weight: self.norm_weight.addr, pieces })
    }
}

/// # Safety
/// The kernel's Requires hold; the whole block comes here.
#[inline(always)]
unsafe fn behind_gated_norm<const QUADS: usize>(args: &Gemv) {
    let Some(row) = args.gated() else { return };
    // SAFETY: the block's warps share the row out, and use it behind a barrier.
    unsafe {
        let weights = row.first_weights::<GATED>(args.norm_groups);
        let stream = Stream::<QUADS, _>::new(*args, Overlap::Waits);
        let first = (weights, row.ask_first(args.norm_groups));
        let normed = behind_the_rings(QUADS as u32);
        row.normalise(args.norm_groups, first, args.eps, |group, words| normed.store(group, words));
        sync_threads();
        product(&Gemv { outbox: Outbox::NONE, ..*args }, stream, Some(normed));
    }
}

/// # Safety
/// The kernel's Requires hold; the whole block comes here.
#[inline(always)]
unsafe fn behind_layer_norm_1p<const QUADS: usize>(args: &Gemv) {
    // SAFETY: the block's threads share the row out, and use it behind a barrier.
    unsafe {
        let parameters = [Row::load(args.norm_weight.addr, args.k), Row::load(args.norm_bias.addr, args.k)];
        let stream = Stream::<QUADS, _>::new(*args, Overlap::of(args));
        let (x, normed) = (Row::load(args.x.addr, args.k), behind_the_rings(QUADS as u32));
        layer_norm_1p::entry::normalise(x, parameters, args.eps, |group, words| normed.store(group, words));
        sync_threads();
        product(&Gemv { outbox: Outbox::NONE, ..*args }, stream, Some(normed));
        grid::first_block_waits_for_dependencies();
    }
}

/// A row in groups of eight elements.
type Normed = Shared<[u32; 4]>;

/// Room for the normalised row.
#[inline(always)]
fn behind_the_rings(quads: u32) -> Normed {
    shared::dynamic::<u8>().offset(WARPS * SLOTS * slot_bytes(quads)).cast()
}

/// # Safety
/// The kernel's Requires hold; the whole block comes here, behind a barrier where the row is `normed`.
#[inline(always)]
unsafe fn product<const QUADS: usize>(args: &Gemv, mut stream: Stream<QUADS, Gemv>, normed: Option<Normed>) {
    let mut sums = Sums::<false>::new(args);
    let mut tile = thread::block_idx_x();
    let rows = Tokens::new(args);
    // SAFETY: tiles and steps are the same for the whole block, so all its threads come to the barriers.
    unsafe {
        // One step ahead of the weights: a step's tokens come from L2 while the one before is multiplied.
        let mut ahead = if normed.is_none() { rows.load(stream.first_group(0)) } else { [[0; 4]; QUADS] };
        while tile < args.tiles() {
            let addends = sums.addends(tile);
            let mut c = [0.0; 4];
            for at in 0..stream.steps {
                let tokens = ahead;
                if normed.is_none() {
                    ahead = rows.load(stream.first_group(if at + 1 == stream.steps { 0 } else { at + 1 }));
                }
                let step = stream.next();
                unroll::<QUADS>(
                    #[inline(always)]
                    |quad| {
                        let group = stream.first_group(at) + quad as u32 * 4 + thread::lane_id() % 4;
                        let tokens = match normed {
                            None => tokens[quad],
                            Some(row) if group < args.k / row::GROUP => row.load(group),
                            Some(_) => [0; 4],
                        };
                        c = multiply(c, step.weights(quad), tokens);
                    },
                );
            }
            sums.finish(tile, c, addends);
            tile += thread::grid_dim_x();
        }
    }
}

/// Adds the products of eight columns of each lane. The tensor core pairs columns by their place in its operands alone,
/// so each lane gives it its eight neighbours as columns of two products, the same of weight and tokens.
///
/// # Safety
/// The whole warp comes here.
#[inline(always)]
pub(crate) unsafe fn multiply(c: [f32; 4], [low, high]: [[u32; 4]; 2], tokens: [u32; 4]) -> [f32; 4] {
    // SAFETY: the whole warp is here.
    unsafe {
        let c = mma::m16n8k16_bf16([low[0], high[0], low[1], high[1]], [tokens[0], tokens[1]], c);
        mma::m16n8k16_bf16([low[2], high[2], low[3], high[3]], [tokens[2], tokens[3]], c)
    }
}
