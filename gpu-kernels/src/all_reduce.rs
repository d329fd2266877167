//! `all_reduce`: the sum of what the ranks of a model have, one GPU each, the same on all of them.
//!
//! # Formula
//! `s[t, j] = (x_0 + x_1 + … + x_(ranks − 1))[t, j] + bias[j]`, in this order; `y = r(s)`, or `y = r(residual + r(s))` where there
//! is a residual; `r` rounds to the activation type.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `x`, `x_act` | `[rows, n]` | f32, act | this rank's part; one of them is null |
//! | `bias` | `[n]` or null | weight | the same on every rank |
//! | `residual` | `[rows, n]` or null | act | the same on every rank; may be `y` |
//! | `y`, `sums` | `[rows, n]` | act, f32 | written: `y` or, unrounded, `s`; one of them is null |
//! | `meeting.parts[r]` | `[2, capacity]` | f32 | memory of rank r; this rank's own is written |
//! | `meeting.flags[r]` | `[32, 8]` | i32 | memory of rank r, by block and rank; each rank writes its word in all of them |
//! | `meeting.packets[r]` | `[2, ranks, 2, packed / 4, 2, 2]` | i32 | memory of rank r, by rank; a value and its epoch; 0 at start |
//! | `meeting.epochs` | `[32]` | i32 | launches so far, by block; counted on; 0 at start, as the flags |
//! | `meeting.abort` | `[1]` | i32 | pinned memory of the host: other than 0 ends every wait |
//! | `meeting.fault` | `[1]` | i32 | 1 + the rank that was waited for, where a wait was ended and it was 0; else kept |
//!
//! # Launch
//! Always 32 blocks, so that all count the same epochs.
//!
//! Up to `packed` elements are sent as packets (entry `all_reduce_packets`). Each block has a 32nd of the groups of 4, of which a
//! thread owns every 512th: it stores them in the memory of every other rank, each value with the epoch beside it in one double
//! word, which is written and read as a whole; then it looks at its own memory until the epochs are there. Twice the bytes, but
//! one way to the other GPU is all that it waits for.
//!
//! Of more, a thread owns every `32 · 512`-th group. They are copied to the half of `parts[rank]` that the epoch's lowest bit names;
//! behind a barrier a thread per rank releases the epoch to that rank's flags, at the scope of the system, and waits for that
//! rank's word among its own; behind another all read.
//!
//! A block that is in epoch e has ended e − 1, for which every other rank had begun e − 1, thus ended e − 2: nobody reads the half
//! that it writes. Nothing is reset; the difference of two epochs counts, so they may wrap around.
//!
//! # Requires
//! 1 to 8 ranks, which launch the same sums in the same order; `n` divisible by 4; `rows · n` within `capacity`, which is
//! divisible by 4; all pointers 16-byte aligned. A device runs the 32 blocks at once. With a residual, `y` is written.
//!
//! # Moves
//! `rows · n · (4 · (ranks + 1) + x + residual + y)` bytes, `4 · (ranks − 1)` of them from other GPUs; as packets
//! `rows · n · (16 · (ranks − 1) + x + residual + y)`, `8 · (ranks − 1)` of them to other GPUs.
//!
//! # Numerics
//! In f32, in the order of the ranks: the same bits on all ranks and in every run. One rounding at the store, of the sum first
//! where there is a residual. c = 1, d = 1.
pub mod meeting;

use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape, Weight};
use meeting::{BLOCKS, Meeting, THREADS};

kernel_args! {
    /// Arguments of `all_reduce`.
    pub struct OneShotAllReduce {
        /// `[rows, n]` or null: this rank's part.
        pub x: Ptr<f32>,
        /// `[rows, n]` or null: this rank's part.
        pub x_act: Ptr<Act>,
        /// `[n]` or null.
        pub bias: Ptr<Weight>,
        /// `[rows, n]` or null; may be `y`.
        pub residual: Ptr<Act>,
        /// `[rows, n]` or null, written.
        pub y: Ptr<Act>,
        /// `[rows, n]` or null, written.
        pub sums: Ptr<f32>,
        /// Where the ranks meet.
        pub meeting: Meeting,
        /// Token rows.
        pub rows: u32,
        /// Columns.
        pub n: u32,
    }
}

