//! `gather_rows`: the rows that the head is asked for.
//!
//! # Formula
//! `out[l, :] = x[index[l], :]`
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `x` | `[*, hidden]` | act | row-major |
//! | `index` | `[rows]` | i32 | row of `x` |
//! | `out` | `[rows, hidden]` | act | row-major |
//!
//! # Launch
//! A block owns a row; its threads copy 16 bytes each at a time.
//!
//! # Requires
//! Every index a row of `x`; `hidden` divisible by 8; `x` and `out` 16-byte aligned and not overlapping.
//!
//! # Moves
//! `rows · (2 · hidden · act + 4)` bytes.
//!
//! # Numerics
//! A copy: exact (c = 0, d = 0).
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape};

kernel_args! {
    /// Arguments of `gather_rows`.
    pub struct GatherRows {
        /// `[*, hidden]`.
        pub x: Ptr<Act>,
        /// `[rows]`: row of `x`.
        pub index: Ptr<i32>,
        /// `[rows, hidden]`, written.
        pub out: Ptr<Act>,
        /// Rows to gather.
        pub rows: u32,
        /// Width of a row.
        pub hidden: u32,
    }
}

impl Kernel for GatherRows {
    const NAME: &'static str = "gather_rows";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 => "at least one row",
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
    use super::GatherRows;
    use crate::row::Row;
    use cuda_std::{global, kernel, thread};

    kernel! {
        /// One row per block.
        pub fn gather_rows(args: GatherRows) {
            let row = thread::block_idx_x();
            let from: i32 = global::load(args.index.addr + 4 * u64::from(row));
            let bytes = 2 * u64::from(args.hidden);
            let source = args.x.addr + u64::from(from.cast_unsigned()) * bytes;
            Row::load(source, args.hidden).copy_to(args.out.addr + u64::from(row) * bytes);
        }
    }
}
