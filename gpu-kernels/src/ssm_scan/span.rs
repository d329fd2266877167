//! A sequence's new tokens for a head, and the way of a chunk's inputs to shared memory.
use super::{SsmScan, THREADS, stage_bytes, state_bytes, stride};
use crate::row::GROUP;
use crate::ssm::arithmetic::{integer, number};
use crate::ssm::{CHUNK, divide};
use cuda_std::shared::{self, Shared};
use cuda_std::{cp_async, thread};

/// A head of a sequence's new tokens.
pub struct Span {
    /// The first row.
    pub row: u32,
    pub slot: u32,
    pub head: u32,
    /// Position of the first token, and the position behind the last.
    pub position: u32,
    pub end: u32,
    /// The chunk that the state stands in front of.
    pub front: u32,
}

impl Span {
    /// The span of the block; none if its sequence adds one token or none.
    ///
    /// # Safety
    /// The kernel's Requires hold.
    #[inline(always)]
    pub unsafe fn of_block(args: &SsmScan) -> Option<Span> {
        let (head, sequence) = (thread::block_idx_x(), thread::block_idx_y());
        // SAFETY: the lists have an element for each sequence; the chunk's number is the block's own.
        unsafe {
            let row = integer(args.row_start, sequence) as u32;
            let rows = integer(args.row_start, sequence + 1) as u32 - row;
            let slot = integer(args.slots, sequence);
            if rows < 2 || slot < 0 {
                return None;
            }
            let (slot, end) = (slot as u32, integer(args.lengths, sequence) as u32);
            let position = end - rows;
            let mut front = position / CHUNK;
            let begins = position.is_multiple_of(CHUNK) && front > 0;
            if begins && integer(args.chunk, slot * args.heads + head) == front as i32 - 1 {
                front -= 1;
            }
            Some(Span { row, slot, head, position, end, front })
        }
    }

    /// The same with what `number` makes of each number.
    #[inline(always)]
    pub fn map(self, number: impl Fn(u32) -> u32) -> Span {
        let [row, slot, head, position, end, front] =
            [self.row, self.slot, self.head, self.position, self.end, self.front].map(number);
        Span { row, slot, head, position, end, front }
    }

    /// The row of the token at a position that is not before the first.
    #[inline(always)]
    pub fn row_at(&self, position: u32) -> u32 {
        self.row + position - self.position
    }

    /// Whether all tokens of a chunk are known.
    #[inline(always)]
    pub fn completes(&self, chunk: u32) -> bool {
        (chunk + 1) * CHUNK <= self.end
    }
}

/// Shared memory.
pub struct Room {
    /// `[head_dim, stride(state_size)]`.
    pub state: Shared<f32>,
    stages: Shared<u8>,
    /// `[2, 2, CHUNK]`: Δ and sums of the even and of the odd chunks.
    numbers: Shared<f32>,
}

/// A chunk's inputs in shared memory.
pub struct Stage {
    /// `[CHUNK, stride(state_size)]`.
    pub b: Shared<u16>,
    /// As `b`.
    pub c: Shared<u16>,
    /// `[CHUNK, stride(head_dim)]`.
    pub x: Shared<u16>,
    /// `[CHUNK]`: Δ.
    pub widths: Shared<f32>,
    /// `[CHUNK]`: the sums of Δ·A.
    pub sums: Shared<f32>,
}

impl Room {
    #[inline(always)]
    pub fn new(args: &SsmScan, stages: u32) -> Room {
        let (dim, size) = (args.head_dim, args.state_size);
        let state = shared::dynamic::<u8>();
        let first = state.offset(state_bytes(dim, size));
        let numbers = first.offset(stages * stage_bytes(dim, size)).cast::<f32>();
        Room { state: state.cast(), stages: first, numbers }
    }

    /// The place of a chunk among `stages`.
    #[inline(always)]
    pub fn stage(&self, args: &SsmScan, chunk: u32, stages: u32) -> Stage {
        let (dim, size) = (args.head_dim, args.state_size);
        let b = self.stages.offset(divide(chunk, stages).1 * stage_bytes(dim, size)).cast::<u16>();
        let c = b.offset(CHUNK * stride(size));
        let widths = self.numbers.offset(chunk % 2 * 2 * CHUNK);
        Stage { b, c, x: c.offset(CHUNK * stride(size)), widths, sums: widths.offset(CHUNK) }
    }
}

