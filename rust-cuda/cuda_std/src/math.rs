//! Approximate functions of the chip, and the few more exact ones that are built on them.
//!
//! Rust's own `+ - * /` on `f32` are IEEE and round to nearest even; the compiler never contracts `a * b + c` by itself,
//! so a fused multiply-add is written as one: [`fma`].
use crate::instruction::{intrinsics, ptx};

intrinsics! {
    "llvm.fma.f32" fn fma_f32(a: f32, b: f32, c: f32) -> f32;
    "llvm.sqrt.f32" fn sqrt_f32(x: f32) -> f32;
    "llvm.floor.f32" fn floor_f32(x: f32) -> f32;
    "llvm.maxnum.f32" fn max_f32(a: f32, b: f32) -> f32;
    "llvm.minnum.f32" fn min_f32(a: f32, b: f32) -> f32;
}

/// `a · b + c`, rounded once.
#[inline(always)]
pub fn fma(a: f32, b: f32, c: f32) -> f32 {
    // SAFETY: arithmetic.
    unsafe { fma_f32(a, b, c) }
}

/// The square root, rounded to nearest even.
#[inline(always)]
pub fn sqrt(x: f32) -> f32 {
    // SAFETY: arithmetic.
    unsafe { sqrt_f32(x) }
}

/// The largest integer that is not above `x`.
#[inline(always)]
pub fn floor(x: f32) -> f32 {
    // SAFETY: arithmetic.
    unsafe { floor_f32(x) }
}

/// The larger of two numbers; the other one where one is NaN.
#[inline(always)]
pub fn max(a: f32, b: f32) -> f32 {
    // SAFETY: arithmetic.
    unsafe { max_f32(a, b) }
}

/// The smaller of two numbers; the other one where one is NaN.
#[inline(always)]
pub fn min(a: f32, b: f32) -> f32 {
    // SAFETY: arithmetic.
    unsafe { min_f32(a, b) }
}

macro_rules! approximate {
    ($($(#[$meta:meta])* $name:ident = $instruction:literal;)*) => {$(
        $(#[$meta])*
        #[inline(always)]
        pub fn $name(x: f32) -> f32 {
            let result: f32;
            // SAFETY: arithmetic on registers, the same for the same operand.
            ptx!(concat!($instruction, " {}, {};"), out(reg32) result, in(reg32) x, options(pure, nomem, nostack));
            result
        }
    )*};
}

approximate! {
    /// `2^x`, within 2 ulp over the whole range; `2^−∞ = 0`, and integers are exact.
    ex2 = "ex2.approx.f32";
    /// [`ex2`], but 0 where that is subnormal: one instruction of the chip instead of four.
    ex2_flushed = "ex2.approx.ftz.f32";
    /// `log₂ x`, within 2^−22 absolute near 1 and 2^−22 relative elsewhere.
    lg2 = "lg2.approx.f32";
    /// `1 / √x`, within 2^−22.9 relative.
    rsqrt = "rsqrt.approx.f32";
    /// `1 / x`, within 1 ulp.
    rcp = "rcp.approx.f32";
    /// [`rcp`], but 0 where that is subnormal: one instruction of the chip instead of four.
    rcp_flushed = "rcp.approx.ftz.f32";
}

/// `e^x`, within 4 ulp over the whole range: 0 far below, ∞ far above, NaN of NaN.
///
/// `x·log₂e` alone would lose |x|·2⁻²⁴ of the result, so the exponent is split into an integer, which [`ex2`] takes
/// exactly, and a remainder that is formed in two steps (Cody and Waite).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 0.693_145_75;
    const LN_2_LOW: f32 = 1.428_606_8e-6;
    // Beyond these the result is ∞ or 0 whatever the remainder is; inside, the remainder is finite.
    let bounded = min(max(x, -150.0), 150.0);
    let whole = floor(bounded * core::f32::consts::LOG2_E);
    let rest = fma(-whole, LN_2_LOW, fma(-whole, LN_2_HIGH, bounded));
    let power = ex2(rest * core::f32::consts::LOG2_E) * ex2(whole);
    // `max` drops a NaN.
    if x.is_nan() { x } else { power }
}
