//! The way of a chunk's inputs to shared memory, asked for by the threads that take S along.
use super::{COLUMNS, PIECES, Stage, place};
use crate::ssm::CHUNK;
use crate::ssm_scan::span::Span;
use crate::ssm_scan::{SsmScan, WGMMA_SIZE};
use cuda_std::unroll::unroll;
use cuda_std::{cp_async, wgmma};

/// Threads that ask.
pub const THREADS: u32 = 2 * wgmma::THREADS;

/// Where the rows of a chunk's operand are.
#[derive(Clone, Copy)]
struct Source {
    /// The slot's first row of the ring.
    ring: u64,
    ring_stride: u32,
    /// Its columns in the first row of `xbc`.
    rows: u64,
}

/// Where a head's inputs are.
pub struct Inputs {
    b: Source,
    c: Source,
    x: Source,
    /// Elements of a row of `xbc`.
    stride: u32,
    /// The number of this thread among [`THREADS`].
    thread: u32,
}

impl Inputs {
    #[inline(always)]
    pub fn new<const DIM: u32>(args: &SsmScan, span: &Span, thread: u32) -> Inputs {
        let mixer = args.mixer();
        let (inner, shared) = (mixer.inner(), mixer.shared());
        let group = mixer.group(span.head) * WGMMA_SIZE;
        let ring_b = u64::from(2 * span.slot * CHUNK) * u64::from(shared) + u64::from(group);
        let ring_x = u64::from(span.slot * CHUNK) * u64::from(inner) + u64::from(span.head * DIM);
        let rows = |column: u32| args.xbc.addr + 2 * u64::from(column);
        let b = Source { ring: args.ring_b.addr + 2 * ring_b, ring_stride: shared, rows: rows(inner + group) };
        // Before the span no output is asked for: any C will do.
        let c = Source { rows: rows(inner + shared + group), ..b };
        let x = Source { ring: args.ring_x.addr + 2 * ring_x, ring_stride: inner, rows: rows(span.head * DIM) };
        Inputs { b, c, x, stride: mixer.conv_dim(), thread }
    }

    /// Starts this thread's copies of a chunk's inputs, those before the span from the ring, where only the `FIRST` ones
    /// begin. Behind the span the last token's stand: with a Δ of 0 they count for nothing.
    ///
    /// # Safety
    /// The kernel's Requires hold; the kernel in front has ended; nobody reads the stage.
    #[inline(always)]
    pub unsafe fn ask<const DIM: u32, const FIRST: bool>(&self, span: &Span, stage: &Stage, chunk: u32) {
        const WIDE: u32 = WGMMA_SIZE / 8;
        // The rings of B hold two chunks, those of x one.
        let entry = chunk % 2 * CHUNK;
        // SAFETY: the caller's promise.
        unsafe {
            self.copy::<WIDE, 0, 4, FIRST>(span, (&self.b, entry), stage.b, chunk);
            self.copy::<WIDE, 0, 4, FIRST>(span, (&self.c, entry), stage.c, chunk);
            self.copy::<PIECES, 0, 2, FIRST>(span, (&self.x, 0), stage.x, chunk);
            if DIM > COLUMNS && self.thread < 2 * CHUNK {
                self.copy::<2, PIECES, 1, FIRST>(span, (&self.x, 0), stage.x, chunk);
            }
        }
    }

    /// Copies `COUNT` pieces of each row, from piece `BEGIN` on: `SHARES` to a thread.
    ///
    /// # Safety
    /// As for [`Inputs::ask`].
    #[inline(always)]
    unsafe fn copy<const COUNT: u32, const BEGIN: u32, const SHARES: usize, const FIRST: bool>(
        &self,
        span: &Span,
        (from, begin): (&Source, u32),
        to: u32,
        chunk: u32,
    ) {
        let (first, piece) = (self.thread / COUNT, BEGIN + self.thread % COUNT);
        unroll::<SHARES>(
            #[inline(always)]
            |share| {
                let entry = first + share as u32 * (THREADS / COUNT);
                let position = chunk * CHUNK + entry;
                let start = if FIRST && position < span.position {
                    from.ring + 2 * u64::from(begin + entry) * u64::from(from.ring_stride)
                } else {
                    let row = span.row_at(position.min(span.end - 1));
                    from.rows + 2 * u64::from(row) * u64::from(self.stride)
                };
                // SAFETY: an entry of the ring, or a row of the span.
                unsafe { cp_async::copy_16(to + place(CHUNK, entry, piece), start + 16 * u64::from(piece)) };
            },
        );
    }
}
