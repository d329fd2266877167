//! The splits of a tile joined inside a cluster: each block adds some of the sums, which the others send it.
//!
//! A tile's sums are shared out by those of a warp for 16 rows of the weight and eight token rows: number u of U belongs to split
//! ⌊u·n/U⌋ of n. There it has the place u·n mod U, and the n − 1 behind it, one for each split: these are a split's own, since its
//! numbers are n apart. The places are those of the rings, which no block needs any more when it has come to the cluster's barrier.
use super::multiply::Sums;
use super::store::{self, Added, Outputs, Parts};
use super::{MAILBOX_BYTES, SUMS, THREADS, WARPS};
use core::num::NonZero;
use cuda_std::cluster::{self, Mailbox};
use cuda_std::shared::{self, Shared};
use cuda_std::unroll::{array, unroll};
use cuda_std::{thread, warp};

/// A sixteen of rows that no weight has: its bias is 0, and nothing is stored for it.
const NOWHERE: u32 = u32::MAX / 32;

/// Which tiles and columns a block of the grid has: the splits of a tile are a cluster, or stand apart.
pub struct Blocks<const CLUSTERED: bool>;

impl<const CLUSTERED: bool> Blocks<CLUSTERED> {
    /// The block's first tile.
    #[inline(always)]
    pub fn tile() -> u32 {
        if CLUSTERED { thread::block_idx_y() } else { thread::block_idx_x() }
    }

    /// How far apart its tiles are.
    #[inline(always)]
    pub fn apart() -> u32 {
        if CLUSTERED { thread::grid_dim_y() } else { thread::grid_dim_x() }
    }

    /// The number of its split, and how many there are.
    #[inline(always)]
    pub fn split() -> [u32; 2] {
        if CLUSTERED {
            [thread::block_idx_x(), thread::grid_dim_x()]
        } else {
            [thread::block_idx_y(), thread::grid_dim_y()]
        }
    }
}

/// The cluster of a block.
pub struct Cluster {
    /// The number of this split, and how many there are.
    split: u32,
    splits: u32,
    /// U is 2 to so many.
    bits: u32,
    /// The block's mailbox: it stands behind the rings.
    mailbox: u32,
}

impl Cluster {
    /// That of a block whose rings have so many bytes; `eights`, a power of two, are the eights of token rows that are multiplied.
    #[inline(always)]
    pub fn of(rings: u32, eights: u32) -> Self {
        const { assert!(MAILBOX_BYTES == cluster::MAILBOX_BYTES) };
        let [split, splits] = Blocks::<true>::split();
        let mailbox = shared::dynamic::<u8>().address() + rings;
        Cluster { split, splits, bits: (WARPS * eights).trailing_zeros(), mailbox }
    }

    /// Opens the mailbox of the block's cluster, as [`Cluster::of`] has it.
    ///
    /// # Safety
    /// The whole block comes here once.
    #[inline(always)]
    pub unsafe fn open(rings: u32, eights: u32) {
        let own = Self::of(rings, eights);
        // It is none of those that ask for weights first.
        if thread::thread_idx_x() == THREADS / 2
            && let Some(count) = NonZero::new(own.splits)
        {
            let first = |split: u32| ((split << own.bits) + count.get() - 1) / count;
            let bytes = (first(own.split + 1) - first(own.split)) * count.get() * SUMS as u32 * 4;
            // SAFETY: nothing else is kept there.
            unsafe { Mailbox(own.mailbox).open(bytes) };
        }
    }

    /// The split that adds sums number `number` of a tile, and which of its places those of the first split have.
    #[inline(always)]
    fn place_of(&self, number: u32) -> (u32, Shared<[f32; 4]>) {
        let scaled = number * self.splits;
        let place = scaled & ((1 << self.bits) - 1);
        (scaled >> self.bits, shared::dynamic().offset(place * thread::WARP_SIZE + thread::lane_id()))
    }

    /// Sends a warp's sums of the tile to the splits that add them, adds those of this one, and stores what they give. The tile begins with
    /// sixteen `first` of the weight's rows, and has `height` of them if not all that a block has warps for.
    ///
    /// # Safety
    /// The kernel's Requires hold; the whole block comes here once, with every split of the tile; its products have ended, and it
    /// has asked for nothing that has not landed.
    #[inline(always)]
    pub unsafe fn join<const TILES: usize>(
        &self,
        to: &Outputs,
        (first, height): (u32, Option<u32>),
        sums: &Sums<TILES>,
    ) {
        // The same for the whole warp; only so does the compiler know it.
        // SAFETY: the whole warp is here.
        let own = unsafe { warp::shuffle(thread::warp_id(), 0) };
        cluster::arrive();
        cluster::wait_for_all();
        unroll::<TILES>(
            #[inline(always)]
            |i| {
                let number = i as u32 * WARPS + own;
                if number >> self.bits == 0 {
                    let (owner, place) = self.place_of(number);
                    let place = place.offset(self.split * thread::WARP_SIZE).address();
                    // SAFETY: the cluster's blocks have opened their mailboxes, and need their rings no more.
                    unsafe {
                        let mailbox = Mailbox(cluster::address_in(owner, self.mailbox));
                        mailbox.send_4(cluster::address_in(owner, place), sums[i]);
                    }
                }
            },
        );
        let mut number = own;
        while number >> self.bits == 0 {
            let (owner, place) = self.place_of(number);
            if owner == self.split {
                // Sums of nothing are waited for too: the block is there until all has come that is sent to it.
                let is_there = height.is_none_or(|height| own < height);
                let at = [if is_there { first + own } else { NOWHERE }, number / WARPS];
                // SAFETY: the mailbox was opened in front of a barrier; then all has come; the caller's promise.
                unsafe {
                    let added = Added::load(to, at);
                    Mailbox(self.mailbox).wait();
                    store::store_eight(to, at, &added, self.sum(place));
                }
            }
            number += WARPS;
        }
    }

    /// What the splits have sent to `place` and behind it, added.
    ///
    /// # Safety
    /// All has come.
    #[inline(always)]
    unsafe fn sum(&self, place: Shared<[f32; 4]>) -> [f32; 4] {
        let parts: Parts = array(
            #[inline(always)]
            |i| {
                // SAFETY: the caller's promise.
                if (i as u32) < self.splits { unsafe { place.load(i as u32 * thread::WARP_SIZE) } } else { [0.0; 4] }
            },
        );
        store::added(&parts, self.splits)
    }
}
