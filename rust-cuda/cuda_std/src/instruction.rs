//! The two ways to an instruction: PTX text (`ptx!`) and LLVM's intrinsics (`intrinsics!`).
//!
//! An intrinsic is convergent: LLVM neither moves it into a branch nor duplicates it across one. `asm!` is not marked so,
//! and stands only where there is no intrinsic, never as `pure`, `nomem` or `readonly` for a collective.
//! On other targets both panic, so that the crate can be checked and documented with any compiler.

/// `asm!` on a GPU; a panic elsewhere. Expands to an unsafe block: the caller states why it is sound.
macro_rules! ptx {
    ($($asm:tt)*) => {{
        #[cfg(target_arch = "nvptx64")]
        unsafe { core::arch::asm!($($asm)*) };
        #[cfg(not(target_arch = "nvptx64"))]
        $crate::instruction::not_a_gpu();
    }};
}
pub(crate) use ptx;

/// Declares functions that are LLVM intrinsics on a GPU and panic elsewhere.
macro_rules! intrinsics {
    ($($link:literal fn $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        #[cfg(target_arch = "nvptx64")]
        unsafe extern "unadjusted" {
            $(#[link_name = $link] fn $name($($arg: $type),*) $(-> $result)?;)*
        }
        $(#[cfg(not(target_arch = "nvptx64"))]
        unsafe fn $name($($arg: $type),*) $(-> $result)? { $crate::instruction::not_a_gpu() })*
    };
}
pub(crate) use intrinsics;

#[cfg(not(target_arch = "nvptx64"))]
pub(crate) fn not_a_gpu() -> ! {
    panic!("this is an instruction of a GPU")
}

/// Ends the kernel with an error.
#[cfg(target_arch = "nvptx64")]
pub(crate) fn trap() -> ! {
    // SAFETY: `trap` touches no memory and does not return.
    unsafe { core::arch::asm!("trap;", options(noreturn)) }
}
