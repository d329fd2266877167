//! What `ssm_scan` leaves behind a span: state, ring, window, and zeros in rows of nobody.
use super::span::{Room, Span, state_address};
use super::{SsmScan, THREADS, stride};
use crate::row::GROUP;
use crate::ssm::arithmetic::integer;
use crate::ssm::{CHUNK, TAPS, WINDOW, divide};
use cuda_std::{global, grid, thread};

/// Stores S as it is in shared memory.
///
/// # Safety
/// The whole block comes here, behind a barrier.
#[inline(always)]
pub unsafe fn store_state(args: &SsmScan, span: &Span, room: &Room) {
    let quads = args.state_size / 4;
    let mut piece = thread::thread_idx_x();
    while piece < args.head_dim * quads {
        let from = room
            .state
            .offset(divide(piece, quads).0 * stride(args.state_size) + divide(piece, quads).1 * 4)
            .cast::<[f32; 4]>();
        // SAFETY: the head's own state.
        unsafe { global::store(state_address(args, span) + 16 * u64::from(piece), from.load(0)) };
        piece += THREADS;
    }
}

/// Some columns of rows.
#[derive(Clone, Copy)]
struct Columns {
    start: u64,
    stride: u32,
    first: u32,
}

impl Columns {
    #[inline(always)]
    fn address(&self, row: u32, column: u32) -> u64 {
        self.start + 2 * (u64::from(row) * u64::from(self.stride) + u64::from(self.first + column))
    }
}

/// Copies `width` columns of the tokens at positions `first .. span.end`, from rows of the step to rows of a ring of
/// `entries`.
///
/// # Safety
/// The kernel's Requires hold; nobody else touches the target.
#[inline(always)]
unsafe fn copy(span: &Span, (first, width): (u32, u32), from: Columns, to: Columns, (slot_row, entries): (u32, u32)) {
    let groups = width / GROUP;
    let mut piece = thread::thread_idx_x();
    while piece < (span.end - first) * groups {
        let (row, rest) = divide(piece, groups);
        let (position, column) = (first + row, rest * GROUP);
        // SAFETY: the caller's promise.
        unsafe {
            let words: [u32; 4] = global::load(from.address(span.row_at(position), column));
            global::store(to.address(slot_row + divide(position, entries).1, column), words);
        }
        piece += thread::block_dim_x();
    }
}

/// Stores what later steps of the sequence read, but S.
///
/// # Safety
/// The whole block comes here, behind a barrier, when it has read what was there.
#[inline(always)]
pub unsafe fn store_tokens(args: &SsmScan, span: &Span) {
    let mixer = args.mixer();
    let (inner, dim, size) = (mixer.inner(), args.head_dim, args.state_size);
    let first = (span.end / CHUNK * CHUNK).max(span.position);
    let rows = |column| Columns { start: args.xbc.addr, stride: mixer.conv_dim(), first: column };
    let group = mixer.group(span.head) * size;
    // SAFETY: the caller's promise; x, Δ and the chunk's number are the block's own.
    unsafe {
        let to = Columns { start: args.ring_x.addr, stride: inner, first: span.head * dim };
        copy(span, (first, dim), rows(span.head * dim), to, (span.slot * CHUNK, CHUNK));
        store_numbers(args, span, first);
        store_window(args, span, (span.head * dim, dim));
        if span.head.is_multiple_of(mixer.sharing()) {
            store_window(args, span, (inner + group, size));
            store_window(args, span, (inner + mixer.shared() + group, size));
        }
        // Where nothing is left of B to store, nobody needs to know who ends last.
        if first < span.end && is_last_of_group(args, span) {
            let to = Columns { start: args.ring_b.addr, stride: mixer.shared(), first: group };
            copy(span, (first, size), rows(inner + group), to, (2 * span.slot * CHUNK, 2 * CHUNK));
        }
    }
}

/// Δ of the tokens from `first` on, and the chunk that the state stands in front of.
///
/// # Safety
/// As for [`store_tokens`].
#[inline(always)]
unsafe fn store_numbers(args: &SsmScan, span: &Span, first: u32) {
    let position = first + thread::thread_idx_x();
    // SAFETY: words of the block's own.
    unsafe {
        if position < span.end {
            let width: f32 = global::load(args.dt.addr + 4 * u64::from(span.row_at(position) * args.heads + span.head));
            let entry = (span.slot * CHUNK + position % CHUNK) * args.heads + span.head;
            global::store(args.ring_dt.addr + 4 * u64::from(entry), width);
        }
        if thread::thread_idx_x() == 0 {
            global::store(args.chunk.addr + 4 * u64::from(span.slot * args.heads + span.head), span.end / CHUNK);
        }
    }
}

/// Some channels of the convolution's inputs: of the tokens of the last chunk, and of what a repeated one reads in front of it.
///
/// # Safety
/// As for [`store_tokens`].
#[inline(always)]
unsafe fn store_window(args: &SsmScan, span: &Span, (channel, width): (u32, u32)) {
    let mixer = args.mixer();
    // The sequence does not go back to in front of the chunk in which it ends.
    let first = span.position.max((span.end / CHUNK * CHUNK).saturating_sub(TAPS - 1));
    let from = Columns { start: args.zxbcdt.addr, stride: args.stride, first: mixer.inner() + channel };
    let to = Columns { start: args.window.addr, stride: mixer.conv_dim(), first: channel };
    // SAFETY: the caller's promise.
    unsafe { copy(span, (first, width), from, to, (span.slot * WINDOW, WINDOW)) };
}

/// Whether all other blocks of the group's heads have read what they read of B.
///
/// # Safety
/// As for [`store_tokens`].
#[inline(always)]
unsafe fn is_last_of_group(args: &SsmScan, span: &Span) -> bool {
    let counter = thread::block_idx_y() * args.groups + args.mixer().group(span.head);
    // SAFETY: the caller's promise; as many blocks count as heads share B.
    unsafe { grid::arrives_last(args.counters.addr + 4 * u64::from(counter), args.mixer().sharing()) }
}

/// Fills the head's columns of every so many tiles that belong to no sequence.
///
/// # Safety
/// The kernel's Requires hold; the kernel in front has ended.
#[inline(always)]
pub unsafe fn fill_pads(args: &SsmScan) {
    let (head, inner) = (thread::block_idx_x(), args.mixer().inner());
    let mut tile = thread::block_idx_y();
    while tile < args.tiles {
        // SAFETY: rows of the tile, which nobody else writes.
        unsafe {
            if integer(args.tile_sequence, tile) < 0 {
                let (row, groups) = (integer(args.tile_row, tile) as u32, args.head_dim / GROUP);
                let mut piece = thread::thread_idx_x();
                while piece < integer(args.tile_rows, tile) as u32 * groups {
                    let at = u64::from(row + divide(piece, groups).0) * u64::from(inner);
                    let at = at + u64::from(head * args.head_dim + divide(piece, groups).1 * GROUP);
                    global::store(args.y.addr + 2 * at, [0_u32; 4]);
                    piece += thread::block_dim_x();
                }
            }
        }
        tile += args.sequences;
    }
}
