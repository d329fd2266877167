//! What pools keep of numbers, in f64: themselves, or codes of e4m3 by OCP's definition.
use std::sync::LazyLock;

use gpu_kernels::KvFormat;

/// The code of what is no number.
pub const NAN: u8 = 0x7f;

/// The values of the codes that are no less than 0, least first.
static VALUES: LazyLock<[f64; NAN as usize]> = LazyLock::new(|| std::array::from_fn(|code| value(code as u8)));

/// Scales of keys and values of which many multiples by a bf16's few bits stand between two codes: a quotient that is not rounded
/// as a division rounds it becomes another.
pub const TIED_SCALES: [f32; 2] = [7.0 / 1024.0, 7.0 / 512.0];

/// A pool's elements, and what numbers are divided by before they become some.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    pub format: KvFormat,
    pub scale: f32,
}

impl Kept {
    /// What is kept of a number, as rows and targets write it: codes are their own numbers.
    pub fn of(self, number: f64) -> f64 {
        match self.format {
            KvFormat::Act => number,
            // The quotient is one of f32.
            KvFormat::Fp8 => f64::from(code(f64::from(number as f32 / self.scale))),
        }
    }

    /// The number that an element stands for.
    pub fn number(self, element: f64) -> f64 {
        match self.format {
            KvFormat::Act => element,
            KvFormat::Fp8 => value(element as u8) * f64::from(self.scale),
        }
    }

    /// A pool that keeps these numbers.
    pub fn pool(self, numbers: Vec<f32>) -> Vec<f32> {
        numbers.into_iter().map(|number| self.of(f64::from(number)) as f32).collect()
    }
}

/// The value of a code.
fn value(code: u8) -> f64 {
    let (exponent, fraction) = (i32::from(code >> 3 & 15), f64::from(code & 7) / 8.0);
    let magnitude = match code & 0x7f {
        0x7f => f64::NAN,
        _ if exponent == 0 => fraction * 2f64.powi(-6),
        _ => (1.0 + fraction) * 2f64.powi(exponent - 7),
    };
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

/// The nearest code, of two the even one, of a number that is brought to ±448 first.
fn code(number: f64) -> u8 {
    if number.is_nan() {
        return NAN;
    }
    let magnitude = number.abs().min(448.0);
    let above = VALUES.partition_point(|value| *value < magnitude) as u8;
    let below = above.saturating_sub(u8::from(VALUES[usize::from(above)] > magnitude));
    let (up, down) = (VALUES[usize::from(above)] - magnitude, magnitude - VALUES[usize::from(below)]);
    let nearest = if up < down || (up == down && above.is_multiple_of(2)) { above } else { below };
    nearest | if number.is_sign_negative() { 0x80 } else { 0 }
}

/// Every bf16 becomes the code that ml_dtypes gives it, clipped: what the rows are held to is right.
#[test]
fn codes_are_those_of_ml_dtypes() {
    // Of each code but the first, the least bf16 that becomes it; ml_dtypes 0.6, all 32 640 that are not negative.
    let least: [u16; 126] = include!("cached_least.in");
    for bits in 0..0x7f80u16 {
        let want = least.partition_point(|first| *first <= bits) as u8;
        let number = f64::from(half::bf16::from_bits(bits).to_f32());
        assert_eq!((code(number), code(-number)), (want, want | 0x80), "{bits:#x}");
    }
    assert_eq!((code(f64::INFINITY), code(f64::NAN)), (0x7e, NAN));
}
