//! `moe_combine`: what the experts of a row gave, weighted, beside the shared expert and the residual stream.
//!
//! # Formula
//! `a = r(Σ_j weights[t, j] · experts[t · top_k + j])`, summed in the order of choice, or where `weights` is null the one row
//! `experts[t]`. With `shared` `a = r(a + shared[t])`, and with `residual` `y = r(residual[t] + a)`, else `y = a`. `r` rounds to
//! the activation type. Source: `NemotronHMoE` of transformers.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `experts` | `[rows · top_k, n]` | act | row-major |
//! | `weights` | `[rows, top_k]` or null | f32 | row-major |
//! | `shared` | `[rows, n]` or null | act | row-major |
//! | `residual` | `[rows, n]` or null | act | row-major; may be `y` |
//! | `y` | `[rows, n]` | act | row-major, written |
//!
//! # Launch
//! A thread owns 8 neighbours of a row, and asks for 12 experts' at once. Of few rows a block has but one warp, so that they come
//! to more multiprocessors.
//!
//! # Requires
//! At least 1 row; `n` divisible by 8; `top_k` 1 where `weights` is null; all pointers to activations 16-byte aligned;
//! `y` overlaps nothing that is read but `residual`.
//!
//! # Moves
//! `rows · n · act` bytes for each of `top_k`, `shared`, `residual` and `y`.
//!
//! # Numerics
//! Products and sum in f32. c = 16, d = 1: a sum at a tie may round to its neighbour.
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape};

/// Threads of a block, and of few rows.
const THREADS: u32 = 128;
const FEW_THREADS: u32 = 32;
/// The most rows that are few.
const FEW: u32 = 8;
/// Experts that a thread asks for together.
#[cfg(target_arch = "nvptx64")]
const BATCH: usize = 12;

kernel_args! {
    /// Arguments of `moe_combine`.
    pub struct MoeCombine {
        /// `[rows · top_k, n]`.
        pub experts: Ptr<Act>,
        /// `[rows, top_k]` or null.
        pub weights: Ptr<f32>,
        /// `[rows, n]` or null.
        pub shared: Ptr<Act>,
        /// `[rows, n]` or null; may be `y`.
        pub residual: Ptr<Act>,
        /// `[rows, n]`, written.
        pub y: Ptr<Act>,
        /// Token rows.
        pub rows: u32,
        /// Experts that a row went to.
        pub top_k: u32,
        /// Width of a row.
        pub n: u32,
    }
}

impl Kernel for MoeCombine {
    const NAME: &'static str = "moe_combine";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 && self.rows < 1 << 16 => "1 to 65535 rows",
            self.top_k > 0 => "at least one expert",
            self.top_k == 1 || !self.weights.is_null() => "one expert without weights",
            self.n > 0 && self.n.is_multiple_of(8) => "n divisible by 8",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        let threads = if self.rows > FEW { THREADS } else { FEW_THREADS };
        let blocks = (self.n / 8).div_ceil(threads);
        Launch { grid: [blocks, self.rows, 1], overlaps: true, ..Launch::linear(Self::NAME, 1, threads) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let others = 1 + u64::from(!self.shared.is_null()) + u64::from(!self.residual.is_null());
        let rows = u64::from(self.rows);
        rows * u64::from(self.n) * 2 * (u64::from(self.top_k) + others) + rows * u64::from(self.top_k) * 4
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::{BATCH, MoeCombine};
    use crate::row;
    use cuda_std::unroll::{array, unroll};
    use cuda_std::{bf16, global, grid, kernel, thread};

    kernel! {
        /// Eight neighbours per thread.
        pub fn moe_combine(args: MoeCombine) {
            grid::launch_dependents();
            grid::wait_for_dependencies();
            let (group, token) = (thread::global_index(), thread::block_idx_y());
            if group >= args.n / row::GROUP {
                return;
            }
            // Asked for in front of the sum, not behind it.
            let addends = [args.shared, args.residual]
                .map(|addend| if addend.is_null() { [0; 4] } else { words(&args, addend.addr, token, group) });
            let mut sum = weighted(&args, token, group);
            unroll::<2>(
                #[inline(always)]
                |i| if ![args.shared, args.residual][i].is_null() {
                    let addend = bf16::unpack_8(addends[i]);
                    sum = array(|i| addend[i] + bf16::round(sum[i]));
                },
            );
            global::store(at(&args, args.y.addr, token, group), bf16::pack_8(sum));
        }
    }

    /// The address of a group of a row.
    #[inline(always)]
    fn at(args: &MoeCombine, start: u64, row: u32, group: u32) -> u64 {
        row::at(start + u64::from(row) * u64::from(args.n) * 2, group)
    }

    /// # Safety
    /// The group is there.
    #[inline(always)]
    unsafe fn words(args: &MoeCombine, start: u64, row: u32, group: u32) -> [u32; 4] {
        // SAFETY: the caller's promise.
        unsafe { global::load(at(args, start, row, group)) }
    }

    /// The weighted sum of a token's experts, in the order of choice.
    ///
    /// # Safety
    /// The group is there, and what the experts gave.
    #[inline(always)]
    unsafe fn weighted(args: &MoeCombine, token: u32, group: u32) -> [f32; 8] {
        // SAFETY: only what is there is read.
        unsafe {
            if args.weights.is_null() {
                return bf16::unpack_8(words(args, args.experts.addr, token, group));
            }
            let mut sum = [0.0; 8];
            let (mut row, mut left) = (token * args.top_k, args.top_k);
            while left != 0 {
                let (mut experts, mut weights) = ([[0; 4]; BATCH], [0.0; BATCH]);
                let there = |i: usize| (i as u32) < left;
                unroll::<BATCH>(
                    #[inline(always)]
                    |i| {
                        if there(i) {
                            experts[i] = words(args, args.experts.addr, row + i as u32, group);
                            weights[i] = global::load(args.weights.addr + 4 * u64::from(row + i as u32));
                        }
                    },
                );
                unroll::<BATCH>(
                    #[inline(always)]
                    |i| {
                        if there(i) {
                            let expert = bf16::unpack_8(experts[i]);
                            unroll::<8>(|k| sum[k] += weights[i] * expert[k]);
                        }
                    },
                );
                row += BATCH as u32;
                left = left.saturating_sub(BATCH as u32);
            }
            sum
        }
    }
}
