//! `gated_norm`: the gate and the group norm behind a state space model.
//!
//! # Formula
//! With `g = y · z / (1 + e^(−z))`, over each group of `width / groups` neighbours of a row:
//! `out = r(weight · g / √(mean(g²) + eps))`; `r` rounds to the activation type.
//! Source: Mamba-2's `RMSNormGated` with `norm_before_gate = False`, as Nemotron-H uses it.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `y` | `[rows, width]` | act | row-major |
//! | `z` | `[rows, z_stride]` | act | the first `width` of each row |
//! | `weight` | `[width]` | weight | |
//! | `out` | `[rows, width]` | act | row-major, written; may be `y` |
//!
//! # Launch
//! A warp owns a group of a row, a lane every 32nd 8 neighbours of it, which stay in registers up to a width of 1 280. Where
//! there are many rows, eight warps make a block.
//!
//! # Requires
//! `groups` divides `width`; a group's width and `z_stride` divisible by 8; all pointers 16-byte aligned; `out` overlaps
//! nothing that is read but `y`.
//!
//! # Moves
//! `rows · width · 3 · act + 2 · width` bytes.
//!
//! # Numerics
//! In f32, one rounding at the store. c = 16, d = 0.
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape, Weight};

/// Warps of a block, where each multiprocessor gets some.
const WARPS: u32 = 8;

kernel_args! {
    /// Arguments of `gated_norm`.
    pub struct GatedNorm {
        /// `[rows, width]`.
        pub y: Ptr<Act>,
        /// `[rows, z_stride]`: the gate, before its SiLU.
        pub z: Ptr<Act>,
        /// `[width]`.
        pub weight: Ptr<Weight>,
        /// `[rows, width]`, written.
        pub out: Ptr<Act>,
        /// Token rows.
        pub rows: u32,
        /// Width of a row.
        pub width: u32,
        /// Groups of a row, each with a norm of its own.
        pub groups: u32,
        /// Elements from one row of `z` to the next.
        pub z_stride: u32,
        /// Added to the mean square.
        pub eps: f32,
    }
}

impl Kernel for GatedNorm {
    const NAME: &'static str = "gated_norm";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 && self.rows < 1 << 16 => "at least one row, fewer than 65536",
            self.groups < 1 << 12 => "fewer than 4096 groups",
            self.groups > 0 && self.width > 0 && self.width.is_multiple_of(self.groups) => "width divisible by groups",
            (self.width / self.groups).is_multiple_of(8) => "a group's width divisible by 8",
            self.z_stride.is_multiple_of(8) => "z_stride divisible by 8",
        }
    }

    fn launch(&self, device: &DeviceInfo) -> Launch {
        let owned = self.rows * self.groups;
        let warps = if owned >= 2 * WARPS * device.multiprocessors { WARPS } else { 1 };
        Launch { block: [32, warps, 1], overlaps: true, ..Launch::linear(Self::NAME, owned.div_ceil(warps), 32) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        u64::from(self.rows) * u64::from(self.width) * 6 + u64::from(self.width) * 2
    }
}

#[cfg(target_arch = "nvptx64")]
pub(crate) mod entry {
    use super::GatedNorm;
    use crate::row::{self, GROUP};
    use crate::ssm::arithmetic::silu;
    use crate::ssm::divide;
    use cuda_std::unroll::{array, unroll};
    use cuda_std::{bf16, global, grid, kernel, math, thread, warp};

    /// Pieces of eight that a lane keeps here.
    const MOST_KEPT: usize = 5;

    /// What a lane keeps of a group.
    type Kept<const KEPT: usize> = [[u32; 4]; KEPT];

    kernel! {
        /// A group of a row to a warp.
        pub fn gated_norm(args: GatedNorm) {
            let owned = thread::block_idx_x() * thread::block_dim_y() + thread::thread_idx_y();
            let (row, group) = divide(owned, args.groups);
            grid::launch_dependents();
            if row < args.rows {
                let at = |width: u32| 2 * u64::from(row) * u64::from(width);
                let pieces = divide(args.width, args.groups).0 / GROUP;
                let (y, z) = (args.y.addr + at(args.width), args.z.addr + at(args.z_stride));
                let row = Gated { y, z, weight: args.weight.addr, pieces };
                let (own, out) = (row.group(group), args.out.addr + at(args.width));
                let weights = own.weights::<MOST_KEPT>();
                grid::wait_for_dependencies();
                own.normalise((weights, own.ask()), args.eps, |piece, words| global::store(row::at(out, piece), words));
            }
        }
    }

    /// A row behind a state space model, or a group of it, its gates and the weights of the norm, by their addresses.
    #[derive(Clone, Copy)]
    pub struct Gated {
        pub y: u64,
        pub z: u64,
        pub weight: u64,
        /// Pieces of eight of a group.
        pub pieces: u32,
    }

    /// A group of such a row.
    #[derive(Clone, Copy)]
    pub struct Group {
        own: Gated,
        /// Its first piece in the row.
        first: u32,
    }

    impl Gated {
        /// A group of the row.
        #[inline(always)]
        pub fn group(&self, number: u32) -> Group {
            let first = number * self.pieces;
            let [y, z, weight] = [self.y, self.z, self.weight].map(|row| row::at(row, first));
            Group { own: Gated { y, z, weight, pieces: self.pieces }, first }
        }

