//! `skinny_join`: adds what blocks of `skinny_gemm` that share the columns of a product have summed; activation and residual add
//! behind it.
//!
//! # Formula
//! `s[t, n] = Σ_i partial[i, t, n] + bias[n]`. Then `y_f32 = s`, or `y = r(s)`, or with `residual` `y = r(residual + r(s))`, or
//! with an activation `y = f(r(s))` as in `gemv`. `r` rounds to the activation type.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `partial` | `SkinnyGemm::partials()` | f32 | `SkinnyGemm::partial_index` |
//! | `bias` | `[n]` or null | weight | |
//! | `residual` | as `y`, or null | act | row-major; may be `y` |
//! | `y` | `[rows, n]`, with `swiglu` `[rows, n/2]`, or null | act | row-major, written |
//! | `y_f32` | `[rows, n]` or null | f32 | row-major, written |
//! | `outbox` | or none | | instead of `y`: its words of two neighbours are sent to all ranks as packets of the [meeting](crate::all_reduce) behind |
//!
//! # Launch
//! A warp adds the sums for 16 rows of the weight and eight token rows, as the tensor core has left them in its lanes. A block has
//! four warps. With an outbox (entry `skinny_join_sent`) it has eight, of neighbouring rows of the weight
//! and the same token rows: so neighbours of 256 bytes are sent together. One that sends lets the kernel behind start only when what is
//! in front of both has ended.
//!
//! # Requires
//! 1 to 64 rows; 1 to 8 splits; `n` divisible by 8, with `swiglu` by 16; `partial` 16-byte aligned; exactly one of `y`, `y_f32` and
//! `outbox`, activation and `residual` with `y`, one of them at most; with `outbox` no bias; `y` overlaps nothing that is read but `residual`.
//!
//! # Moves
//! `rows·n·out` bytes, of which an outbox takes `4 · ranks` for each element, as much again for a residual, and `2·n` where there is a
//! bias. The sums of splits are in the L2 cache.
//!
//! # Numerics
//! In f32, the splits in their order, then the bias. c = 16, d = 4: what an activation takes is rounded, and may be the
//! neighbour of what it is to be.
use crate::activation::{PLAIN, SWIGLU};
use crate::all_reduce::meeting::Outbox;
use crate::kernel::{kernel_args, require};
use crate::skinny_gemm::{self, MAX_ROWS, MOST_SPLITS, WARPS};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape, Weight};

/// Threads of a block.
const THREADS: u32 = 128;

kernel_args! {
    /// Arguments of `skinny_join`.
    pub struct SkinnyJoin {
        /// [`SkinnyJoin::partials`] sums.
        pub partial: Ptr<f32>,
        /// `[n]` or null.
        pub bias: Ptr<Weight>,
        /// As `y`, or null.
        pub residual: Ptr<Act>,
        /// `[rows, n]`, with [`SWIGLU`] `[rows, n/2]`, or null; written.
        pub y: Ptr<Act>,
        /// `[rows, n]` or null, written without rounding.
        pub y_f32: Ptr<f32>,
        /// Where `y` is sent instead, or [`Outbox::NONE`].
        pub outbox: Outbox,
        /// Token rows.
        pub rows: u32,
        /// Rows of the weight.
        pub n: u32,
        /// Sums of each element.
        pub splits: u32,
        /// [`PLAIN`], `RELU2` or [`SWIGLU`].
        pub activation: u32,
    }
}

impl SkinnyJoin {
    /// Columns of the output.
    const fn width(&self) -> u32 {
        if self.activation == SWIGLU { self.n / 2 } else { self.n }
    }

    /// The same with its results, which would go to `part` of `[rows, n]`, sent to where ranks meet behind it; none if they do not go there
    /// as they are.
    pub fn sending(self, (part, shape): (Ptr<Act>, [u32; 2]), outbox: Outbox) -> Option<SkinnyJoin> {
        let goes_there = !self.y.is_null() && self.y.target() == part.target() && [self.rows, self.n] == shape;
        let sending = SkinnyJoin { y: Ptr::NULL, outbox, ..self };
        (goes_there && sending.is_plain() && sending.has_room()).then_some(sending)
    }

