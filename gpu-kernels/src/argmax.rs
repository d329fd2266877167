//! `argmax`: greedy choice of the next token.
//!
//! # Formula
//! `sampled[slots[l]] = the lowest i with logits[l, i] = max over i of logits[l, i]`
//!
//! `faults[slots[l]]` is [`NOT_A_NUMBER`] if a logit of the row is NaN or +∞, else [`NONE_FINITE`] if all are −∞, else 0.
//! With a fault, `sampled[slots[l]] = 0`: an id like any other for the step that may be in flight behind this one.
//!
//! With an outbox `logits` are the columns of one of several ranks, and each of them is told the best instead: its value, +∞ in place of
//! a NaN, and its id `rank · vocab + i`, 0 with a fault.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `logits` | `[rows, vocab]` | f32 | row-major |
//! | `slots` | `[rows]` | i32 | sequence slot of each row; pads name the scrap slot |
//! | `sampled` | `[*]` | i32 | the named slots are written, without an outbox |
//! | `faults` | `[*]` | i32 | the named slots are written, without an outbox |
//! | `shared` | `[256, 2]` or null | i32 | written: the best of each block of a row |
//! | `counters` | `[64]` or null | i32 | 0 before and after |
//! | `outbox` | or none | | four words of each row are sent to all ranks as packets of the [meeting](crate::all_argmax) behind: value, id, 0, 0 |
//!
//! # Launch
//! Several blocks own a row (`team.rs`), a range of it each; one where `shared` is null. A
//! thread owns every `threads`-th group of 4 neighbours and carries (value, index). A block counts itself when its best is
//! stored, and the last one of a row chooses among those. A thread that meets a NaN carries +∞ from there on, so the best
//! value alone says whether the row has a fault: no further exchange. One that sends lets the kernel behind start only when what is in
//! front of both has ended.
//!
//! # Requires
//! `vocab` at least 1; `logits` 16-byte aligned. Two rows with one slot only for pads. An outbox has room for four words a row, and ids
//! of all ranks are below 2³².
//!
//! # Moves
//! `rows · (vocab · 4 + 12)` bytes. On an H200, one row of 256 000: 3.4 µs, with one block 8.6 (`nemotron bench kernels`).
//!
//! # Numerics
//! Comparisons: exact; the lowest index wins a tie.
use crate::all_reduce::meeting::Outbox;
use crate::kernel::{kernel_args, require};
use crate::{DeviceInfo, Kernel, Launch, Ptr, StepShape, team};

/// The fault of a row in which a logit is NaN or +∞.
pub const NOT_A_NUMBER: i32 = 1;
/// The fault of a row whose logits are all −∞.
pub const NONE_FINITE: i32 = 2;

kernel_args! {
    /// Arguments of `argmax`.
    pub struct Argmax {
        /// `[rows, vocab]`.
        pub logits: Ptr<f32>,
        /// `[rows]`: sequence slot.
        pub slots: Ptr<i32>,
        /// `[*]`, written at the named slots.
        pub sampled: Ptr<i32>,
        /// `[*]`, written at the named slots.
        pub faults: Ptr<i32>,
        /// `[256, 2]` or null: written.
        pub shared: Ptr<i32>,
        /// `[64]` or null: 0 between launches.
        pub counters: Ptr<i32>,
        /// Where the best of each row is sent instead, or [`Outbox::NONE`].
        pub outbox: Outbox,
        /// Rows of logits.
        pub rows: u32,
        /// Width of a row.
        pub vocab: u32,
    }
}

/// Words of a row that are sent.
pub(crate) const SENT_WORDS: u32 = 4;

impl Kernel for Argmax {
    const NAME: &'static str = "argmax";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 && self.vocab > 0 => "at least one row and one token",
            self.shared.is_null() == self.counters.is_null() => "both shared and counters, or neither",
            self.outbox.takes(u64::from(SENT_WORDS) * u64::from(self.rows)) => "an outbox with room for four words a row",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        let blocks = if self.shared.is_null() { 1 } else { team::blocks(self.rows, self.vocab) };
        Launch { grid: [blocks, self.rows, 1], overlaps: true, ..Launch::linear(Self::NAME, 1, 1024) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        u64::from(self.rows) * (u64::from(self.vocab) * 4 + 12)
    }
}

#[cfg(target_arch = "nvptx64")]
pub(crate) mod entry {
    use super::{Argmax, NONE_FINITE, NOT_A_NUMBER, SENT_WORDS};
    use crate::Ptr;
    use core::num::NonZero;
    use cuda_std::{barrier, global, grid, kernel, shared, thread, warp};

    shared! {
        fn argmax_values() -> [f32; 32];
        fn argmax_indices() -> [u32; 32];
    }

