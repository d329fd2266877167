//! The tensor core's instructions, raw. [`crate::fragment`] says which lane holds which element.
//!
//! All of them are collectives of the whole warp.
use crate::instruction::{intrinsics, ptx};

/// What the intrinsic returns: an LLVM struct of four floats.
#[repr(C)]
struct Accumulator(f32, f32, f32, f32);

intrinsics! {
    "llvm.nvvm.mma.m16n8k16.row.col.bf16" fn mma_bf16(a0: u32, a1: u32, a2: u32, a3: u32, b0: u32, b1: u32,
        c0: f32, c1: f32, c2: f32, c3: f32) -> Accumulator;
}

/// `a · b + c`: a 16×16 and b 16×8 of bf16, c and the result 16×8 of f32.
///
/// # Safety
/// All 32 lanes call it together.
#[inline(always)]
pub unsafe fn m16n8k16_bf16(a: [u32; 4], b: [u32; 2], c: [f32; 4]) -> [f32; 4] {
    // SAFETY: the caller's promise.
    let d = unsafe { mma_bf16(a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], c[2], c[3]) };
    [d.0, d.1, d.2, d.3]
}

/// As [`m16n8k16_bf16`], with a and b of f16.
///
/// # Safety
/// All 32 lanes call it together.
#[inline(always)]
pub unsafe fn m16n8k16_f16(a: [u32; 4], b: [u32; 2], c: [f32; 4]) -> [f32; 4] {
    let [mut d0, mut d1, mut d2, mut d3] = c;
    // SAFETY: the caller's promise. LLVM's intrinsic takes vectors of f16, which Rust has not.
    ptx!(concat!("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {{{0}, {1}, {2}, {3}}}, {{{4}, {5}, {6}, {7}}}, ",
        "{{{8}, {9}}}, {{{0}, {1}, {2}, {3}}};"),
        inout(reg32) d0, inout(reg32) d1, inout(reg32) d2, inout(reg32) d3, in(reg32) a[0], in(reg32) a[1],
        in(reg32) a[2], in(reg32) a[3], in(reg32) b[0], in(reg32) b[1], options(nostack));
    [d0, d1, d2, d3]
}

macro_rules! ldmatrix {
    ($($(#[$meta:meta])* $name:ident $count:literal $asm:literal $($register:ident)*;)*) => {$(
        $(#[$meta])*
        ///
        /// # Safety
        /// All 32 lanes call it together; the addressed rows of 16 bytes are aligned to 16, written, and nobody writes
        /// them without a barrier between.
        #[inline(always)]
        pub unsafe fn $name(row: u32) -> [u32; $count] {
            $(let $register: u32;)*
            // SAFETY: the caller's promise. LLVM has no such intrinsic on 32-bit shared addresses.
            ptx!($asm, $(out(reg32) $register,)* in(reg32) row, options(nostack));
            [$($register),*]
        }
    )*};
}

ldmatrix! {
    /// Loads one 8×8 matrix of 16-bit elements; lanes 0 to 7 hold the shared addresses of its rows.
    ldmatrix_x1 1 "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{{}}}, [{}];" r0;
    /// Loads two 8×8 matrices; lanes 8·i to 8·i + 7 hold the shared addresses of the rows of matrix i.
    ldmatrix_x2 2 "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {{{}, {}}}, [{}];" r0 r1;
    /// Loads four 8×8 matrices; lanes 8·i to 8·i + 7 hold the shared addresses of the rows of matrix i.
    ldmatrix_x4 4 "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{{}, {}, {}, {}}}, [{}];" r0 r1 r2 r3;
    /// [`ldmatrix_x1`], each matrix transposed.
    ldmatrix_x1_transposed 1 "ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {{{}}}, [{}];" r0;
    /// [`ldmatrix_x2`], each matrix transposed.
    ldmatrix_x2_transposed 2 "ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {{{}, {}}}, [{}];" r0 r1;
    /// [`ldmatrix_x4`], each matrix transposed.
    ldmatrix_x4_transposed 4 "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {{{}, {}, {}, {}}}, [{}];" r0 r1 r2 r3;
}