impl Kernel for OneShotAllReduce {
    const NAME: &'static str = "all_reduce";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.meeting.has_ranks() => "1 to 8 ranks, this one among them",
            self.meeting.has_memory() => "parts and flags of every rank",
            self.x.is_null() != self.x_act.is_null() => "either x or x_act",
            self.y.is_null() != self.sums.is_null() => "either y or sums",
            self.residual.is_null() || !self.y.is_null() => "a residual is added to y alone",
            self.rows > 0 && self.n > 0 && self.n.is_multiple_of(4) => "at least one row, n divisible by 4",
            self.meeting.holds(self.rows, self.n) => "rows of parts that hold the sum",
            self.meeting.has_packets() => "room for packets in multiples of 4",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        let symbol = if self.sends_packets() { "all_reduce_packets" } else { Self::NAME };
        Launch { overlaps: true, ..Launch::linear(symbol, BLOCKS, THREADS) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let x = if self.x.is_null() { 2 } else { 4 };
        let residual = if self.residual.is_null() { 0 } else { 2 };
        let y = if self.y.is_null() { 4 } else { 2 };
        let elements = u64::from(self.rows) * u64::from(self.n);
        let ranks = u64::from(self.meeting.ranks);
        elements * (x + residual + y + if self.sends_packets() { 16 * (ranks - 1) } else { 4 * (ranks + 1) })
    }
}

