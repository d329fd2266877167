//! `history_append`: notes which token stands at which position of its sequence, for the penalties.
//!
//! # Formula
//! `history[slots[t], positions[t]] = ids[t] if ids[t] ≥ 0, else sampled[−1 − ids[t]]`
//! A position is written again when it is computed again: what a discarded step or an earlier sequence left is never read.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `ids` | `[rows]` | i32 | token ids; `−1 − slot` stands for `sampled[slot]` |
//! | `sampled` | `[*]` | i32 | the token last chosen for each slot |
//! | `slots` | `[rows]` | i32 | sequence slot of each row; pads name the scrap slot |
//! | `positions` | `[rows]` | i32 | below `context` |
//! | `history` | `[*, context]` | i32 | the named elements are written |
//!
//! # Launch
//! A thread owns a row.
//!
//! # Requires
//! Two rows with one slot and position only for pads.
//!
//! # Moves
//! `rows · 16` bytes.
//!
//! # Numerics
//! Integers: exact.
use crate::kernel::{kernel_args, require};
use crate::{DeviceInfo, Kernel, Launch, Ptr, StepShape};

/// Threads of a block.
const THREADS: u32 = 128;

kernel_args! {
    /// Arguments of `history_append`.
    pub struct HistoryAppend {
        /// `[rows]`.
        pub ids: Ptr<i32>,
        /// `[*]`.
        pub sampled: Ptr<i32>,
        /// `[rows]`: sequence slot.
        pub slots: Ptr<i32>,
        /// `[rows]`.
        pub positions: Ptr<i32>,
        /// `[*, context]`, written at the named elements.
        pub history: Ptr<i32>,
        /// Token rows.
        pub rows: u32,
        /// Row stride of `history`.
        pub context: u32,
    }
}

impl Kernel for HistoryAppend {
    const NAME: &'static str = "history_append";

    fn check(&self) -> Result<(), &'static str> {
        require! { self.rows > 0 && self.context > 0 => "at least one row and one position", }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        Launch::linear(Self::NAME, self.rows.div_ceil(THREADS), THREADS)
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        u64::from(self.rows) * 16
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::HistoryAppend;
    use cuda_std::{global, kernel, thread};

    kernel! {
        /// One row per thread.
        pub fn history_append(args: HistoryAppend) {
            let row = thread::global_index();
            if row < args.rows {
                let at = 4 * u64::from(row);
                let named: i32 = global::load(args.ids.addr + at);
                let id = if named < 0 {
                    global::load(args.sampled.addr + 4 * u64::from((-1 - named).cast_unsigned()))
                } else {
                    named
                };
                let slot: u32 = global::load(args.slots.addr + at);
                let position: u32 = global::load(args.positions.addr + at);
                let place = u64::from(slot) * u64::from(args.context) + u64::from(position);
                global::store(args.history.addr + 4 * place, id);
            }
        }
    }
}
