//! Indices and sizes of the thread, its block and its grid.
//!
//! Every function is one special register; the compiler reads it once and keeps it, but for [`thread_idx_x_again`].
use crate::instruction::{intrinsics, ptx};

/// Lanes of a warp.
pub const WARP_SIZE: u32 = 32;

intrinsics! {
    "llvm.nvvm.read.ptx.sreg.tid.x" fn tid_x() -> u32;
    "llvm.nvvm.read.ptx.sreg.tid.y" fn tid_y() -> u32;
    "llvm.nvvm.read.ptx.sreg.tid.z" fn tid_z() -> u32;
    "llvm.nvvm.read.ptx.sreg.ntid.x" fn ntid_x() -> u32;
    "llvm.nvvm.read.ptx.sreg.ntid.y" fn ntid_y() -> u32;
    "llvm.nvvm.read.ptx.sreg.ntid.z" fn ntid_z() -> u32;
    "llvm.nvvm.read.ptx.sreg.ctaid.x" fn ctaid_x() -> u32;
    "llvm.nvvm.read.ptx.sreg.ctaid.y" fn ctaid_y() -> u32;
    "llvm.nvvm.read.ptx.sreg.ctaid.z" fn ctaid_z() -> u32;
    "llvm.nvvm.read.ptx.sreg.nctaid.x" fn nctaid_x() -> u32;
    "llvm.nvvm.read.ptx.sreg.nctaid.y" fn nctaid_y() -> u32;
    "llvm.nvvm.read.ptx.sreg.nctaid.z" fn nctaid_z() -> u32;
    "llvm.nvvm.read.ptx.sreg.laneid" fn laneid() -> u32;
}

macro_rules! registers {
    ($($(#[$meta:meta])* $name:ident = $register:ident;)*) => {$(
        $(#[$meta])*
        #[inline(always)]
        pub fn $name() -> u32 {
            // SAFETY: a special register can be read at any time.
            unsafe { $register() }
        }
    )*};
}

registers! {
    /// This thread's x in its block.
    thread_idx_x = tid_x;
    /// This thread's y in its block.
    thread_idx_y = tid_y;
    /// This thread's z in its block.
    thread_idx_z = tid_z;
    /// Threads of a block in x.
    block_dim_x = ntid_x;
    /// Threads of a block in y.
    block_dim_y = ntid_y;
    /// Threads of a block in z.
    block_dim_z = ntid_z;
    /// This block's x in the grid.
    block_idx_x = ctaid_x;
    /// This block's y in the grid.
    block_idx_y = ctaid_y;
    /// This block's z in the grid.
    block_idx_z = ctaid_z;
    /// Blocks of the grid in x.
    grid_dim_x = nctaid_x;
    /// Blocks of the grid in y.
    grid_dim_y = nctaid_y;
    /// Blocks of the grid in z.
    grid_dim_z = nctaid_z;
    /// This thread's lane in its warp, 0 to 31.
    lane_id = laneid;
}

/// Says that the entry's blocks have at most `THREADS` threads, and that a multiprocessor is to have room for `BLOCKS` of
/// them: that decides how many registers a thread may have.
///
/// The compiler writes it as a comment, of which `cuda_builder` makes a directive.
#[inline(always)]
pub fn blocks_at_once<const THREADS: u32, const BLOCKS: u32>() {
    // SAFETY: it is no instruction.
    ptx!("//entry: .maxntid {}, 1, 1\n\t//entry: .minnctapersm {}", const THREADS, const BLOCKS, options(nostack));
}

/// The number itself, of which the compiler does not know where it is from: what is added to it stays an addition, which a load
/// makes by itself.
#[inline(always)]
pub fn hidden(number: u64) -> u64 {
    let same: u64;
    // SAFETY: a copy of a register.
    ptx!("mov.b64 {}, {};", out(reg64) same, in(reg64) number, options(pure, nomem, nostack));
    same
}

/// The number itself, made where this stands: what is made of it stays behind it, and takes no registers in loops in front.
#[inline(always)]
pub fn anew(number: u32) -> u32 {
    let same: u32;
    // SAFETY: a copy of a register.
    ptx!("mov.b32 {}, {};", out(reg32) same, in(reg32) number, options(nomem, nostack));
    same
}

/// [`thread_idx_x`], read again where this stands: it takes no register in front of it.
#[inline(always)]
pub fn thread_idx_x_again() -> u32 {
    let number: u32;
    // SAFETY: a copy of a special register.
    ptx!("mov.u32 {}, %tid.x;", out(reg32) number, options(nomem, nostack));
    number
}

/// This thread's warp in a block whose threads lie along x.
#[inline(always)]
pub fn warp_id() -> u32 {
    thread_idx_x() / WARP_SIZE
}

/// Warps of a block whose threads lie along x; a last warp that is not full counts.
#[inline(always)]
pub fn warps_per_block() -> u32 {
    block_dim_x().div_ceil(WARP_SIZE)
}

/// This thread's index in a grid that lies along x.
#[inline(always)]
pub fn global_index() -> u32 {
    block_idx_x() * block_dim_x() + thread_idx_x()
}

/// Threads of a grid that lies along x.
#[inline(always)]
pub fn grid_threads() -> u32 {
    grid_dim_x() * block_dim_x()
}