        /// What the lane keeps of the weights of the warp's first group, of those that share a row of so many out.
        ///
        /// # Safety
        /// The weights are there.
        #[inline(always)]
        pub unsafe fn first_weights<const KEPT: usize>(&self, groups: u32) -> Kept<KEPT> {
            // SAFETY: the group is the row's.
            if thread::warp_id() < groups { unsafe { self.group(thread::warp_id()).weights() } } else { [[0; 4]; KEPT] }
        }

        /// The same of the row and its gates.
        ///
        /// # Safety
        /// They are written.
        #[inline(always)]
        pub unsafe fn ask_first<const KEPT: usize>(&self, groups: u32) -> [Kept<KEPT>; 2] {
            // SAFETY: as above.
            if thread::warp_id() < groups {
                unsafe { self.group(thread::warp_id()).ask() }
            } else {
                [[[0; 4]; KEPT]; 2]
            }
        }

        /// Calls `emit` as [`Group::normalise`] does, for all of the row's groups, which the warps of the block share out.
        ///
        /// # Safety
        /// As for that, with [`Gated::first_weights`] and [`Gated::ask_first`]; the whole block comes here.
        #[inline(always)]
        pub unsafe fn normalise<const KEPT: usize>(
            self,
            groups: u32,
            mut kept: (Kept<KEPT>, [Kept<KEPT>; 2]),
            eps: f32,
            mut emit: impl FnMut(u32, [u32; 4]),
        ) {
            let mut number = thread::warp_id();
            while number < groups {
                // SAFETY: the group is the row's, and this warp's alone.
                unsafe { self.group(number).normalise(kept, eps, &mut emit) };
                number += thread::block_dim_x() / thread::WARP_SIZE;
                if number < groups {
                    let group = self.group(number);
                    // SAFETY: as above.
                    kept = unsafe { (group.weights(), group.ask()) };
                }
            }
        }
    }

    impl Group {
        /// What the lane keeps of the weights.
        ///
        /// # Safety
        /// The group is the row's.
        #[inline(always)]
        pub unsafe fn weights<const KEPT: usize>(&self) -> Kept<KEPT> {
            // SAFETY: the caller's promise.
            unsafe { self.load(self.own.weight) }
        }

        /// What the lane keeps of y and of z.
        ///
        /// # Safety
        /// They are written; the group is the row's.
        #[inline(always)]
        pub unsafe fn ask<const KEPT: usize>(&self) -> [Kept<KEPT>; 2] {
            // SAFETY: the caller's promise.
            unsafe { [self.load(self.own.y), self.load(self.own.z)] }
        }

        /// The lane's first pieces of what begins at `from`.
        #[inline(always)]
        unsafe fn load<const KEPT: usize>(&self, from: u64) -> Kept<KEPT> {
            array(
                #[inline(always)]
                // SAFETY: the piece is the group's.
                |k| if own(k) < self.own.pieces { unsafe { global::load(row::at(from, own(k))) } } else { [0; 4] },
            )
        }

        /// Calls `emit` with the number of each of the lane's pieces in the row, and its outputs.
        ///
        /// # Safety
        /// The whole warp comes here, with what the lane keeps of the group; what `emit` writes no other lane reads.
        #[inline(always)]
        pub unsafe fn normalise<const KEPT: usize>(
            self,
            (weights, [ys, zs]): (Kept<KEPT>, [Kept<KEPT>; 2]),
            eps: f32,
            mut emit: impl FnMut(u32, [u32; 4]),
        ) {
            let Gated { y, z, weight, pieces } = self.own;
            // SAFETY: pieces are the group's.
            unsafe {
                let kept = array::<KEPT, [f32; 8]>(
                    #[inline(always)]
                    |k| gated(ys[k], zs[k]),
                );
                let again = |piece: u32| gated(global::load(row::at(y, piece)), global::load(row::at(z, piece)));
                let mut squares = 0.0;
                unroll::<KEPT>(
                    #[inline(always)]
                    |k| squares = add_squares(squares, kept[k]),
                );
                let mut piece = own(KEPT);
                while piece < pieces {
                    squares = add_squares(squares, again(piece));
                    piece += thread::WARP_SIZE;
                }
                let scale = math::rsqrt(warp::sum_f32(squares) / (pieces * GROUP) as f32 + eps);
                let mut emit = |piece: u32, g: [f32; 8], weight: [u32; 4]| {
                    let weight = bf16::unpack_8(weight);
                    emit(self.first + piece, bf16::pack_8(core::array::from_fn(|i| weight[i] * (g[i] * scale))));
                };
                unroll::<KEPT>(
                    #[inline(always)]
                    |k| {
                        if own(k) < pieces {
                            emit(own(k), kept[k], weights[k]);
                        }
                    },
                );
                let mut piece = own(KEPT);
                while piece < pieces {
                    emit(piece, again(piece), global::load(row::at(weight, piece)));
                    piece += thread::WARP_SIZE;
                }
            }
        }
    }

    /// The lane's `k`-th piece of a group.
    #[inline(always)]
    fn own(k: usize) -> u32 {
        thread::lane_id() + k as u32 * thread::WARP_SIZE
    }

    /// Eight outputs behind their gates.
    #[inline(always)]
    fn gated(y: [u32; 4], z: [u32; 4]) -> [f32; 8] {
        let (y, z) = (bf16::unpack_8(y), bf16::unpack_8(z));
        core::array::from_fn(|i| y[i] * silu(z[i]))
    }

    /// The sum with the squares of eight more.
    #[inline(always)]
    fn add_squares(sum: f32, values: [f32; 8]) -> f32 {
        values.iter().fold(sum, |sum, &g| math::fma(g, g, sum))
    }
}
