//! `kernel!`: the entry point of a kernel.

/// Makes a function an entry point of the PTX module under its own name.
///
/// The body is an unsafe block: whoever launches the kernel promises its doc block's Requires, and the body relies on
/// that. Arguments are passed by value; one `#[repr(C)]` struct is the custom. The crate that uses the macro enables
/// `#![feature(abi_ptx)]`. An entry point that the builder compiles with another kernel is left out, by
/// `--cfg 'rms_norm="elsewhere"'`.
///
/// ```text
/// cuda_std::kernel! {
///     pub fn rms_norm(args: RmsNorm) { norm::<false>(&args) }
/// }
/// ```
#[macro_export]
macro_rules! kernel {
    ($($(#[$meta:meta])* $visibility:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) { $($body:tt)* })+) => {$(
        $(#[$meta])*
        ///
        /// # Safety
        /// An entry point: launched with the grid that its `launch()` states and arguments that meet its Requires.
        #[cfg(not($name = "elsewhere"))]
        #[unsafe(no_mangle)]
        $visibility unsafe extern "ptx-kernel" fn $name($($arg: $type),*) {
            // SAFETY: the launch promises what the doc block requires.
            unsafe { $($body)* }
        }
    )+};
}
