//! What becomes of a tile's sums in `gemv`.
use super::{Gemv, TILE, WARPS};
use crate::activation::{RELU2, SWIGLU};
use crate::relu2::entry::relu2_of;
use crate::swiglu::entry::gated;
use crate::{GEMV_MAX_ROWS, Ptr, Role};
use cuda_std::barrier::{arrive_named, sync_named, sync_threads};
use cuda_std::unroll::unroll;
use cuda_std::{bf16, fragment, global, shared, thread};

/// Sums of one warp.
const SUMS: u32 = TILE * GEMV_MAX_ROWS;

shared! {
    fn gemv_sums() -> [f32; 2 * (WARPS * SUMS) as usize];
}

/// Where the warps' sums meet: two places by turns, so that one barrier to a tile is enough.
///
/// Of a `LONE` token row, the outputs of a tile are one warp's, those of the next tile the next warp's, and it alone waits for the other
/// warps' sums. Those have eight places by turns: before a warp comes to a place again it has had a turn of its own since, and has waited
/// there until all were done with the place.
pub struct Sums<const LONE: bool> {
    args: Gemv,
    place: u32,
    /// The warp's rank among those that share a tile, in whose order their sums are joined.
    pub rank: u32,
}

/// What is added to a thread's output, requested before the sums are there.
pub struct Addends {
    bias: [f32; 2],
    residual: f32,
    /// What the output is sent with.
    epoch: u32,
}

impl<const LONE: bool> Sums<LONE> {
    #[inline(always)]
    pub fn new(args: &Gemv) -> Self {
        Sums { args: *args, place: 0, rank: thread::warp_id() }
    }

    /// Row in the tile and token of the output that this thread stores.
    #[inline(always)]
    fn own(&self) -> (u32, u32) {
        // Anew where few threads need it, so that it takes no registers of the steps.
        let thread = if LONE { thread::anew(thread::lane_id()) } else { thread::thread_idx_x() };
        // Not by division: it is one of two constants.
        match self.args.tile_width() {
            TILE => (thread % TILE, thread / TILE),
            _ => (thread % (TILE / 2), thread / (TILE / 2)),
        }
    }

    /// Whether the warp stores outputs of the tile whose sums go to this place.
    #[inline(always)]
    fn is_its_turn(&self) -> bool {
        !LONE || self.place == thread::warp_id()
    }

    /// The column of the output that this thread stores of a tile, if any.
    #[inline(always)]
    fn column(&self, tile: u32) -> Option<u32> {
        let (row, token) = self.own();
        let column = tile * self.args.tile_width() + row;
        (self.is_its_turn() && token < self.args.rows && column < self.args.width()).then_some(column)
    }

    /// Requests what is added to the thread's output.
    ///
    /// # Safety
    /// The kernel's Requires hold.
    #[inline(always)]
    pub unsafe fn addends(&self, tile: u32) -> Addends {
        let args = &self.args;
        let mut addends = Addends { bias: [0.0; 2], residual: 0.0, epoch: 0 };
        if let Some(column) = self.column(tile) {
            // SAFETY: the column exists; a gate has another beside it.
            unsafe {
                if !args.bias.is_null() {
                    addends.bias[0] = element(args.bias, u64::from(column));
                    if args.activation == SWIGLU {
                        addends.bias[1] = element(args.bias, u64::from(column + args.width()));
                    }
                }
                if !args.residual.is_null() {
                    addends.residual = element(args.residual, self.at(column));
                }
                if args.outbox.sends() {
                    addends.epoch = args.outbox.epoch();
                }
            }
        }
        addends
    }

    /// Index of the thread's output.
    #[inline(always)]
    fn at(&self, column: u32) -> u64 {
        // A lone row is the first.
        let token = if LONE { 0 } else { self.own().1 };
        u64::from(token) * u64::from(self.args.width()) + u64::from(column)
    }

