//! `embed`: token ids to rows of the embedding table.
//!
//! # Formula
//! `out[t, :] = table[id(t), :]`, where `id(t) = ids[t]` if that is not negative, else `sampled[-1 - ids[t]]`: the token
//! that an earlier step chose for that sequence slot, which the host need not have read yet.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `ids` | `[rows]` | i32 | token id, or `-1 - slot` |
//! | `sampled` | `[slots]` | i32 | last sampled token of each sequence slot |
//! | `table` | `[vocab, hidden]` | weight | row-major |
//! | `out` | `[rows, hidden]` | act | row-major |
//!
//! # Launch
//! A block owns a row; its threads copy 16 bytes each at a time.
//!
//! # Requires
//! Every id below `vocab`; `hidden` divisible by 8; `table` and `out` 16-byte aligned.
//!
//! # Moves
//! `rows · (hidden · (2 + act) + 4)` bytes.
//!
//! # Numerics
//! A copy: exact (c = 0, d = 0).
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape, Weight};

kernel_args! {
    /// Arguments of `embed`.
    pub struct Embed {
        /// `[rows]`: token id, or `-1 - slot`.
        pub ids: Ptr<i32>,
        /// `[slots]`: last sampled token of each sequence slot.
        pub sampled: Ptr<i32>,
        /// `[vocab, hidden]`.
        pub table: Ptr<Weight>,
        /// `[rows, hidden]`, written.
        pub out: Ptr<Act>,
        /// Token rows.
        pub rows: u32,
        /// Width of a row.
        pub hidden: u32,
        /// Rows of `table`.
        pub vocab: u32,
    }
}

impl Kernel for Embed {
    const NAME: &'static str = "embed";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 && self.vocab > 0 => "at least one row and one token",
            self.hidden > 0 && self.hidden.is_multiple_of(8) => "hidden divisible by 8",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        Launch::linear(Self::NAME, self.rows, 128)
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        u64::from(self.rows) * (u64::from(self.hidden) * 4 + 4)
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::Embed;
    use crate::row::Row;
    use cuda_std::{global, kernel, thread};

    kernel! {
        /// One row per block.
        pub fn embed(args: Embed) {
            let row = thread::block_idx_x();
            let named: i32 = global::load(args.ids.addr + 4 * u64::from(row));
            let id = if named < 0 {
                global::load(args.sampled.addr + 4 * u64::from((-1 - named).cast_unsigned()))
            } else {
                named
            };
            let bytes = 2 * u64::from(args.hidden);
            let from = args.table.addr + u64::from(id.cast_unsigned()) * bytes;
            Row::load(from, args.hidden).copy_to(args.out.addr + u64::from(row) * bytes);
        }
    }
}
