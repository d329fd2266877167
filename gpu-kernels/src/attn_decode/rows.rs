//! A warp's keys and values on their way from memory to the tensor core, through a slot of shared memory that is the warp's own.
//!
//! A lane has pieces of eight neighbouring elements. Sums over the elements of a head go in any order, if queries have the same: so a
//! lane's piece of a key is its part of operand b for two depths of `mma`. A piece each of four values is its part of operand a,
//! transposed, for four times 16 columns: its first four elements are in the upper rows, the others in the lower ones.
use super::form::Form;
use super::layout::row_bytes;
use super::split::{Split, own_lane, own_warp};
use super::{AttnDecode, WARPS};
use crate::cached::{Cached, E4m3, Plain};
use crate::row::GROUP;
use crate::{Kv, Ptr, SPLIT_TOKENS};
use cuda_std::shared;
use cuda_std::unroll::unroll;
use cuda_std::{bf16, codes, cp_async, f16, global, mma, thread, warp};

/// Keys of a warp in a turn.
pub const KEYS: u32 = SPLIT_TOKENS / WARPS;

/// Bytes of a copy.
const COPY: u32 = 16;

/// Eight elements as they are kept.
pub type Piece<E> = <E as Cached>::Of<[u32; 4]>;

/// A kind of element as an operand.
pub trait Operand: Cached {
    /// The row of column `n`, up to 7, of operand b, and of as many rows of the other one: so that lanes which read together find
    /// different banks.
    fn row(n: u32) -> u32;

    /// What weights are multiplied by, so that the operand has small ones too; sums are still to be divided by it.
    const RAISE: f32;

    /// Eight elements, in pairs.
    fn widen(piece: Piece<Self>) -> [u32; 4];

    /// Element `e`, up to 3, of the first or the last four of two pieces, as a pair.
    fn pair(even: Piece<Self>, odd: Piece<Self>, last: bool, e: usize) -> u32;

    /// Two weights times [`Operand::RAISE`], rounded to what meets values.
    fn weights(pair: [f32; 2]) -> u32;

    /// `a · b + c`, as [`mma`] has it.
    ///
    /// # Safety
    /// The whole warp comes here.
    unsafe fn multiply(a: [u32; 4], b: [u32; 2], c: [f32; 4]) -> [f32; 4];
}

/// In bf16.
impl Operand for Plain {
    const RAISE: f32 = 1.0;

    #[inline(always)]
    fn row(n: u32) -> u32 {
        n / 2 + n % 2 * 4
    }

    #[inline(always)]
    fn widen(piece: [u32; 4]) -> [u32; 4] {
        piece
    }

    #[inline(always)]
    fn pair(even: [u32; 4], odd: [u32; 4], last: bool, e: usize) -> u32 {
        let word = e / 2 + if last { 2 } else { 0 };
        codes::permute_by(even[word], odd[word], if e.is_multiple_of(2) { 0x5410 } else { 0x7632 })
    }

    #[inline(always)]
    fn weights(pair: [f32; 2]) -> u32 {
        bf16::pack(pair)
    }

    #[inline(always)]
    unsafe fn multiply(a: [u32; 4], b: [u32; 2], c: [f32; 4]) -> [f32; 4] {
        // SAFETY: the caller's promise.
        unsafe { mma::m16n8k16_bf16(a, b, c) }
    }
}

/// In f16, which the chip makes two codes of at once, and what is no number of such a code.
impl Operand for E4m3 {
    const RAISE: f32 = 16_384.0;

    #[inline(always)]
    fn row(n: u32) -> u32 {
        n
    }

    #[inline(always)]
    fn widen([low, high]: [u32; 2]) -> [u32; 4] {
        [f16::e4m3_lower(low), f16::e4m3_upper(low), f16::e4m3_lower(high), f16::e4m3_upper(high)]
    }

    #[inline(always)]
    fn pair(even: [u32; 2], odd: [u32; 2], last: bool, e: usize) -> u32 {
        let [even, odd] = [even, odd].map(|words| words[usize::from(last)]);
        let two = codes::permute_by(even, odd, if e < 2 { 0x5140 } else { 0x7362 });
        if e.is_multiple_of(2) { f16::e4m3_lower(two) } else { f16::e4m3_upper(two) }
    }

    #[inline(always)]
    fn weights(pair: [f32; 2]) -> u32 {
        f16::pack(pair.map(|weight| weight * Self::RAISE))
    }

    #[inline(always)]
    unsafe fn multiply(a: [u32; 4], b: [u32; 2], c: [f32; 4]) -> [f32; 4] {
        // SAFETY: the caller's promise.
        unsafe { mma::m16n8k16_f16(a, b, c) }
    }
}

/// Keys or values.
pub trait Rows {
    /// Which of both.
    const ARE_KEYS: bool;

    /// Their pool.
    fn pool(args: &AttnDecode) -> Ptr<Kv>;
}

/// Keys: a lane reads pieces of row [`Operand::row`] of its number over 4.
pub struct Keys;

impl Rows for Keys {
    const ARE_KEYS: bool = true;

    #[inline(always)]
    fn pool(args: &AttnDecode) -> Ptr<Kv> {
        args.k_pool
    }
}

/// Values: a lane reads a piece of [`Operand::row`] of twice its number modulo 4, and of the next.
pub struct Values;