    /// Whether it adds the sums in `partial` of a product of such `rows`, `n`, splits and activation, and sends nothing.
    pub(crate) fn adds(&self, partial: Ptr<f32>, product: [u32; 4]) -> bool {
        let own = [self.rows, self.n, self.splits, self.activation];
        !self.outbox.sends() && own == product && partial.target().is_some_and(|to| self.partial.target() == Some(to))
    }

    /// Whether nothing is done with the sums.
    fn is_plain(&self) -> bool {
        self.activation == PLAIN && self.residual.is_null() && self.bias.is_null()
    }

    /// Whether the outbox takes the results, if there is one.
    fn has_room(&self) -> bool {
        self.outbox.takes(u64::from(self.rows) * u64::from(self.n) / 2)
    }

    /// Elements of `partial`.
    pub fn partials(&self) -> usize {
        let [sixteens, eights] = self.sums();
        (self.splits * sixteens * eights) as usize * skinny_gemm::SUMS
    }

    /// As [`SkinnyGemm::partial_index`](crate::SkinnyGemm::partial_index).
    pub fn partial_index(&self, split: u32, row: u32, token: u32) -> usize {
        skinny_gemm::partial_index(self.sums(), [self.n, self.activation], [split, row, token])
    }

    /// Sixteens of the weight's rows, and eights of the token rows.
    const fn sums(&self) -> [u32; 2] {
        skinny_gemm::sums(self.n, self.rows)
    }
}