    kernel! {
        /// A range of a row per block.
        pub fn argmax(args: Argmax) {
            grid::wait_for_dependencies();
            if args.outbox.sends() {
                grid::launch_dependents();
            }
            let (row, blocks) = (thread::block_idx_y(), thread::grid_dim_x());
            // A divisor that may be zero would bring a panic, and its message, into the kernel.
            let Some(parts) = NonZero::new(blocks) else { return };
            let length = (args.vocab - 1) / parts + 1;
            let start = thread::block_idx_x() * length;
            let length = length.min(args.vocab - start);
            let logits = args.logits.addr + 4 * (u64::from(row) * u64::from(args.vocab) + u64::from(start));
            let mut best = best_of_block(best_of_thread(logits, length));
            best.index += start;
            if thread::warp_id() > 0 {
                return;
            }
            if blocks > 1 {
                let Some(joined) = best_of_team(&args, best) else { return };
                best = joined;
            }
            if args.outbox.sends() {
                send(&args, best);
            } else if thread::lane_id() == 0 {
                best.store(row, [args.slots, args.sampled, args.faults]);
            }
        }
    }

    /// Sends the best of this rank's columns of the block's row: a word from each of four lanes.
    ///
    /// # Safety
    /// The kernel's Requires hold, and the kernel in front has ended.
    #[inline(always)]
    unsafe fn send(args: &Argmax, best: Best) {
        let lane = thread::lane_id();
        if lane >= SENT_WORDS {
            return;
        }
        let id = if best.fault() == 0 { args.outbox.rank * args.vocab + best.index } else { 0 };
        let word = match lane {
            0 => best.value.to_bits(),
            1 => id,
            _ => 0,
        };
        // SAFETY: the caller's promise.
        unsafe { args.outbox.send(args.outbox.epoch(), SENT_WORDS * thread::block_idx_y() + lane, word) };
    }

    /// A logit and its id.
    #[derive(Clone, Copy)]
    pub struct Best {
        pub value: f32,
        pub index: u32,
    }

    impl Best {
        /// Loses against every element, a −∞ too.
        pub const NONE: Best = Best { value: f32::NEG_INFINITY, index: u32::MAX };

        /// The larger one, of equal ones the first.
        #[inline(always)]
        pub fn or(self, other: Best) -> Best {
            let wins = other.value > self.value || (other.value == self.value && other.index < self.index);
            if wins { other } else { self }
        }

        /// What is wrong with the row whose best this is.
        #[inline(always)]
        fn fault(self) -> i32 {
            if self.value == f32::INFINITY {
                NOT_A_NUMBER
            } else if self.value == f32::NEG_INFINITY {
                NONE_FINITE
            } else {
                0
            }
        }

        /// Stores the id and the fault of row `row` in its slot.
        ///
        /// # Safety
        /// The slot is one of `sampled` and `faults`.
        #[inline(always)]
        pub unsafe fn store(self, row: u32, [slots, sampled, faults]: [Ptr<i32>; 3]) {
            // SAFETY: the caller's promise.
            unsafe {
                let slot = 4 * u64::from(global::load::<u32>(slots.addr + 4 * u64::from(row)));
                let fault = self.fault();
                global::store(sampled.addr + slot, if fault == 0 { self.index } else { 0 });
                global::store(faults.addr + slot, fault);
            }
        }

        /// The best with four neighbours from `index` on, all behind those that it knows: on a tie it stays.
        #[inline(always)]
        fn or_later(self, values: [f32; 4], index: u32) -> Best {
            let mut best = self;
            best = if values[0] > best.value { Best { value: values[0], index } } else { best };
            best = if values[1] > best.value { Best { value: values[1], index: index + 1 } } else { best };
            best = if values[2] > best.value { Best { value: values[2], index: index + 2 } } else { best };
            if values[3] > best.value { Best { value: values[3], index: index + 3 } } else { best }
        }
    }