impl Rows for Values {
    const ARE_KEYS: bool = false;

    #[inline(always)]
    fn pool(args: &AttnDecode) -> Ptr<Kv> {
        args.v_pool
    }
}

impl<const DIM: u32, E: Operand, F: Form> Split<DIM, E, F> {
    /// Pieces of a row, and bytes of one.
    pub const PIECES: u32 = DIM / GROUP;
    const PIECE: u32 = GROUP * E::BYTES;
    /// Copies of a row.
    const COPIES: u32 = Self::BYTES / COPY;

    /// Where the warp has keys or values, and bytes from a row to the next.
    #[inline(always)]
    fn rows_of<R: Rows>(&self) -> (u32, u32) {
        let place = self.slot(own_warp()) + if R::ARE_KEYS { F::SLOTS.keys_at(DIM, E::FORMAT) } else { 0 };
        (place, row_bytes(E::FORMAT, Self::BYTES)[usize::from(R::ARE_KEYS)])
    }

    /// Asks for the warp's rows in a turn that are there already; the others become zeros.
    ///
    /// # Safety
    /// The whole warp comes here; the place is free.
    #[inline(always)]
    pub unsafe fn ask<R: Rows>(&self, turn: u32) {
        let (keys, base) = (self.older(turn), self.base(turn));
        let (place, apart) = self.rows_of::<R>();
        // SAFETY: the sequence exists.
        let from = R::pool(&self.args).addr + unsafe { self.offset(turn, base) } + u64::from(own_lane() * COPY);
        // SAFETY: only live keys are read.
        unsafe {
            if keys.start == base && keys.end == base + KEYS {
                Self::copy_rows(place, apart, from, |_, to, from| cp_async::copy_16_ahead(to, from));
            } else {
                Self::copy_rows(place, apart, from, |row, to, from| {
                    let bytes = if keys.contains(&(base + row)) { COPY } else { 0 };
                    cp_async::copy_16_or_zero(to, from, bytes);
                });
            }
        }
    }

    /// Asks for the rows of the first turn in which the warp has a live key, if there is one: keys, and values where they have a place.
    ///
    /// # Safety
    /// The whole warp comes here.
    #[inline(always)]
    pub unsafe fn ask_first(&self) {
        let turn = match () {
            () if self.warp_lives(0) => 0,
            () if self.warp_lives(1) => 1,
            () => return,
        };
        // SAFETY: nothing is there yet.
        unsafe {
            self.ask::<Keys>(turn);
            cp_async::commit();
            if !F::SLOTS.compact {
                self.ask::<Values>(turn);
            }
            cp_async::commit();
        }
    }

    /// Calls `copy` with the row and both addresses for each of the lane's copies of the warp's rows, which are neighbours in memory.
    #[inline(always)]
    fn copy_rows(place: u32, apart: u32, from: u64, copy: impl Fn(u32, u32, u64)) {
        let lane = own_lane();
        unroll::<32>(
            #[inline(always)]
            |i| {
                let i = i as u32;
                if i < KEYS * Self::COPIES / thread::WARP_SIZE {
                    let number = lane + i * thread::WARP_SIZE;
                    let (row, part) = (number / Self::COPIES, number % Self::COPIES);
                    let from = from + u64::from(i * thread::WARP_SIZE * COPY);
                    copy(row, place + row * apart + part * COPY, from);
                }
            },
        );
    }

    /// Puts the fresh key, or its value, in its place, and in the pool where that is the block's to do.
    ///
    /// # Safety
    /// The whole warp comes here, whose key of this turn it is, and whose copies have landed; behind a barrier, it is there.
    #[inline(always)]
    pub unsafe fn add_fresh<R: Rows>(&self, turn: u32) {
        let (place, apart) = self.rows_of::<R>();
        let fresh = thread::anew(self.fresh);
        let place = place + (fresh - self.base(turn)) * apart;
        // SAFETY: the sequence exists.
        let kept = R::pool(&self.args).addr + unsafe { self.offset(turn, fresh) };
        // SAFETY: it is there.
        let [.., is_first] = unsafe { self.kept().load(0) };
        let mut i = own_lane();
        while i < Self::COPIES {
            let from = self.fresh_rows() + if R::ARE_KEYS { 0 } else { Self::BYTES } + i * COPY;
            // SAFETY: the piece is the lane's own.
            unsafe {
                let elements: [u32; 4] = shared::Word::load(from);
                shared::Word::store(place + i * COPY, elements);
                if is_first > 0 {
                    global::store(kept + u64::from(i * COPY), elements);
                }
            }
            i += thread::WARP_SIZE;
        }
        // SAFETY: the whole warp is here.
        unsafe { warp::sync() };
    }

    /// Where piece `piece` of row `row` is.
    #[inline(always)]
    pub fn piece_at<R: Rows>(&self, row: u32, piece: u32) -> u32 {
        self.rows_of::<R>().0 + Self::between::<R>(row, piece)
    }

    /// Bytes from a piece to the one that is so many rows and pieces further on.
    #[inline(always)]
    pub fn between<R: Rows>(rows: u32, pieces: u32) -> u32 {
        rows * row_bytes(E::FORMAT, Self::BYTES)[usize::from(R::ARE_KEYS)] + pieces * Self::PIECE
    }
}
