//! `gather_columns`: puts the columns of each row into another order, and multiplies them by factors of their own.
//!
//! # Formula
//! `y[t, j] = r(x[t, order[j]] · factors[j])`; without `order` `x[t, j]`, without `factors` a copy. `r` rounds to the
//! activation type.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `x` | `[rows, k]` | act | row-major |
//! | `order` | `[k]` or null | i32 | |
//! | `factors` | `[k]` or null | f32 | |
//! | `y` | `[rows, k]` | act | row-major, written; does not overlap `x` |
//!
//! # Launch
//! A thread owns 8 neighbours of `y`.
//!
//! # Requires
//! `k` divisible by 8, fewer than 2³² groups of 8; every `order[j]` below `k`; all 16-byte aligned; `order` or `factors`.
//!
//! # Moves
//! `rows · k · 2 · act` bytes, and 4·k each for `order` and `factors`.
//!
//! # Numerics
//! One product in f32, one rounding at the store. c = 1, d = 0.
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape};

const THREADS: u32 = 256;
/// Elements of a thread.
const GROUP: u32 = 8;

kernel_args! {
    /// Arguments of `gather_columns`.
    pub struct GatherColumns {
        /// `[rows, k]`.
        pub x: Ptr<Act>,
        /// `[k]` or null.
        pub order: Ptr<i32>,
        /// `[k]` or null.
        pub factors: Ptr<f32>,
        /// `[rows, k]`, written.
        pub y: Ptr<Act>,
        /// Rows.
        pub rows: u32,
        /// Columns.
        pub k: u32,
    }
}

impl Kernel for GatherColumns {
    const NAME: &'static str = "gather_columns";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 => "at least one row",
            self.k > 0 && self.k.is_multiple_of(GROUP) => "k divisible by 8",
            u64::from(self.rows) * u64::from(self.k / GROUP) < 1 << 32 => "fewer than 2^35 elements",
            !self.order.is_null() || !self.factors.is_null() => "an order or factors",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        let groups = self.rows * (self.k / GROUP);
        Launch { overlaps: true, ..Launch::linear(Self::NAME, groups.div_ceil(THREADS), THREADS) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let (rows, k) = (u64::from(self.rows), u64::from(self.k));
        let vectors = u64::from(!self.order.is_null()) + u64::from(!self.factors.is_null());
        rows * k * 4 + vectors * k * 4
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::{GROUP, GatherColumns};
    use crate::row;
    use cuda_std::{bf16, global, grid, kernel, thread};

    kernel! {
        /// Eight neighbours per thread.
        pub fn gather_columns(args: GatherColumns) {
            grid::launch_dependents();
            grid::wait_for_dependencies();
            let group = thread::global_index();
            let Some(groups) = core::num::NonZero::new(args.k / GROUP) else { return };
            if group < args.rows * groups.get() {
                let (row, column) = (group / groups, u64::from(group % groups) * 4 * u64::from(GROUP));
                let x = if args.order.addr == 0 {
                    bf16::unpack_8(global::load(row::at(args.x.addr, group)))
                } else {
                    gathered(args.x.addr + u64::from(row) * u64::from(args.k) * 2, args.order.addr + column)
                };
                let y = if args.factors.addr == 0 {
                    x
                } else {
                    let [a, b, c, d]: [f32; 4] = global::load(args.factors.addr + column);
                    let [e, f, g, h]: [f32; 4] = global::load(args.factors.addr + column + 16);
                    let factors = [a, b, c, d, e, f, g, h];
                    core::array::from_fn(#[inline(always)] |index| x[index] * factors[index])
                };
                global::store(row::at(args.y.addr, group), bf16::pack_8(y));
            }
        }
    }

    /// Eight elements of the row at `x`, whose columns stand at `order`.
    ///
    /// # Safety
    /// The kernel's Requires hold.
    #[inline(always)]
    unsafe fn gathered(x: u64, order: u64) -> [f32; 8] {
        // SAFETY: the caller's promise.
        unsafe {
            let [a, b, c, d]: [u32; 4] = global::load(order);
            let [e, f, g, h]: [u32; 4] = global::load(order + 16);
            let columns = [a, b, c, d, e, f, g, h];
            core::array::from_fn(
                #[inline(always)]
                |index| bf16::to_f32(global::load(x + 2 * u64::from(columns[index]))),
            )
        }
    }
}
