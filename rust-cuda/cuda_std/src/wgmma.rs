//! The tensor core's products of a warpgroup: 128 threads, from a multiple of 128 on, in four warps.
//!
//! For compute capability 9.0 alone. In the PTX each of these instructions is a comment, which `cuda_builder::promote`
//! makes an instruction; on other chips nothing here may run.
//!
//! A product runs on while the warpgroup does other things. It reads shared memory through a proxy of its own, so that
//! whoever wrote what it reads calls [`publish`] before a barrier. Its registers belong to it from [`Accumulator::fence`],
//! which hands them over, to [`Accumulator::wait`], which gives them back.
//!
//! Warp w holds rows 16·w to 16·w + 15 of a and of the result, each laid out as [`crate::fragment`] says for `mma`: the
//! result has a `[f32; 4]` for every eight columns.
use crate::instruction::ptx;

/// Threads that multiply together.
pub const THREADS: u32 = 128;
/// Rows of a and of the result.
pub const M: u32 = 64;
/// Columns of a, rows of b.
pub const K: u32 = 16;

/// Bytes of a row of a matrix in shared memory: what is wider lies as several matrices.
pub const ROW_BYTES: u32 = 128;
/// Bytes of eight rows, among which their pieces of 16 bytes are permuted.
const ATOM_BYTES: u32 = 8 * ROW_BYTES;
/// The kind of that permutation in a descriptor.
const SWIZZLE_128: u64 = 1 << 62;

/// Offset in bytes of 16 bytes, number `piece` (0 to 7) of row `row`, in a matrix of rows of [`ROW_BYTES`].
///
/// Eight rows that have a column in common have it in eight places: reading or writing it meets all banks.
#[inline(always)]
pub const fn place(row: u32, piece: u32) -> u32 {
    row * ROW_BYTES + (piece ^ (row % 8)) * 16
}

/// Describes matrices of 16-bit elements that lie as [`place`] says, from shared address `address` on, a multiple of 1024.
/// `next` bytes behind one begins the next, which holds the following columns.
///
/// It stands for their first corner; [`along`] moves it.
#[inline(always)]
pub const fn describe(address: u32, next: u32) -> u64 {
    SWIZZLE_128 | ((ATOM_BYTES / 16) as u64) << 32 | ((next / 16) as u64) << 16 | (address / 16) as u64
}

/// A descriptor moved by `bytes`: 32 are [`K`] columns of a row, as far as it goes, and 2048 are [`K`] rows.
#[inline(always)]
pub const fn along(descriptor: u64, bytes: u32) -> u64 {
    // Addresses end below the upper word: that one stays in its register.
    descriptor >> 32 << 32 | (descriptor as u32 + bytes / 16) as u64
}

/// Says that the entry's blocks have at most `THREADS` threads, which decides how many registers each may have.
#[inline(always)]
pub fn threads_at_most<const THREADS: u32>() {
    // SAFETY: it is no instruction.
    ptx!("//sm_90a: .maxntid {}, 1, 1", const THREADS, options(nostack));
}

/// Makes this thread's writes to shared memory, those of copies that it has awaited too, visible to products behind the
/// next barrier.
#[inline(always)]
pub fn publish() {
    // SAFETY: it touches no memory.
    ptx!("//sm_90a: fence.proxy.async.shared::cta;", options(nostack));
}

/// Closes the group of all products that the warpgroup has started since the last one.
#[inline(always)]
pub fn commit() {
    // SAFETY: it touches no memory.
    ptx!("//sm_90a: wgmma.commit_group.sync.aligned;", options(nostack));
}

/// A result of 64 rows and eight columns for each `[f32; 4]`.
///
/// All functions are collectives of the warpgroup.
pub trait Accumulator: Copy {
    /// Hands this result over to the products that follow.
    ///
    /// # Safety
    /// All 128 threads call it together.
    unsafe fn fence(&mut self);

    /// Hands this result over beside one that is fenced behind it, or takes it back beside one that was waited for before.
    fn hold(&mut self);

    /// Waits until at most `NEWEST` groups of products are under way, and takes this result back.
    ///
    /// # Safety
    /// All 128 threads call it together.
    unsafe fn wait<const NEWEST: u32>(&mut self);

    /// Starts `a · bᵀ`, the rows of both in shared memory.
    ///
    /// # Safety
    /// All 128 threads call it together, behind a fence; until the wait nobody touches the result, or writes what a and b
    /// describe.
    unsafe fn start(a: u64, b: u64) -> Self;

    /// Starts the addition of `a · bᵀ`, the rows of both in shared memory.
    ///
    /// # Safety
    /// As for [`Accumulator::start`].
    unsafe fn add(&mut self, a: u64, b: u64);

    /// Starts the addition of `a · b`, the rows of both in shared memory.
    ///
    /// # Safety
    /// As for [`Accumulator::start`].
    unsafe fn add_product(&mut self, a: u64, b: u64);

    /// Starts the addition of `a · b`, a in registers, the rows of b in shared memory.
    ///
    /// # Safety
    /// As for [`Accumulator::start`]; a is [`hold`]ed behind the wait.
    unsafe fn add_rows(&mut self, a: [u32; 4], b: u64);

    /// Starts `a · bᵀ`, a in registers, the rows of b in shared memory.
    ///
    /// # Safety
    /// As for [`Accumulator::add_rows`].
    unsafe fn start_columns(a: [u32; 4], b: u64) -> Self;

    /// Starts the addition of `a · bᵀ`, a in registers, the rows of b in shared memory.
    ///
    /// # Safety
    /// As for [`Accumulator::add_rows`].
    unsafe fn add_columns(&mut self, a: [u32; 4], b: u64);
}

