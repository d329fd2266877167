//! `embed`: token ids to rows of the embedding table.
//!
//! # Formula
//! `out[t, r · hidden + j] = tables[r][id(t), j]`, where `id(t) = ids[t]` if that is not negative, else `sampled[-1 - ids[t]]`: the
//! token that an earlier step chose for that sequence slot, which the host need not have read yet.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `ids` | `[rows]` | i32 | token id, or `-1 - slot` |
//! | `sampled` | `[slots]` | i32 | last sampled token of each sequence slot |
//! | `tables[r]` | `[vocab, hidden]` | weight | row-major; the columns that rank r has, in its memory |
//! | `out` | `[rows, ranks · hidden]` | act | row-major |
//!
//! # Launch
//! A block owns a row of one table; its threads copy 16 bytes each at a time. Tables are constant, so ranks need not meet to read
//! each other's.
//!
//! # Requires
//! Every id below `vocab`; 1 to 8 ranks; `hidden` divisible by 8; `tables` and `out` 16-byte aligned.
//!
//! # Moves
//! `rows · ranks · (hidden · (2 + act) + 4)` bytes.
//!
//! # Numerics
//! A copy: exact (c = 0, d = 0).
use crate::all_reduce::meeting::MOST_RANKS;
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape, Weight};

kernel_args! {
    /// Arguments of `embed`.
    pub struct Embed {
        /// `[rows]`: token id, or `-1 - slot`.
        pub ids: Ptr<i32>,
        /// `[slots]`: last sampled token of each sequence slot.
        pub sampled: Ptr<i32>,
        /// `[vocab, hidden]` each, of every rank; null beyond the last.
        pub tables: [Ptr<Weight>; MOST_RANKS],
        /// `[rows, ranks · hidden]`, written.
        pub out: Ptr<Act>,
        /// Token rows.
        pub rows: u32,
        /// Width of a table's row.
        pub hidden: u32,
        /// Rows of a table.
        pub vocab: u32,
        /// How many have a table.
        pub ranks: u32,
    }
}

impl Embed {
    /// `table` as the only one.
    pub const fn alone(table: Ptr<Weight>) -> [Ptr<Weight>; MOST_RANKS] {
        let mut tables = [Ptr::NULL; MOST_RANKS];
        tables[0] = table;
        tables
    }
}

impl Kernel for Embed {
    const NAME: &'static str = "embed";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 && self.vocab > 0 => "at least one row and one token",
            (1..=MOST_RANKS as u32).contains(&self.ranks) => "1 to 8 ranks",
            self.tables[..self.ranks as usize].iter().all(|table| !table.is_null()) => "a table of every rank",
            self.hidden > 0 && self.hidden.is_multiple_of(8) => "hidden divisible by 8",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        Launch { grid: [self.rows, self.ranks, 1], ..Launch::linear(Self::NAME, 1, 128) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        u64::from(self.rows) * u64::from(self.ranks) * (u64::from(self.hidden) * 4 + 4)
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::Embed;
    use crate::all_reduce::meeting::of_rank;
    use crate::row::Row;
    use cuda_std::{global, kernel, thread};

    kernel! {
        /// One row of one rank's columns per block.
        pub fn embed(args: Embed) {
            let (row, rank) = (thread::block_idx_x(), thread::block_idx_y());
            let named: i32 = global::load(args.ids.addr + 4 * u64::from(row));
            let id = if named < 0 {
                global::load(args.sampled.addr + 4 * u64::from((-1 - named).cast_unsigned()))
            } else {
                named
            };
            let bytes = 2 * u64::from(args.hidden);
            let from = of_rank(&args.tables, rank) + u64::from(id.cast_unsigned()) * bytes;
            Row::load(from, args.hidden).copy_to(args.out.addr + u64::from(row * args.ranks + rank) * bytes);
        }
    }
}