impl Kernel for SkinnyJoin {
    const NAME: &'static str = "skinny_join";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 && self.rows <= MAX_ROWS => "1 to 64 rows",
            self.splits > 0 && self.splits <= MOST_SPLITS => "1 to 8 splits",
            self.n > 0 && self.n.is_multiple_of(8) => "n divisible by 8",
            self.activation <= SWIGLU => "a known activation",
            self.activation != SWIGLU || self.n.is_multiple_of(16) => "n divisible by 16 with gates",
            [!self.y.is_null(), !self.y_f32.is_null(), self.outbox.sends()].iter().filter(|there| **there).count() == 1
                => "exactly one of y, y_f32 and an outbox",
            self.activation == PLAIN || (self.y_f32.is_null() && self.residual.is_null()) => "activations with neither y_f32 nor residual",
            self.y_f32.is_null() || self.residual.is_null() => "y_f32 without residual",
            !self.outbox.sends() || self.is_plain() => "an outbox with neither bias, activation nor residual",
            self.has_room() => "an outbox with room",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        let [sixteens, eights] = self.sums();
        if self.outbox.sends() {
            let blocks = sixteens.div_ceil(WARPS) * eights;
            return Launch { overlaps: true, ..Launch::linear("skinny_join_sent", blocks, WARPS * 32) };
        }
        let blocks = (sixteens * eights).div_ceil(THREADS / 32);
        Launch { overlaps: true, ..Launch::linear(Self::NAME, blocks, THREADS) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let (rows, n, width) = (u64::from(self.rows), u64::from(self.n), u64::from(self.width()));
        let out = match (self.y_f32.is_null(), self.outbox.sends()) {
            (false, _) => 4 * n,
            (_, true) => 4 * n * u64::from(self.outbox.ranks),
            _ => 2 * width,
        };
        let residual = if self.residual.is_null() { 0 } else { out };
        let bias = if self.bias.is_null() { 0 } else { 2 * n };
        rows * (out + residual) + bias
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::{SkinnyJoin, THREADS};
    use crate::skinny_gemm::store::{self, Added, Outputs, Parts};
    use crate::skinny_gemm::{MOST_SPLITS, TILE, WARPS};
    use cuda_std::unroll::unroll;
    use cuda_std::{barrier, bf16, fragment, global, grid, kernel, shared, thread};

    /// Words of two neighbours in a tile's row of tokens.
    const ROW_WORDS: u32 = TILE / 2;

    shared! {
        fn skinny_join_words() -> [u32; (fragment::N * ROW_WORDS) as usize];
    }

    kernel! {
        /// A warp for 16 rows of the weight and eight token rows.
        pub fn skinny_join(args: SkinnyJoin) {
            grid::launch_dependents();
            grid::wait_for_dependencies();
            let [_, eights] = args.sums();
            let own = thread::block_idx_x() * (THREADS / 32) + thread::warp_id();
            let SkinnyJoin { bias, residual, y, y_f32, rows, n, activation, .. } = args;
            let to = Outputs { bias, residual, y, y_f32, rows, n, activation };
            let at = [own / eights, own % eights];
            let added = Added::load(&to, at);
            store::store_eight(&to, at, &added, sums(&args, own));
        }

        /// The same with a block for 128 rows of the weight and eight token rows, which sends its results.
        pub fn skinny_join_sent(args: SkinnyJoin) {
            grid::wait_for_dependencies();
            grid::launch_dependents();
            let epoch = args.outbox.epoch();
            let [_, eights] = args.sums();
            let (tile, eight) = (thread::block_idx_x() / eights, thread::block_idx_x() % eights);
            let sums = sums(&args, (tile * WARPS + thread::warp_id()) * eights + eight);
            keep(sums);
            barrier::sync_threads();
            send(&args, epoch, [tile, eight]);
        }
    }

    /// What the splits' warps number `own` have summed, added; 0 behind the last.
    ///
    /// # Safety
    /// The kernel's Requires hold, and the kernel in front has ended.
    #[inline(always)]
    unsafe fn sums(args: &SkinnyJoin, own: u32) -> [f32; 4] {
        let [sixteens, eights] = args.sums();
        let mut parts: Parts = [[0.0; 4]; MOST_SPLITS as usize];
        let first = args.partial.addr + u64::from(own * 32 + thread::lane_id()) * 16;
        let apart = u64::from(sixteens * eights) * 512;
        let splits = if own < sixteens * eights { args.splits } else { 0 };
        // All at once: one behind the other, each would be waited for.
        unroll::<{ MOST_SPLITS as usize }>(
            #[inline(always)]
            |i| {
                if (i as u32) < splits {
                    // SAFETY: the caller's promise.
                    parts[i] = unsafe { global::load(first + apart * i as u64) };
                }
            },
        );
        store::added(&parts, splits)
    }

    /// Keeps the words of a warp's sums for the block, by tokens: rounded as [`store::store`] rounds them.
    ///
    /// # Safety
    /// The whole warp comes here.
    #[inline(always)]
    unsafe fn keep(sums: [f32; 4]) {
        let (row, token) = fragment::c_element(thread::lane_id(), 0);
        let first = (token + row % 2) * ROW_WORDS + thread::warp_id() * (fragment::M / 2) + row / 2;
        unroll::<2>(
            #[inline(always)]
            |half| {
                // Other outputs have a bias of 0, which leaves no −0.
                // SAFETY: the whole warp is here, and each lane has a word of its own.
                unsafe {
                    let pair = store::exchange(row, sums[2 * half] + 0.0, sums[2 * half + 1] + 0.0);
                    skinny_join_words().store(first + half as u32 * (fragment::M / 4), bf16::pack(pair));
                }
            },
        );
    }

    /// Sends what the block has kept: two words of a group of four a thread, neighbours side by side.
    ///
    /// # Safety
    /// The kernel's Requires hold, and the words stand behind a barrier.
    #[inline(always)]
    unsafe fn send(args: &SkinnyJoin, epoch: u32, [tile, eight]: [u32; 2]) {
        const QUADS: u32 = ROW_WORDS / 4;
        let thread = thread::thread_idx_x();
        let (row, half, quad) = (thread / (2 * QUADS), thread / QUADS % 2, thread % QUADS);
        let (token, column) = (eight * fragment::N + row, tile * TILE + 8 * quad);
        if token < args.rows && column < args.n {
            let pair = skinny_join_words().cast::<[u32; 2]>();
            // SAFETY: the words are there, and the packets have room for them.
            unsafe {
                let words = pair.load((row * ROW_WORDS + 4 * quad) / 2 + half);
                args.outbox.send_pair(epoch, (token * args.n + column) / 4 + half, words);
            }
        }
    }
}