/// Asks for S, or fills its place with zeros in front of chunk 0.
///
/// # Safety
/// The kernel's Requires hold; the kernel in front has ended.
#[inline(always)]
pub unsafe fn ask_for_state(args: &SsmScan, span: &Span, room: &Room) {
    let quads = args.state_size / 4;
    let mut piece = thread::thread_idx_x();
    while piece < args.head_dim * quads {
        let to = room.state.offset(divide(piece, quads).0 * stride(args.state_size) + divide(piece, quads).1 * 4);
        // SAFETY: the head's own state.
        unsafe {
            if span.front > 0 {
                cp_async::copy_16(to.address(), state_address(args, span) + 16 * u64::from(piece));
            } else {
                to.cast::<[f32; 4]>().store(0, [0.0; 4]);
            }
        }
        piece += THREADS;
    }
}

/// Where the head's state begins.
#[inline(always)]
pub fn state_address(args: &SsmScan, span: &Span) -> u64 {
    let head = u64::from(span.slot * args.heads + span.head);
    args.state.addr + 4 * head * u64::from(args.head_dim) * u64::from(args.state_size)
}

/// Asks for a chunk's inputs, those before the span from the ring, where only the `FIRST` ones begin. Behind the span the last
/// token's stand: with a Δ of 0 they count for nothing.
///
/// # Safety
/// The kernel's Requires hold; the kernel in front has ended; nobody reads the stage.
#[inline(always)]
pub unsafe fn ask_for_chunk<const FIRST: bool>(args: &SsmScan, span: &Span, stage: &Stage, chunk: u32) {
    let mixer = args.mixer();
    let (inner, shared) = (mixer.inner(), mixer.shared());
    let group = mixer.group(span.head) * args.state_size;
    let ring_b = u64::from((2 * span.slot + chunk % 2) * CHUNK) * u64::from(shared) + u64::from(group);
    let ring_x = u64::from(span.slot * CHUNK) * u64::from(inner) + u64::from(span.head * args.head_dim);
    let b = Source { ring: args.ring_b.addr + 2 * ring_b, ring_stride: shared, column: inner + group };
    // Before the span no output is asked for: any C will do.
    let c = Source { column: inner + shared + group, ..b };
    let x = Source { ring: args.ring_x.addr + 2 * ring_x, ring_stride: inner, column: span.head * args.head_dim };
    // SAFETY: the caller's promise.
    unsafe {
        ask_for_rows::<FIRST>(args, span, chunk, (&b, args.state_size), stage.b);
        ask_for_rows::<FIRST>(args, span, chunk, (&c, args.state_size), stage.c);
        ask_for_rows::<FIRST>(args, span, chunk, (&x, args.head_dim), stage.x);
    }
}

/// Where the rows of a chunk's operand are.
#[derive(Clone, Copy)]
struct Source {
    /// The first row of the chunk in the ring.
    ring: u64,
    ring_stride: u32,
    /// Of a row of `xbc`.
    column: u32,
}

/// # Safety
/// As for [`ask_for_chunk`].
#[inline(always)]
unsafe fn ask_for_rows<const FIRST: bool>(
    args: &SsmScan,
    span: &Span,
    chunk: u32,
    (from, width): (&Source, u32),
    to: Shared<u16>,
) {
    let groups = width / GROUP;
    let mut piece = thread::thread_idx_x();
    while piece < CHUNK * groups {
        let (entry, rest) = divide(piece, groups);
        let column = rest * GROUP;
        let position = chunk * CHUNK + entry;
        let (start, column_at) = if FIRST && position < span.position {
            (from.ring + 2 * u64::from(entry) * u64::from(from.ring_stride), column)
        } else {
            let row = span.row_at(position.min(span.end - 1));
            (args.xbc.addr + 2 * u64::from(row) * u64::from(args.mixer().conv_dim()), from.column + column)
        };
        let to = to.offset(entry * stride(width) + column).address();
        // SAFETY: an entry of the ring, or a row of the span.
        unsafe { cp_async::copy_16(to, start + 2 * u64::from(column_at)) };
        piece += THREADS;
    }
}

/// Δ of the two entries of a chunk that this lane sums up; 0 behind the span.
///
/// # Safety
/// As for [`ask_for_chunk`].
#[inline(always)]
pub unsafe fn widths<const FIRST: bool>(args: &SsmScan, span: &Span, chunk: u32) -> [f32; 2] {
    [0, 1].map(|i| {
        let entry = 2 * thread::lane_id() + i;
        let position = chunk * CHUNK + entry;
        // SAFETY: an entry of the ring, or a row of the span.
        unsafe {
            if FIRST && position < span.position {
                number(args.ring_dt, (span.slot * CHUNK + entry) * args.heads + span.head)
            } else if position < span.end {
                number(args.dt, span.row_at(position) * args.heads + span.head)
            } else {
                0.0
            }
        }
    })
}
