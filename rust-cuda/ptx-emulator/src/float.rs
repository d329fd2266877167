//! Floating-point arithmetic as PTX defines it: half-width formats, canonical NaN, flushing, and directed rounding.

use crate::lanes::{LANES, Lane, Registers, Slot, lane};

/// IEEE binary16.
#[derive(Clone, Copy)]
pub struct F16(pub u16);
/// bfloat16.
#[derive(Clone, Copy)]
pub struct Bf16(pub u16);
/// Two half-width floats in a 32-bit register, the low half first.
#[derive(Clone, Copy)]
pub struct Pair<T>(pub T, pub T);

lane!(F16, u16, r16, F16, |x| x.0);
lane!(Bf16, u16, r16, Bf16, |x| x.0);
lane!(Pair<F16>, u32, r32, |x| Pair(F16(x as u16), F16((x >> 16) as u16)), |x| u32::from(x.0.0)
    | u32::from(x.1.0) << 16);
lane!(Pair<Bf16>, u32, r32, |x| Pair(Bf16(x as u16), Bf16((x >> 16) as u16)), |x| u32::from(x.0.0)
    | u32::from(x.1.0) << 16);

/// Direction of rounding of a result that does not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Round {
    Nearest,
    Zero,
    Down,
    Up,
}

impl Round {
    pub fn parse(word: &str) -> Option<Round> {
        Some(match word {
            "rn" => Round::Nearest,
            "rz" => Round::Zero,
            "rm" => Round::Down,
            "rp" => Round::Up,
            _ => return None,
        })
    }
}

/// The exact number `hi + lo` (|lo| at most half an ulp of `hi`) as f32.
pub fn round_f32(hi: f64, lo: f64, mode: Round) -> f32 {
    let nearest = to_odd(hi, lo) as f32;
    if mode == Round::Nearest || !hi.is_finite() || nearest.is_nan() {
        return nearest;
    }
    // The sign of the error of `nearest`, exactly: hi is compared first, lo decides a tie.
    let r = f64::from(nearest);
    let error = if r != hi { r - hi } else { -lo };
    let down = mode == Round::Down || mode == Round::Zero && hi > 0.0;
    let up = mode == Round::Up || mode == Round::Zero && hi < 0.0;
    match () {
        _ if down && error > 0.0 => nearest.next_down(),
        _ if up && error < 0.0 => nearest.next_up(),
        _ => nearest,
    }
}

/// `hi + lo` as f64 rounded to odd, so that a second rounding to a narrower format rounds as one.
pub fn to_odd(hi: f64, lo: f64) -> f64 {
    if lo == 0.0 || !hi.is_finite() || hi.to_bits() & 1 == 1 {
        return hi;
    }
    if lo > 0.0 { hi.next_up() } else { hi.next_down() }
}

/// `a + b` as a rounded sum and its exact error (Knuth's two-sum).
pub fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let part = sum - a;
    (sum, if sum.is_finite() { (a - (sum - part)) + (b - part) } else { 0.0 })
}

/// `a · b + c` in f32 with the given rounding.
pub fn fma_f32(a: f32, b: f32, c: f32, mode: Round) -> f32 {
    let (hi, lo) = two_sum(f64::from(a) * f64::from(b), f64::from(c));
    round_f32(hi, lo, mode)
}

impl F16 {
    pub fn to_f32(self) -> f32 {
        let (sign, exponent, mantissa) =
            (u32::from(self.0 & 0x8000) << 16, self.0 >> 10 & 31, u32::from(self.0 & 0x3ff));
        match exponent {
            0 => f32::from_bits((mantissa as f32 * 2f32.powi(-24)).to_bits() | sign),
            31 => f32::from_bits(sign | 0x7f80_0000 | mantissa << 13),
            _ => f32::from_bits(sign | (u32::from(exponent) + 112) << 23 | mantissa << 13),
        }
    }

    /// The number of a code of 1 sign, 4 exponent and 3 mantissa bits (e4m3fn), exactly.
    pub fn of_e4m3(code: u8) -> F16 {
        let (exponent, mantissa) = (i32::from(code >> 3 & 15), f64::from(code & 7));
        let magnitude = match exponent {
            _ if code & 0x7f == 0x7f => return F16(0x7fff),
            0 => mantissa * 2f64.powi(-9),
            _ => (8.0 + mantissa) * 2f64.powi(exponent - 10),
        };
        F16::round(if code & 0x80 == 0 { magnitude } else { -magnitude }, Round::Nearest)
    }