impl OneShotAllReduce {
    /// Whether the ranks send each other packets.
    pub fn sends_packets(&self) -> bool {
        self.meeting.sends_packets(self.rows, self.n)
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::OneShotAllReduce;
    use super::meeting::{BLOCKS, Packets, Round, THREADS};
    use cuda_std::unroll::unroll;
    use cuda_std::{barrier, bf16, global, grid, kernel, thread};

    /// Groups of a part that a thread copies at once, and of a rank's that it reads at once: enough for the bandwidth of many rows.
    const BROUGHT: usize = 4;
    const TAKEN: usize = 4;
    /// Groups that a thread sends before it waits for any.
    const SENT: usize = 2;

    kernel! {
        /// Groups of four neighbours.
        pub fn all_reduce(args: OneShotAllReduce) {
            // All its blocks have found room: the kernel behind may come, and fetch its weights while this one waits for other GPUs.
            grid::launch_dependents();
            grid::wait_for_dependencies();
            let round = Round::begin(&args.meeting);
            let quads = args.rows * (args.n / 4);
            bring(&args, round, quads);
            if round.meet(&args.meeting) {
                take(&args, round, quads);
            }
            round.end(&args.meeting);
        }

        /// Groups of four neighbours, as packets.
        pub fn all_reduce_packets(args: OneShotAllReduce) {
            thread::blocks_at_once::<THREADS, 1>();
            // As in `all_reduce`.
            grid::launch_dependents();
            grid::wait_for_dependencies();
            let round = Round::begin(&args.meeting);
            let packets = Packets::new(&args.meeting, round);
            packets.announce(&args.meeting);
            let quads = args.rows * (args.n / 4);
            // Each block has as many as the others: a multiprocessor sends few.
            let share = quads.div_ceil(BLOCKS);
            let mut first = share * thread::block_idx_x() + thread::thread_idx_x();
            let end = quads.min(share * (thread::block_idx_x() + 1));
            while first < end {
                let (mut own, mut added) = ([[0.0f32; 4]; SENT], [Addends::default(); SENT]);
                unroll::<SENT>(
                    #[inline(always)]
                    |i| {
                        let quad = first + i as u32 * THREADS;
                        if quad < end {
                            own[i] = part(&args, quad);
                            packets.send(&args.meeting, quad, own[i]);
                        }
                    },
                );
                unroll::<SENT>(
                    #[inline(always)]
                    |i| {
                        let quad = first + i as u32 * THREADS;
                        if quad < end {
                            // On their way while it waits.
                            added[i] = addends(&args, quad);
                        }
                    },
                );
                unroll::<SENT>(
                    #[inline(always)]
                    |i| {
                        let quad = first + i as u32 * THREADS;
                        if quad < end
                            && let Some(sums) = sum_of_packets(&args, packets, quad, own[i])
                        {
                            finish(&args, quad, sums, added[i]);
                        }
                    },
                );
                first += SENT as u32 * THREADS;
            }
            barrier::sync_threads();
            round.end(&args.meeting);
        }
    }

    /// Copies the thread's groups of this rank's part: several loads are under way before the first store.
    ///
    /// # Safety
    /// There are so many groups.
    #[inline(always)]
    unsafe fn bring(args: &OneShotAllReduce, round: Round, quads: u32) {
        let (mut first, step) = (thread::global_index(), thread::grid_threads());
        while first < quads {
            let mut parts = [[0.0f32; 4]; BROUGHT];
            unroll::<BROUGHT>(|i| {
                let quad = first + i as u32 * step;
                if quad < quads {
                    // SAFETY: it is one of them.
                    parts[i] = unsafe { part(args, quad) };
                }
            });
            unroll::<BROUGHT>(|i| {
                let quad = first + i as u32 * step;
                if quad < quads {
                    // SAFETY: a half of the parts holds them all.
                    unsafe { global::store(round.own + 16 * u64::from(quad), parts[i]) };
                }
            });
            first += BROUGHT as u32 * step;
        }
    }

    /// Sums the thread's groups, several of a rank at once: other GPUs are far away.
    ///
    /// # Safety
    /// There are so many groups, and all ranks have brought theirs.
    #[inline(always)]
    unsafe fn take(args: &OneShotAllReduce, round: Round, quads: u32) {
        let (mut first, step) = (thread::global_index(), thread::grid_threads());
        while first < quads {
            let mut sums = [[0.0f32; 4]; TAKEN];
            for rank in 0..args.meeting.ranks {
                let parts = round.parts(&args.meeting, rank);
                let mut own = [[0.0f32; 4]; TAKEN];
                unroll::<TAKEN>(|i| {
                    let quad = first + i as u32 * step;
                    if quad < quads {
                        // SAFETY: the caller's promise.
                        own[i] = unsafe { global::load(parts + 16 * u64::from(quad)) };
                    }
                });
                unroll::<TAKEN>(|i| {
                    sums[i] = if rank == 0 { own[i] } else { core::array::from_fn(|j| sums[i][j] + own[i][j]) };
                });
            }
            unroll::<TAKEN>(|i| {
                let quad = first + i as u32 * step;
                if quad < quads {
                    // SAFETY: it is one of them.
                    unsafe { finish(args, quad, sums[i], addends(args, quad)) };
                }
            });
            first += TAKEN as u32 * step;
        }
    }

    /// Four neighbours of this rank's part.
    ///
    /// # Safety
    /// `quad` is within the part.
    #[inline(always)]
    unsafe fn part(args: &OneShotAllReduce, quad: u32) -> [f32; 4] {
        let quad = u64::from(quad);
        // SAFETY: the caller's promise; one of the two is there.
        unsafe {
            if args.x.is_null() {
                unpack_4(global::load(args.x_act.addr + 8 * quad))
            } else {
                global::load(args.x.addr + 16 * quad)
            }
        }
    }

    /// The sum of four neighbours of all ranks, of which this one has its `own`, in the order of the ranks; none if a wait was
    /// ended.
    ///
    /// # Safety
    /// The packets have room for them.
    #[inline(always)]
    unsafe fn sum_of_packets(args: &OneShotAllReduce, packets: Packets, quad: u32, own: [f32; 4]) -> Option<[f32; 4]> {
        let mut sums = own;
        for rank in 0..args.meeting.ranks {
            let part = if rank == args.meeting.rank {
                own
            } else {
                // SAFETY: the caller's promise.
                unsafe { packets.receive(&args.meeting, rank, quad)? }
            };
            sums = if rank == 0 { part } else { core::array::from_fn(|i| sums[i] + part[i]) };
        }
        Some(sums)
    }

    /// What is added to the sums of four neighbours: bias and residual, packed, where there are any.
    #[derive(Clone, Copy, Default)]
    struct Addends {
        bias: [u32; 2],
        residual: [u32; 2],
    }

    /// # Safety
    /// `quad` is within the sum.
    #[inline(always)]
    unsafe fn addends(args: &OneShotAllReduce, quad: u32) -> Addends {
        let mut found = Addends::default();
        // SAFETY: the caller's promise.
        unsafe {
            if !args.bias.is_null() {
                let column = core::num::NonZero::new(args.n / 4).map_or(0, |row| quad % row);
                found.bias = global::load_readonly(args.bias.addr + 8 * u64::from(column));
            }
            if !args.residual.is_null() {
                found.residual = global::load(args.residual.addr + 8 * u64::from(quad));
            }
        }
        found
    }

    /// Adds bias and residual to four neighbours and stores them.
    ///
    /// # Safety
    /// `quad` is within the sum.
    #[inline(always)]
    unsafe fn finish(args: &OneShotAllReduce, quad: u32, mut sums: [f32; 4], added: Addends) {
        let bytes = 8 * u64::from(quad);
        if !args.bias.is_null() {
            let bias = unpack_4(added.bias);
            sums = core::array::from_fn(|i| sums[i] + bias[i]);
        }
        // SAFETY: the caller's promise.
        unsafe {
            if args.y.is_null() {
                global::store(args.sums.addr + 2 * bytes, sums);
                return;
            }
            if !args.residual.is_null() {
                let residual = unpack_4(added.residual);
                sums = core::array::from_fn(|i| residual[i] + bf16::round(sums[i]));
            }
            global::store(args.y.addr + bytes, [bf16::pack([sums[0], sums[1]]), bf16::pack([sums[2], sums[3]])]);
        }
    }

    #[inline(always)]
    fn unpack_4(words: [u32; 2]) -> [f32; 4] {
        let ([a, b], [c, d]) = (bf16::unpack(words[0]), bf16::unpack(words[1]));
        [a, b, c, d]
    }
}
