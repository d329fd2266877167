//! A row that a block owns: loaded at once, kept in registers as far as it fits, and read again beyond.
use cuda_std::unroll::unroll;
use cuda_std::{bf16, global, thread};

/// Elements of one 16-byte access.
pub const GROUP: u32 = 8;

/// The address of a group of 8 elements of 2 bytes.
#[inline(always)]
pub fn at(row: u64, group: u32) -> u64 {
    row + u64::from(group) * 16
}

/// Calls `visit(row, group)` for the thread's `SHARES` of some rows of `DIM`, which the block's `threads` share out.
///
/// Neighbouring lanes take neighbouring groups, as far as the rows of every head size allow.
#[inline(always)]
pub fn for_each_group<const DIM: u32, const SHARES: usize>(threads: u32, mut visit: impl FnMut(u32, u32)) {
    for_each_piece::<SHARES>(DIM / GROUP, threads, &mut visit);
}

/// Calls `visit(row, piece)` for the thread's `SHARES` of the `pieces` of 16 bytes of some rows, which the block's `threads`
/// share out as [`for_each_group`] does.
#[inline(always)]
pub fn for_each_piece<const SHARES: usize>(pieces: u32, threads: u32, mut visit: impl FnMut(u32, u32)) {
    let lanes = match pieces {
        _ if pieces.is_multiple_of(8) => 8,
        _ if pieces.is_multiple_of(4) => 4,
        _ => 2,
    };
    // The remainder is the index itself: so LLVM knows how large that can be, and which rows are in which page.
    let thread = thread::thread_idx_x() % threads;
    let (row, group) = (thread / lanes, thread % lanes);
    let parts = pieces / lanes;
    unroll::<SHARES>(|i| visit(row + i as u32 / parts * (threads / lanes), group + i as u32 % parts * lanes));
}

/// Groups that a thread keeps in registers; with 256 threads that is a row of 8192.
const KEPT: usize = 4;

/// Repeats `$body` with `$k` as each constant below [`KEPT`]: left as a loop, the array would move to local memory.
macro_rules! for_each_kept {
    ($k:ident => $body:block) => {
        for_each_kept!(@ $k $body 0 1 2 3);
    };
    (@ $k:ident $body:block $($index:literal)*) => {$({
        const $k: usize = $index;
        $body
    })*};
}

/// A row of bf16 of which a thread owns every `threads`-th group of 8.
///
/// Loading several rows one after the other puts all their loads in flight before the first is used.
#[derive(Clone, Copy)]
pub struct Row {
    address: u64,
    groups: u32,
    kept: [[u32; 4]; KEPT],
}

impl Row {
    /// Loads this thread's groups of the row of `width` elements at `address`.
    ///
    /// # Safety
    /// `address` is 16-byte aligned and holds `width` written elements, a multiple of 8, which nobody else writes.
    #[inline(always)]
    pub unsafe fn load(address: u64, width: u32) -> Row {
        let mut row = Row { address, groups: width / GROUP, kept: [[0; 4]; KEPT] };
        for_each_kept!(K => {
            let group = own_group(K);
            if group < row.groups {
                // SAFETY: the group is within the row.
                row.kept[K] = unsafe { global::load(at(address, group)) };
            }
        });
        row
    }

    /// Elements of the row.
    #[inline(always)]
    pub fn width(&self) -> u32 {
        self.groups * GROUP
    }

    /// Calls `visit` with the number of each of this thread's groups, and its 16 bytes here and in `others`.
    ///
    /// # Safety
    /// The rows have one width and are as they were loaded.
    #[inline(always)]
    pub unsafe fn for_each_with<const N: usize>(
        self,
        others: [Row; N],
        mut visit: impl FnMut(u32, [u32; 4], [[u32; 4]; N]),
    ) {
        for_each_kept!(K => {
            let group = own_group(K);
            if group < self.groups {
                visit(group, self.kept[K], others.map(|row| row.kept[K]));
            }
        });
        let mut group = own_group(KEPT);
        while group < self.groups {
            // SAFETY: the group is within the rows.
            unsafe {
                let again = |row: Row| global::load(at(row.address, group));
                visit(group, again(self), others.map(again));
            }
            group += thread::block_dim_x();
        }
    }

    /// Calls `visit` with each of this thread's groups as eight values.
    ///
    /// # Safety
    /// As for [`Row::for_each_with`].
    #[inline(always)]
    pub unsafe fn for_each(self, mut visit: impl FnMut([f32; 8])) {
        // SAFETY: the caller's promise.
        unsafe { self.for_each_with([], |_, words, []| visit(bf16::unpack_8(words))) };
    }

    /// Writes this thread's groups of the row to `address`.
    ///
    /// # Safety
    /// As for [`Row::for_each_with`]; `address` is 16-byte aligned, holds as many elements, and overlaps no row.
    #[inline(always)]
    pub unsafe fn copy_to(self, address: u64) {
        // SAFETY: the caller's promise.
        unsafe { self.for_each_with([], |group, words, []| global::store(at(address, group), words)) };
    }
}

/// The number of this thread's `k`-th group.
#[inline(always)]
fn own_group(k: usize) -> u32 {
    thread::thread_idx_x() + k as u32 * thread::block_dim_x()
}
