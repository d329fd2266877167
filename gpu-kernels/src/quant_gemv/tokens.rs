//! Token rows on their way to the tensor core in `quant_gemv`: the lanes' groups of eight columns of a step.
use core::marker::PhantomData;

use super::forms::{Form, groups};
use super::ring::Ring;
use crate::gemv::WARPS;
use crate::gemv::stream::Tokens;
use crate::{Gemv, row};
use cuda_std::shared::{self, Shared};
use cuda_std::unroll::{array, unroll};
use cuda_std::{global, thread};

/// Groups of tokens that are asked for before they are used: more take too many registers.
const AHEAD: usize = 4;
/// Groups that a thread has of the longest row that a block copies.
pub const MOST_BROUGHT: usize = 8;

/// The lane's first group of eight columns of the step that begins with column `column`.
#[inline(always)]
fn first_group<F: Form>(column: u32) -> u32 {
    column / row::GROUP + thread::lane_id() % 4 * F::GROUPS as u32
}

/// How far behind the first the `at`-th of them is.
#[inline(always)]
pub const fn group_offset<F: Form>(at: usize) -> u32 {
    ((at / F::GROUPS) * 4 * F::GROUPS + at % F::GROUPS) as u32
}

/// A token row in shared memory, behind the rings: groups of eight elements, paired as the form has it, and zeros behind them
/// to the end of the last step.
#[derive(Clone, Copy)]
pub struct Staged<F> {
    groups: Shared<[u32; 4]>,
    form: PhantomData<F>,
}

impl<F: Form> Staged<F> {
    /// Room for a row of `k` elements; the zeros are there, behind a barrier.
    ///
    /// # Safety
    /// The whole block comes here; nobody uses the room.
    #[inline(always)]
    pub unsafe fn new(k: u32, steps: u32) -> Self {
        let room = shared::dynamic::<u8>().offset(Ring::<F, Gemv, true>::ALL).cast::<[u32; 4]>();
        let share = (thread::thread_idx_x(), thread::block_dim_x());
        // SAFETY: the caller's promise.
        unsafe { Staged::in_room(room, [k / row::GROUP, steps * WARPS * 4 * groups::<F>()], share) }
    }

    /// The same in `room`, of rows of so many groups and steps that end behind so many, by a thread of some.
    ///
    /// # Safety
    /// They all come here; nobody uses the room.
    #[inline(always)]
    pub unsafe fn in_room(room: Shared<[u32; 4]>, [own, all]: [u32; 2], (thread, threads): (u32, u32)) -> Self {
        let mut group = own + thread;
        while group < all {
            // SAFETY: the group is behind the row.
            unsafe { room.store(group, [0; 4]) };
            group += threads;
        }
        Staged { groups: room, form: PhantomData }
    }

    /// Stores a thread's share of a row.
    ///
    /// # Safety
    /// As for [`Staged::store`].
    #[inline(always)]
    pub unsafe fn put<const N: usize>(&self, share: Share<N>, words: [[u32; 4]; N]) {
        unroll::<N>(
            #[inline(always)]
            |i| {
                if share.group(i) < share.groups {
                    // SAFETY: the caller's promise.
                    unsafe { self.store(share.group(i), words[i]) };
                }
            },
        );
    }

    /// Stores eight elements.
    ///
    /// # Safety
    /// The group is of the row; no other thread stores it, and nobody loads it.
    #[inline(always)]
    pub unsafe fn store(&self, group: u32, words: [u32; 4]) {
        // SAFETY: the caller's promise.
        unsafe { self.groups.store(group, F::paired(words)) };
    }

    /// The lane's columns of the step that begins with column `column`.
    #[inline(always)]
    pub fn columns(&self, column: u32) -> Shared<[u32; 4]> {
        self.groups.offset(first_group::<F>(column))
    }
}

/// Up to `N` groups of a row, `apart` from each other.
#[derive(Clone, Copy)]
pub struct Share<const N: usize> {
    /// The first.
    pub first: u32,
    pub apart: u32,
    /// Those of the row: what is not below is not there.
    pub groups: u32,
}

impl<const N: usize> Share<N> {
    #[inline(always)]
    fn group(&self, i: usize) -> u32 {
        self.first + i as u32 * self.apart
    }

    /// Asks for those of the row at `from`, all at once.
    ///
    /// # Safety
    /// The row is written.
    #[inline(always)]
    pub unsafe fn ask(&self, from: u64) -> [[u32; 4]; N] {
        array(
            #[inline(always)]
            |i| {
                let group = self.group(i);
                // SAFETY: the group is within the row.
                if group < self.groups { unsafe { global::load(row::at(from, group)) } } else { [0; 4] }
            },
        )
    }
}

/// The groups of eight columns of a step that a lane multiplies with; what is behind the row is zero.
pub struct Columns<F> {
    /// The address of the first in the lane's token row.
    address: u64,
    /// How many there are from it to the end of the row.
    left: u32,
    form: PhantomData<F>,
}

impl<F: Form> Columns<F> {
    /// Of the step that begins with column `column`.
    #[inline(always)]
    pub fn new(tokens: &Tokens, column: u32) -> Self {
        let first = first_group::<F>(column);
        // Hidden from the compiler, the others' distances are part of the loads.
        let address = thread::hidden(row::at(tokens.row, first));
        Columns { address, left: tokens.groups.saturating_sub(first), form: PhantomData }
    }

    /// Asks for the first ones of the lane's token row.
    ///
    /// # Safety
    /// The token rows are written.
    #[inline(always)]
    pub unsafe fn ask_first(&self) -> [[u32; 4]; AHEAD] {
        // SAFETY: the caller's promise.
        unsafe { [self.ask(0), self.ask(1), self.ask(2), self.ask(3)] }
    }

    /// The `at`-th, in whose place the one `AHEAD` behind it is asked for.
    ///
    /// # Safety
    /// As for [`Columns::ask_first`]; they are taken in their order.
    #[inline(always)]
    pub unsafe fn next(&self, x: &mut [[u32; 4]; AHEAD], at: usize) -> [u32; 4] {
        let own = x[at % AHEAD];
        if ((at + AHEAD) as u32) < groups::<F>() {
            // SAFETY: the caller's promise.
            x[at % AHEAD] = unsafe { self.ask(at + AHEAD) };
        }
        own
    }

    /// Asks for the `at`-th of the lane's token row.
    ///
    /// # Safety
    /// The token rows are written.
    #[inline(always)]
    unsafe fn ask(&self, at: usize) -> [u32; 4] {
        if group_offset::<F>(at) >= self.left {
            return [0; 4];
        }
        // SAFETY: the group is within the row.
        unsafe { global::load(self.address + u64::from(group_offset::<F>(at)) * 16) }
    }
}
