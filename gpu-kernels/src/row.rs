//! What kernels that own a row per block share: the copy of a row, and a row that is kept while it is read again.
use cuda_std::{bf16, global, thread};

/// Elements of one 16-byte access.
pub const GROUP: u32 = 8;
const GROUP_BYTES: u64 = 16;

/// Copies `groups` groups of 8 elements; the block's threads take turns.
///
/// # Safety
/// Both addresses are 16-byte aligned and live for that many groups; the source is written, and nothing overlaps.
#[inline(always)]
pub unsafe fn copy(from: u64, to: u64, groups: u32) {
    let mut group = thread::thread_idx_x();
    while group < groups {
        let at = u64::from(group) * GROUP_BYTES;
        // SAFETY: the group is within the row.
        unsafe { global::store(to + at, global::load::<[u32; 4]>(from + at)) };
        group += thread::block_dim_x();
    }
}

/// Groups that a thread keeps in registers; with 256 threads that is a row of 8192. Those behind are read again.
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

/// A row of activations of which a thread owns every `threads`-th group of 8.
#[derive(Clone, Copy)]
pub struct Row {
    address: u64,
    groups: u32,
    kept: [[u32; 4]; KEPT],
}

impl Row {
    /// Loads a row of `hidden` elements; with `delta`, adds that row first, rounds, and writes the sum back.
    ///
    /// # Safety
    /// Addresses are 16-byte aligned rows, `hidden` is divisible by 8, and no other block touches the row at `x`.
    #[inline(always)]
    pub unsafe fn load(x: u64, delta: Option<u64>, hidden: u32) -> Row {
        let mut row = Row { address: x, groups: hidden / GROUP, kept: [[0; 4]; KEPT] };
        for_each_kept!(K => {
            let group = own_group(K);
            if group < row.groups {
                // SAFETY: the group is within the row, and this thread's own.
                row.kept[K] = unsafe { added(x, delta, group) };
            }
        });
        let mut group = own_group(KEPT);
        while group < row.groups {
            // SAFETY: as above.
            unsafe { added(x, delta, group) };
            group += thread::block_dim_x();
        }
        row
    }

    /// Calls `visit` with this thread's groups: their number and their eight values.
    ///
    /// # Safety
    /// Nobody else writes the row.
    #[inline(always)]
    pub unsafe fn for_each(self, mut visit: impl FnMut(u32, [f32; 8])) {
        for_each_kept!(K => {
            let group = own_group(K);
            if group < self.groups {
                visit(group, bf16::unpack_8(self.kept[K]));
            }
        });
        let mut group = own_group(KEPT);
        while group < self.groups {
            // SAFETY: the group is within the row, and this thread wrote it if anyone did.
            visit(group, bf16::unpack_8(unsafe { global::load(at(self.address, group)) }));
            group += thread::block_dim_x();
        }
    }
}

/// The number of this thread's `k`-th group.
#[inline(always)]
fn own_group(k: usize) -> u32 {
    thread::thread_idx_x() + k as u32 * thread::block_dim_x()
}

/// The address of a group of 8 elements of 2 bytes.
#[inline(always)]
pub fn at(row: u64, group: u32) -> u64 {
    row + u64::from(group) * GROUP_BYTES
}

/// One group of a row, after the sum with `delta` where there is one.
///
/// # Safety
/// As for [`Row::load`].
#[inline(always)]
unsafe fn added(x: u64, delta: Option<u64>, group: u32) -> [u32; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let old: [u32; 4] = global::load(at(x, group));
        let Some(delta) = delta else { return old };
        let (a, b) = (bf16::unpack_8(old), bf16::unpack_8(global::load(at(delta, group))));
        let sum = bf16::pack_8(core::array::from_fn(|i| a[i] + b[i]));
        global::store(at(x, group), sum);
        sum
    }
}
