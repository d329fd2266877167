//! `quantize_rows`: each row becomes codes of e4m3 with a scale of its own, as a product of FP8 takes its input.
//!
//! # Formula
//! With `m = max_j |x[t, j]|`: `scale[t] = m / 448`, and `y[t, j]` is the code of e4m3 nearest to `x[t, j] · (448 / m)`, of two the
//! even one. Where m is below 2⁻¹⁰⁰ both factors are 1. Source: dynamic activations per token of compressed-tensors.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `x` | `[rows, k]` | act | row-major |
//! | `y` | `[rows, k]` | e4m3 | row-major, written |
//! | `scales` | `[rows]` | f32 | written |
//!
//! # Launch
//! A row to a block of so many threads, 64 to 512, that each keeps its share of the row in registers.
//!
//! # Requires
//! At least 1 row; `k` divisible by 16, up to 65536; `x` and `y` 16-byte aligned and not overlapping.
//!
//! # Moves
//! `rows · (k · (act + 1) + 4)` bytes.
//!
//! # Numerics
//! Divisions and products are f32's, rounded to nearest. A NaN becomes a NaN's code, and the row's other codes are as without it. Exact.
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Launch, Packed, Ptr, StepShape};

/// The largest number of e4m3.
pub const MOST: f32 = 448.0;

/// 2⁻¹⁰⁰: rows of smaller numbers become zeros, for 448 times the inverse of those may be no number.
pub const LEAST: f32 = f32::from_bits((127 - 100) << 23);

/// Elements of a row that a thread keeps.
const KEPT: u32 = 32;

kernel_args! {
    /// Arguments of `quantize_rows`.
    pub struct QuantizeRows {
        /// `[rows, k]`.
        pub x: Ptr<Act>,
        /// `[rows, k]`, written.
        pub y: Ptr<Packed>,
        /// `[rows]`, written.
        pub scales: Ptr<f32>,
        /// Rows.
        pub rows: u32,
        /// Columns.
        pub k: u32,
    }
}

impl QuantizeRows {
    const fn threads(&self) -> u32 {
        let threads = self.k.div_ceil(KEPT).next_multiple_of(32);
        if threads < 64 {
            64
        } else if threads > 512 {
            512
        } else {
            threads
        }
    }
}

impl Kernel for QuantizeRows {
    const NAME: &'static str = "quantize_rows";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 => "at least one row",
            self.k > 0 && self.k.is_multiple_of(16) && self.k <= 65_536 => "k divisible by 16, at most 65536",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        Launch { overlaps: true, ..Launch::linear(Self::NAME, self.rows, self.threads()) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        u64::from(self.rows) * (u64::from(self.k) * 3 + 4)
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::{LEAST, MOST, QuantizeRows};
    use crate::row::Row;
    use cuda_std::unroll::array;
    use cuda_std::{bf16, block, codes, global, grid, kernel, math, shared, thread};

    shared! {
        fn quantize_rows_scratch() -> [f32; block::SCRATCH_WORDS as usize];
    }

    kernel! {
        /// A row to a block; all its threads come to the reduction.
        pub fn quantize_rows(args: QuantizeRows) {
            grid::launch_dependents();
            grid::wait_for_dependencies();
            let own = thread::block_idx_x();
            let start = u64::from(own) * u64::from(args.k);
            let row = Row::load(args.x.addr + start * 2, args.k);
            let mut most = 0.0;
            row.for_each(|x| most = x.iter().fold(most, |most, &x| math::max(most, x.abs())));
            let most = block::max_f32(most, quantize_rows_scratch());
            let (scale, inverse) = if most < LEAST { (1.0, 1.0) } else { (most / MOST, MOST / most) };
            if thread::thread_idx_x() == 0 {
                global::store(args.scales.addr + 4 * u64::from(own), scale);
            }
            let y = args.y.addr + start;
            row.for_each_with([], |group, words, []| {
                let x = bf16::unpack_8(words);
                let word = |first: usize| {
                    let four: [u32; 4] = array(
                        #[inline(always)]
                        |i| codes::to_e4m3(x[first + i] * inverse) << (8 * i),
                    );
                    four[0] | four[1] | four[2] | four[3]
                };
                global::store(y + 8 * u64::from(group), [word(0), word(4)]);
            });
        }
    }
}
