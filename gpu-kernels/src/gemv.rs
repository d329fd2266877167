//! `gemv`: a product with a weight for a few token rows, bound by the weight's bytes.
//!
//! # Formula
//! `y[t, n] = r(Σ_k x[t, k] · w[n, k] + bias[n])`, or without the rounding into `y_f32`; `r` rounds to the activation type.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `x` | `[rows, k]` | act | row-major |
//! | `w` | `[n, k]` | weight | row-major |
//! | `bias` | `[n]` or null | weight | |
//! | `y` | `[rows, n]` or null | act | row-major, written |
//! | `y_f32` | `[rows, n]` or null | f32 | row-major, written |
//!
//! # Launch
//! A warp owns one row of `w` and streams it in 16-byte loads that bypass L1, several in flight per lane; the lanes'
//! sums meet in a butterfly of shuffles. `gemv_1`, `gemv_2`, `gemv_4`, `gemv_8` hold that many token rows at most.
//!
//! # Requires
//! 1 to 8 rows; `k` divisible by 8; `x` and `w` 16-byte aligned; exactly one of `y` and `y_f32`.
//!
//! # Moves
//! `2·n·k + rows·(k·act + n·out)` bytes, and `2·n` where there is a bias.
//!
//! # Numerics
//! Products are exact in f32 and summed by fused multiply-add; a row's order of summation does not depend on `rows`.
//! The bias is added to the f32 sum. One rounding at the store. c = 8, d = 0.
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, GEMV_MAX_ROWS, Kernel, Launch, Ptr, StepShape, Weight};

/// Warps of a block, each with a row of the weight.
const WARPS: u32 = 8;

kernel_args! {
    /// Arguments of `gemv`.
    pub struct Gemv {
        /// `[rows, k]`.
        pub x: Ptr<Act>,
        /// `[n, k]`.
        pub w: Ptr<Weight>,
        /// `[n]` or null.
        pub bias: Ptr<Weight>,
        /// `[rows, n]` or null, written.
        pub y: Ptr<Act>,
        /// `[rows, n]` or null, written without rounding.
        pub y_f32: Ptr<f32>,
        /// Token rows, 1 to 8.
        pub rows: u32,
        /// Rows of the weight.
        pub n: u32,
        /// Columns of the weight.
        pub k: u32,
    }
}