    /// The best of this thread's share: quadruples from the first 16-byte boundary on, and single elements on either side.
    ///
    /// # Safety
    /// `row` is the address of `vocab` written floats.
    #[inline(always)]
    unsafe fn best_of_thread(row: u64, vocab: u32) -> Best {
        let misaligned = (row / 4 % 4) as u32;
        let head = if misaligned == 0 { 0 } else { 4 - misaligned };
        let head = if head < vocab { head } else { vocab };
        let quads = (vocab - head) / 4;
        let threads = thread::block_dim_x();
        let mut quad = thread::thread_idx_x();
        // The first element stands for the share until a larger one comes, so that −∞ everywhere has an index too.
        let first = if quad < quads { head + 4 * quad } else { u32::MAX };
        let mut best = Best { value: f32::NEG_INFINITY, index: first };
        let mut numbers = true;
        // SAFETY: the quadruples are within the row and start at 16-byte boundaries.
        unsafe {
            // Four loads in flight: a single block reads the whole row, so latency is all that counts.
            while quad + 3 * threads < quads {
                let load = |k: u32| global::load::<[f32; 4]>(row + 4 * u64::from(head + 4 * (quad + k * threads)));
                let loaded = [load(0), load(1), load(2), load(3)];
                numbers &= are_numbers(loaded[0]) & are_numbers(loaded[1]);
                numbers &= are_numbers(loaded[2]) & are_numbers(loaded[3]);
                best = best.or_later(loaded[0], head + 4 * quad);
                best = best.or_later(loaded[1], head + 4 * (quad + threads));
                best = best.or_later(loaded[2], head + 4 * (quad + 2 * threads));
                best = best.or_later(loaded[3], head + 4 * (quad + 3 * threads));
                quad += 4 * threads;
            }
            while quad < quads {
                let loaded = global::load(row + 4 * u64::from(head + 4 * quad));
                numbers &= are_numbers(loaded);
                best = best.or_later(loaded, head + 4 * quad);
                quad += threads;
            }
        }
        // At most three elements before the quadruples and three behind; a thread each.
        let single = thread::thread_idx_x();
        let index = if single < head { single } else { single + 4 * quads };
        if index < vocab {
            // SAFETY: the element is within the row.
            let value: f32 = unsafe { global::load(row + 4 * u64::from(index)) };
            numbers &= !value.is_nan();
            best = best.or(Best { value, index });
        }
        // The index stays one of the vocabulary.
        if numbers { best } else { Best { value: f32::INFINITY, ..best } }
    }

    /// Whether none of four neighbours is NaN; infinities show in the best.
    #[inline(always)]
    fn are_numbers(values: [f32; 4]) -> bool {
        let either = |a: f32, b: f32| a.is_nan() | b.is_nan();
        !(either(values[0], values[1]) | either(values[2], values[3]))
    }

    /// The best of all threads, in every thread.
    ///
    /// # Safety
    /// All threads of the block call it together.
    #[inline(always)]
    unsafe fn best_of_block(best: Best) -> Best {
        let (values, indices) = (argmax_values(), argmax_indices());
        // SAFETY: whole warps get here together; each writes its own words, and reads are behind the barrier.
        unsafe {
            let best = best_of_warp(best);
            if thread::lane_id() == 0 {
                values.store(thread::warp_id(), best.value);
                indices.store(thread::warp_id(), best.index);
            }
            barrier::sync_threads();
            let lane = thread::lane_id();
            let partial = if lane < thread::warps_per_block() {
                Best { value: values.load(lane), index: indices.load(lane) }
            } else {
                Best::NONE
            };
            best_of_warp(partial)
        }
    }

    /// The best of the row's blocks, in the one that comes last.
    ///
    /// # Safety
    /// One warp of every block calls it together; the row has several blocks.
    #[inline(always)]
    unsafe fn best_of_team(args: &Argmax, best: Best) -> Option<Best> {
        let (row, blocks, lane) = (thread::block_idx_y(), thread::grid_dim_x(), thread::lane_id());
        let place = |block: u32| args.shared.addr + u64::from(row * blocks + block) * 8;
        // SAFETY: a block stores its own words; the count orders them before what the last one loads.
        unsafe {
            let mut before = 0;
            if lane == 0 {
                global::store(place(thread::block_idx_x()), [best.value.to_bits(), best.index]);
                let counter = args.counters.addr + u64::from(row) * 4;
                before = global::atomic_add(counter, 1);
                if before + 1 == blocks {
                    global::store(counter, 0_u32);
                }
            }
            if warp::shuffle(before, 0) + 1 < blocks {
                return None;
            }
            warp::sync();
            let stored =
                if lane < blocks { global::load(place(lane)) } else { [f32::NEG_INFINITY.to_bits(), u32::MAX] };
            Some(best_of_warp(Best { value: f32::from_bits(stored[0]), index: stored[1] }))
        }
    }

    /// The best of the warp, in every lane.
    ///
    /// # Safety
    /// All 32 lanes call it together.
    #[inline(always)]
    unsafe fn best_of_warp(mut best: Best) -> Best {
        let mut lanes = thread::WARP_SIZE / 2;
        while lanes > 0 {
            // SAFETY: the caller's promise.
            let (value, index) =
                unsafe { (warp::shuffle_xor(best.value, lanes), warp::shuffle_xor(best.index, lanes)) };
            best = best.or(Best { value, index });
            lanes /= 2;
        }
        best
    }
}
