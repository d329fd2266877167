//! `argmax`: greedy choice of the next token.
//!
//! # Formula
//! `sampled[slots[l]] = the lowest i with logits[l, i] = max over i of logits[l, i]`
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `logits` | `[rows, vocab]` | f32 | row-major |
//! | `slots` | `[rows]` | i32 | sequence slot of each row; pads name the scrap slot |
//! | `sampled` | `[*]` | i32 | the named slots are written |
//!
//! # Launch
//! A block owns a row; a thread owns every `threads`-th group of 4 neighbours and carries (value, index).
//!
//! # Requires
//! `vocab` at least 1; logits are numbers; `logits` 16-byte aligned. Two rows with one slot only for pads.
//!
//! # Moves
//! `rows · (vocab · 4 + 8)` bytes.
//!
//! # Numerics
//! Comparisons: exact; the lowest index wins a tie.
use crate::kernel::{kernel_args, require};
use crate::{DeviceInfo, Kernel, Launch, Ptr, StepShape};

kernel_args! {
    /// Arguments of `argmax`.
    pub struct Argmax {
        /// `[rows, vocab]`.
        pub logits: Ptr<f32>,
        /// `[rows]`: sequence slot.
        pub slots: Ptr<i32>,
        /// `[*]`, written at the named slots.
        pub sampled: Ptr<i32>,
        /// Rows of logits.
        pub rows: u32,
        /// Width of a row.
        pub vocab: u32,
    }
}

impl Kernel for Argmax {
    const NAME: &'static str = "argmax";

    fn check(&self) -> Result<(), &'static str> {
        require! { self.rows > 0 && self.vocab > 0 => "at least one row and one token", }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        Launch::linear(Self::NAME, self.rows, 1024)
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        u64::from(self.rows) * (u64::from(self.vocab) * 4 + 8)
    }
}