    pub fn round(x: f64, mode: Round) -> F16 {
        if x.is_nan() {
            return F16(0x7fff);
        }
        F16(round_bits(x, mode, 10, -14, 65504.0))
    }
}

impl Bf16 {
    #[inline(always)]
    pub fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    /// Nearest even, from f32.
    #[inline(always)]
    pub fn nearest(x: f32) -> Bf16 {
        let bits = x.to_bits();
        let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
        Bf16(if x.is_nan() { 0x7fff } else { rounded })
    }

    pub fn round(x: f64, mode: Round) -> Bf16 {
        if x.is_nan() {
            return Bf16(0x7fff);
        }
        Bf16(round_bits(x, mode, 7, -126, f64::from(f32::from_bits(0x7f7f_0000))))
    }
}

/// `x` (not NaN) in a 16-bit format with `mantissa` stored bits, smallest normal exponent `low` and largest value `max`.
fn round_bits(x: f64, mode: Round, mantissa: i32, low: i32, max: f64) -> u16 {
    let sign = if x.is_sign_negative() { 0x8000 } else { 0 };
    let magnitude = x.abs();
    let infinity = ((1u16 << (15 - mantissa)) - 1) << mantissa;
    if magnitude.is_infinite() {
        return sign | infinity;
    }
    let exponent = ((magnitude.to_bits() >> 52) as i32 - 1023).max(low);
    // Scaled so that one unit is one ulp of the format; powers of two scale exactly.
    let scaled = magnitude * 2f64.powi(mantissa - exponent);
    let away = matches!((mode, sign), (Round::Up, 0) | (Round::Down, 0x8000));
    let units = match mode {
        Round::Nearest => scaled.round_ties_even(),
        _ if away => scaled.ceil(),
        _ => scaled.floor(),
    };
    if units * 2f64.powi(exponent - mantissa) > max {
        let largest = infinity - 1;
        return sign | if mode == Round::Nearest || away { infinity } else { largest };
    }
    // The exponent field starts at 1 for normal numbers, whose leading unit adds that 1 by itself.
    sign | ((((exponent - low) as u16) << mantissa) + units as u16)
}

/// Arithmetic of one floating-point format, rounding to nearest even, with the canonical NaN of the format.
pub trait Real: Lane {
    fn add(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    fn fma(self, b: Self, c: Self) -> Self;
    fn neg(self) -> Self;
    fn abs(self) -> Self;
    /// The smaller; a NaN loses to a number unless `nan` asks for it.
    fn min(self, b: Self, nan: bool) -> Self;
    fn max(self, b: Self, nan: bool) -> Self;
    fn flush(self) -> Self;
    /// Clamped to [0, 1], NaN to 0.
    fn saturate(self) -> Self;
    fn tests(self) -> Kind;
}

/// The NaN that the hardware returns in place of any other.
pub trait Canonical {
    fn canonical(self) -> Self;
}

/// In terms of bits: to the optimizer one NaN is as good as another, and it drops a choice between them.
macro_rules! canonical {
    ($ty:ty, $nan:expr) => {
        impl Canonical for $ty {
            #[inline(always)]
            fn canonical(self) -> $ty {
                let bits = self.to_bits();
                <$ty>::from_bits(if bits & $nan > <$ty>::INFINITY.to_bits() { $nan } else { bits })
            }
        }
    };
}
canonical!(f32, 0x7fff_ffff);
canonical!(f64, 0x7fff_ffff_ffff_ffff);

/// What `testp` asks of a number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Nan,
    Infinite,
    Zero,
    Subnormal,
    Normal,
}

macro_rules! real {
    ($ty:ty, $nan:expr) => {
        impl Real for $ty {
            #[inline(always)]
            fn add(self, b: Self) -> Self {
                (self + b).canonical()
            }
            #[inline(always)]
            fn mul(self, b: Self) -> Self {
                (self * b).canonical()
            }
            #[inline(always)]
            fn fma(self, b: Self, c: Self) -> Self {
                self.mul_add(b, c).canonical()
            }
            #[inline(always)]
            fn neg(self) -> Self {
                -self
            }
            #[inline(always)]
            fn abs(self) -> Self {
                <$ty>::abs(self)
            }
            #[inline(always)]
            fn min(self, b: Self, nan: bool) -> Self {
                let smaller = if self < b || self == b && self.is_sign_negative() { self } else { b };
                pick(self, b, nan, smaller, <$ty>::from_bits($nan))
            }
            #[inline(always)]
            fn max(self, b: Self, nan: bool) -> Self {
                let larger = if self > b || self == b && b.is_sign_negative() { self } else { b };
                pick(self, b, nan, larger, <$ty>::from_bits($nan))
            }
            #[inline(always)]
            fn flush(self) -> Self {
                if self.is_subnormal() { <$ty>::copysign(0.0, self) } else { self }
            }
            #[inline(always)]
            fn saturate(self) -> Self {
                if self > 0.0 { if self < 1.0 { self } else { 1.0 } } else { 0.0 }
            }
            fn tests(self) -> Kind {
                match self.classify() {
                    std::num::FpCategory::Nan => Kind::Nan,
                    std::num::FpCategory::Infinite => Kind::Infinite,
                    std::num::FpCategory::Zero => Kind::Zero,
                    std::num::FpCategory::Subnormal => Kind::Subnormal,
                    std::num::FpCategory::Normal => Kind::Normal,
                }
            }
        }
    };
}
real!(f32, 0x7fff_ffff);
real!(f64, 0x7fff_ffff_ffff_ffff);