impl Kernel for Gemv {
    const NAME: &'static str = "gemv";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            (1..=GEMV_MAX_ROWS).contains(&self.rows) => "1 to 8 rows",
            self.n > 0 => "at least one row of the weight",
            self.k > 0 && self.k.is_multiple_of(8) => "k divisible by 8",
            self.y.is_null() != self.y_f32.is_null() => "exactly one of y and y_f32",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        let symbol = match self.rows {
            1 => "gemv_1",
            2 => "gemv_2",
            3..=4 => "gemv_4",
            _ => "gemv_8",
        };
        Launch::linear(symbol, self.n.div_ceil(WARPS), WARPS * 32)
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let (rows, n, k) = (u64::from(self.rows), u64::from(self.n), u64::from(self.k));
        let out = if self.y.is_null() { 4 } else { 2 };
        let bias = if self.bias.is_null() { 0 } else { 2 * n };
        2 * n * k + bias + rows * (k * 2 + n * out)
    }

    fn flops(&self, _: &StepShape) -> u64 {
        2 * u64::from(self.rows) * u64::from(self.n) * u64::from(self.k)
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::{Gemv, WARPS};
    use crate::row;
    use cuda_std::unroll::{array, unroll};
    use cuda_std::{bf16, global, kernel, math, thread, warp};

    kernel! {
        /// One token row.
        pub fn gemv_1(args: Gemv) {
            product::<1>(&args);
        }

        /// Up to two token rows.
        pub fn gemv_2(args: Gemv) {
            product::<2>(&args);
        }

        /// Up to four token rows.
        pub fn gemv_4(args: Gemv) {
            product::<4>(&args);
        }

        /// Up to eight token rows.
        pub fn gemv_8(args: Gemv) {
            product::<8>(&args);
        }
    }

    /// Groups of eight columns that a lane has in flight: with four more requested before the first four are used, enough bytes are under
    /// way to hide the memory's latency, at a number of registers that leaves room for many warps.
    const AHEAD: usize = 4;
    /// Groups that a warp takes at once.
    const STRIDE: u32 = AHEAD as u32 * thread::WARP_SIZE;

    /// # Safety
    /// The kernel's Requires hold, and `args.rows` is at most `ROWS`.
    #[inline(always)]
    unsafe fn product<const ROWS: usize>(args: &Gemv) {
        let row = thread::block_idx_x() * WARPS + thread::warp_id();
        if row >= args.n {
            return;
        }
        let lane = Lane::new(args, row);
        let mut sums = [0.0; ROWS];
        let mut first = 0;
        // SAFETY: groups below `groups` are within the row; token rows beyond `rows` are read as the last one.
        unsafe {
            let mut weights = lane.request(first);
            while first + STRIDE <= args.k / row::GROUP {
                let next = lane.request(first + STRIDE);
                unroll::<AHEAD>(|i| lane.accumulate(&mut sums, weights[i], first + own(i)));
                weights = next;
                first += STRIDE;
            }
            unroll::<AHEAD>(|i| {
                if first + own(i) < lane.groups {
                    lane.accumulate(&mut sums, weights[i], first + own(i));
                }
            });
            store(args, row, sums);
        }
    }

    /// How far behind its first the `i`-th group is that a lane takes at once.
    const fn own(i: usize) -> u32 {
        i as u32 * thread::WARP_SIZE
    }

    /// A lane's part of a row of the weight and of the token rows. Groups count from the lane's first.
    struct Lane {
        w: u64,
        x: u64,
        /// From one token row to the next, bytes.
        stride: u32,
        last_row: u32,
        /// Groups from the lane's first to the end of the row.
        groups: u32,
    }

    impl Lane {
        #[inline(always)]
        fn new(args: &Gemv, row: u32) -> Lane {
            let lane = thread::lane_id();
            Lane {
                w: row::at(args.w.addr + u64::from(row) * u64::from(args.k) * 2, lane),
                x: row::at(args.x.addr, lane),
                stride: args.k * 2,
                last_row: args.rows - 1,
                groups: (args.k / row::GROUP).saturating_sub(lane),
            }
        }

        /// Asks for the lane's groups from `first` on, as far as the row goes.
        ///
        /// # Safety
        /// The row exists.
        #[inline(always)]
        unsafe fn request(&self, first: u32) -> [[u32; 4]; AHEAD] {
            array(|i| {
                let group = first + own(i);
                // SAFETY: the group is within the row.
                if group < self.groups { unsafe { global::load_streaming(row::at(self.w, group)) } } else { [0; 4] }
            })
        }

        /// Adds one group's products to the sum of every token row, lowest column first.
        ///
        /// # Safety
        /// `group` is within the rows.
        #[inline(always)]
        unsafe fn accumulate<const ROWS: usize>(&self, sums: &mut [f32; ROWS], weight: [u32; 4], group: u32) {
            let weight = bf16::unpack_8(weight);
            unroll::<ROWS>(|t| {
                let token = (t as u32).min(self.last_row);
                let row = self.x + u64::from(token) * u64::from(self.stride);
                // SAFETY: the token row and the group exist.
                let x = bf16::unpack_8(unsafe { global::load(row::at(row, group)) });
                unroll::<8>(|i| sums[t] = math::fma(weight[i], x[i], sums[t]));
            });
        }
    }

    /// Joins the lanes' sums; lane t stores token row t.
    ///
    /// # Safety
    /// The whole warp comes here; `row` is a row of the weight.
    #[inline(always)]
    unsafe fn store<const ROWS: usize>(args: &Gemv, row: u32, sums: [f32; ROWS]) {
        let lane = thread::lane_id();
        let mut own = 0.0;
        unroll::<ROWS>(|t| {
            // SAFETY: the whole warp is here.
            let total = unsafe { warp::sum_f32(sums[t]) };
            own = if lane == t as u32 { total } else { own };
        });
        if lane < args.rows {
            let at = u64::from(lane) * u64::from(args.n) + u64::from(row);
            // SAFETY: the row has a bias or none has, and each lane has one element of the output.
            unsafe {
                if !args.bias.is_null() {
                    own += bf16::to_f32(global::load_readonly(args.bias.addr + u64::from(row) * 2));
                }
                if args.y.is_null() {
                    global::store(args.y_f32.addr + at * 4, own);
                } else {
                    global::store(args.y.addr + at * 2, bf16::from_f32(own));
                }
            }
        }
    }
}