    /// Joins the warps' sums `c` of a tile and stores the outputs.
    ///
    /// # Safety
    /// The whole block comes here.
    #[inline(always)]
    pub unsafe fn finish(&mut self, tile: u32, c: [f32; 4], addends: Addends) {
        // SAFETY: the caller's promise.
        unsafe {
            if LONE {
                self.finish_alone(tile, c, addends);
            } else {
                self.finish_together(tile, c, addends);
            }
        }
    }

    /// # Safety
    /// As for [`Sums::finish`].
    #[inline(always)]
    unsafe fn finish_together(&mut self, tile: u32, c: [f32; 4], addends: Addends) {
        let sums = gemv_sums().offset(self.place * WARPS * SUMS);
        let own = sums.offset(self.rank * SUMS).cast::<[f32; 2]>();
        // SAFETY: each thread has its own words, and what is read lies behind the barrier.
        unsafe {
            unroll::<2>(|i| {
                let (row, token) = fragment::c_element(thread::lane_id(), 2 * i as u32);
                own.store((row * GEMV_MAX_ROWS + token) / 2, [c[2 * i], c[2 * i + 1]]);
            });
            sync_threads();
            let (_, token) = self.own();
            self.emit(tile, |w, row| sums.load(w * SUMS + row * GEMV_MAX_ROWS + token), addends);
        }
        self.place = 1 - self.place;
    }

    /// # Safety
    /// As for [`Sums::finish`].
    #[inline(always)]
    unsafe fn finish_alone(&mut self, tile: u32, c: [f32; 4], addends: Addends) {
        let sums = gemv_sums().offset(self.place * WARPS * TILE);
        // Barrier 0 is `sync_threads`'s.
        let barrier = 1 + self.place;
        // SAFETY: as in `finish_together`; whose turn it is is the same for the whole warp.
        unsafe {
            unroll::<2>(|i| {
                let (row, token) = fragment::c_element(thread::lane_id(), 2 * i as u32);
                if token == 0 {
                    sums.store(self.rank * TILE + row, c[2 * i]);
                }
            });
            if self.is_its_turn() {
                sync_named(barrier, WARPS * 32);
                self.emit(tile, |w, row| sums.load(w * TILE + row), addends);
            } else {
                arrive_named(barrier, WARPS * 32);
            }
        }
        self.place = (self.place + 1) % WARPS;
    }

    /// Stores the thread's output of a tile, if any, of what `of_warp(warp, row)` gives.
    ///
    /// # Safety
    /// The kernel's Requires hold.
    #[inline(always)]
    unsafe fn emit(&self, tile: u32, of_warp: impl Fn(u32, u32) -> f32, addends: Addends) {
        let (Some(column), (row, _)) = (self.column(tile), self.own()) else { return };
        let sum = |row: u32| {
            let mut sum = 0.0;
            unroll::<{ WARPS as usize }>(|w| sum += of_warp(w as u32, row));
            sum
        };
        // SAFETY: the column is this thread's alone.
        unsafe {
            let first = sum(row) + addends.bias[0];
            let args = &self.args;
            if args.y.is_null() {
                let sum = first + addends.residual;
                if args.outbox.sends() {
                    return args.outbox.send(addends.epoch, self.at(column) as u32, sum.to_bits());
                }
                return global::store(args.y_f32.addr + self.at(column) * 4, sum);
            }
            let value = match args.activation {
                RELU2 => relu2_of(bf16::round(first)),
                SWIGLU => gated(bf16::round(first), bf16::round(sum(row + TILE / 2) + addends.bias[1])),
                _ if args.residual.is_null() => first,
                _ => addends.residual + bf16::round(first),
            };
            global::store(args.y.addr + self.at(column) * 2, bf16::from_f32(value));
        }
    }
}

/// An element of two bytes.
///
/// # Safety
/// It exists, and no other thread writes it.
#[inline(always)]
unsafe fn element(from: Ptr<impl Role>, index: u64) -> f32 {
    // SAFETY: the caller's promise.
    bf16::to_f32(unsafe { global::load(from.addr + index * 2) })
}