/// The result of a minimum or maximum once NaN operands are taken into account.
#[inline(always)]
#[expect(clippy::eq_op, reason = "a number that differs from itself is a NaN; generic over f32 and f64")]
fn pick<T: Copy + PartialEq>(a: T, b: T, nan: bool, ordered: T, canonical: T) -> T {
    match (a != a, b != b) {
        (false, false) => ordered,
        (true, false) if !nan => b,
        (false, true) if !nan => a,
        _ => canonical,
    }
}

macro_rules! half {
    ($ty:ident) => {
        impl Real for $ty {
            fn add(self, b: Self) -> Self {
                $ty::round(f64::from(self.to_f32()) + f64::from(b.to_f32()), Round::Nearest)
            }
            fn mul(self, b: Self) -> Self {
                $ty::round(f64::from(self.to_f32()) * f64::from(b.to_f32()), Round::Nearest)
            }
            fn fma(self, b: Self, c: Self) -> Self {
                let product = f64::from(self.to_f32()) * f64::from(b.to_f32());
                let (hi, lo) = two_sum(product, f64::from(c.to_f32()));
                $ty::round(to_odd(hi, lo), Round::Nearest)
            }
            fn neg(self) -> Self {
                $ty(self.0 ^ 0x8000)
            }
            fn abs(self) -> Self {
                $ty(self.0 & 0x7fff)
            }
            fn min(self, b: Self, nan: bool) -> Self {
                $ty::round(f64::from(Real::min(self.to_f32(), b.to_f32(), nan)), Round::Nearest)
            }
            fn max(self, b: Self, nan: bool) -> Self {
                $ty::round(f64::from(Real::max(self.to_f32(), b.to_f32(), nan)), Round::Nearest)
            }
            fn flush(self) -> Self {
                if self.tests() == Kind::Subnormal { $ty(self.0 & 0x8000) } else { self }
            }
            fn saturate(self) -> Self {
                $ty::round(f64::from(self.to_f32().saturate()), Round::Nearest)
            }
            fn tests(self) -> Kind {
                let smallest =
                    $ty::round(0.0, Round::Nearest).0 | if stringify!($ty) == "F16" { 1 << 10 } else { 1 << 7 };
                match self.to_f32().tests() {
                    Kind::Normal | Kind::Subnormal if self.0 & 0x7fff < smallest => Kind::Subnormal,
                    other => other,
                }
            }
        }
        impl Real for Pair<$ty> {
            fn add(self, b: Self) -> Self {
                Pair(self.0.add(b.0), self.1.add(b.1))
            }
            fn mul(self, b: Self) -> Self {
                Pair(self.0.mul(b.0), self.1.mul(b.1))
            }
            fn fma(self, b: Self, c: Self) -> Self {
                Pair(self.0.fma(b.0, c.0), self.1.fma(b.1, c.1))
            }
            fn neg(self) -> Self {
                Pair(self.0.neg(), self.1.neg())
            }
            fn abs(self) -> Self {
                Pair(self.0.abs(), self.1.abs())
            }
            fn min(self, b: Self, nan: bool) -> Self {
                Pair(self.0.min(b.0, nan), self.1.min(b.1, nan))
            }
            fn max(self, b: Self, nan: bool) -> Self {
                Pair(self.0.max(b.0, nan), self.1.max(b.1, nan))
            }
            fn flush(self) -> Self {
                Pair(self.0.flush(), self.1.flush())
            }
            fn saturate(self) -> Self {
                Pair(self.0.saturate(), self.1.saturate())
            }
            fn tests(self) -> Kind {
                self.0.tests()
            }
        }
    };
}
half!(F16);
half!(Bf16);