/// Says that the operands a are in use up to here, so that their registers are given to nothing else before.
#[inline(always)]
pub fn hold<const N: usize>(a: &mut [[u32; 4]; N]) {
    crate::unroll::unroll::<N>(|i| {
        let [r0, r1, r2, r3] = &mut a[i];
        // SAFETY: a comment.
        ptx!(
            "// {} {} {} {}",
            inout(reg32) * r0,
            inout(reg32) * r1,
            inout(reg32) * r2,
            inout(reg32) * r3,
            options(nostack)
        );
    });
}

/// Implements [`Accumulator`] for results of `$columns` columns, whose registers are numbered `$i`, the first one apart.
macro_rules! accumulator {
    ($columns:literal $first:literal $($i:literal)*) => {
        impl Accumulator for [[f32; 4]; $columns / 8] {
            #[inline(always)]
            unsafe fn fence(&mut self) {
                // SAFETY: it touches no memory.
                ptx!(concat!("//sm_90a: wgmma.fence.sync.aligned; // {", $first, "}", $(" {", $i, "}"),*),
                    inout(reg32) self[0][0], $(inout(reg32) self[$i / 4][$i % 4],)* options(nostack));
            }

            #[inline(always)]
            fn hold(&mut self) {
                // SAFETY: a comment.
                ptx!(concat!("// {", $first, "}", $(" {", $i, "}"),*),
                    inout(reg32) self[0][0], $(inout(reg32) self[$i / 4][$i % 4],)* options(nostack));
            }

            #[inline(always)]
            unsafe fn wait<const NEWEST: u32>(&mut self) {
                // SAFETY: it touches no memory.
                ptx!(concat!("//sm_90a: wgmma.wait_group.sync.aligned {newest}; // {", $first, "}", $(" {", $i, "}"),*),
                    inout(reg32) self[0][0], $(inout(reg32) self[$i / 4][$i % 4],)* newest = const NEWEST,
                    options(nostack));
            }

            #[inline(always)]
            unsafe fn start(a: u64, b: u64) -> Self {
                let mut d = [[0.0; 4]; $columns / 8];
                // SAFETY: the caller's promise.
                ptx!(accumulator!(@ $columns "{a}, {b}, 0, 1, 1, 0, 0" $first $($i)*),
                    lateout(reg32) d[0][0], $(lateout(reg32) d[$i / 4][$i % 4],)* a = in(reg64) a, b = in(reg64) b,
                    options(nostack));
                d
            }

            #[inline(always)]
            unsafe fn add(&mut self, a: u64, b: u64) {
                // SAFETY: the caller's promise.
                ptx!(accumulator!(@ $columns "{a}, {b}, 1, 1, 1, 0, 0" $first $($i)*),
                    inout(reg32) self[0][0], $(inout(reg32) self[$i / 4][$i % 4],)* a = in(reg64) a, b = in(reg64) b,
                    options(nostack));
            }

            #[inline(always)]
            unsafe fn add_product(&mut self, a: u64, b: u64) {
                // SAFETY: the caller's promise.
                ptx!(accumulator!(@ $columns "{a}, {b}, 1, 1, 1, 0, 1" $first $($i)*),
                    inout(reg32) self[0][0], $(inout(reg32) self[$i / 4][$i % 4],)* a = in(reg64) a, b = in(reg64) b,
                    options(nostack));
            }

            #[inline(always)]
            unsafe fn add_rows(&mut self, a: [u32; 4], b: u64) {
                // SAFETY: the caller's promise.
                ptx!(accumulator!(@ $columns "{{{a0}, {a1}, {a2}, {a3}}}, {b}, 1, 1, 1, 1" $first $($i)*),
                    inout(reg32) self[0][0], $(inout(reg32) self[$i / 4][$i % 4],)*
                    a0 = in(reg32) a[0], a1 = in(reg32) a[1], a2 = in(reg32) a[2], a3 = in(reg32) a[3], b = in(reg64) b,
                    options(nostack));
            }

            #[inline(always)]
            unsafe fn start_columns(a: [u32; 4], b: u64) -> Self {
                let mut d = [[0.0; 4]; $columns / 8];
                // SAFETY: the caller's promise.
                ptx!(accumulator!(@ $columns "{{{a0}, {a1}, {a2}, {a3}}}, {b}, 0, 1, 1, 0" $first $($i)*),
                    out(reg32) d[0][0], $(out(reg32) d[$i / 4][$i % 4],)*
                    a0 = in(reg32) a[0], a1 = in(reg32) a[1], a2 = in(reg32) a[2], a3 = in(reg32) a[3], b = in(reg64) b,
                    options(nostack));
                d
            }

            #[inline(always)]
            unsafe fn add_columns(&mut self, a: [u32; 4], b: u64) {
                // SAFETY: the caller's promise.
                ptx!(accumulator!(@ $columns "{{{a0}, {a1}, {a2}, {a3}}}, {b}, 1, 1, 1, 0" $first $($i)*),
                    inout(reg32) self[0][0], $(inout(reg32) self[$i / 4][$i % 4],)*
                    a0 = in(reg32) a[0], a1 = in(reg32) a[1], a2 = in(reg32) a[2], a3 = in(reg32) a[3], b = in(reg64) b,
                    options(nostack));
            }
        }
    };
    (@ $columns:literal $operands:literal $first:literal $($i:literal)*) => {
        concat!("//sm_90a: wgmma.mma_async.sync.aligned.m64n", $columns, "k16.f32.bf16.bf16 {{{", $first, "}",
            $(", {", $i, "}",)* "}}, ", $operands, ";")
    };
}

accumulator!(16 0 1 2 3 4 5 6 7);
accumulator!(32 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
accumulator!(64 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
accumulator!(80 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
    32 33 34 35 36 37 38 39);
accumulator!(96 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
    32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47);
accumulator!(128 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
    32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63);
