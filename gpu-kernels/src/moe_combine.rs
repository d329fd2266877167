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
//! A thread owns 8 neighbours of a row.
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

const THREADS: u32 = 128;

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
        let blocks = (self.n / 8).div_ceil(THREADS);
        Launch { grid: [blocks, self.rows, 1], overlaps: true, ..Launch::linear(Self::NAME, 1, THREADS) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let others = 1 + u64::from(!self.shared.is_null()) + u64::from(!self.residual.is_null());
        let rows = u64::from(self.rows);
        rows * u64::from(self.n) * 2 * (u64::from(self.top_k) + others) + rows * u64::from(self.top_k) * 4
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::MoeCombine;
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
            let at = |start: u64, row: u32| row::at(start + u64::from(row) * u64::from(args.n) * 2, group);
            let load = |start: u64, row: u32| bf16::unpack_8(global::load(at(start, row)));
            let mut sum = [0.0; 8];
            let mut row = token * args.top_k;
            let end = row + args.top_k;
            loop {
                let expert = load(args.experts.addr, row);
                if args.weights.is_null() {
                    sum = expert;
                } else {
                    let weight: f32 = global::load(args.weights.addr + 4 * u64::from(row));
                    unroll::<8>(|i| sum[i] += weight * expert[i]);
                }
                row += 1;
                if row == end {
                    break;
                }
            }
            for addend in [args.shared, args.residual] {
                if !addend.is_null() {
                    let addend = load(addend.addr, token);
                    sum = array(|i| addend[i] + bf16::round(sum[i]));
                }
            }
            global::store(at(args.y.addr, token), bf16::pack_8(sum));
        }
    }
}
