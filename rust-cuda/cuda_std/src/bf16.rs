//! Conversions between bf16, held as its 16 bits, and f32. All round to nearest, ties to even.
#[cfg(target_arch = "nvptx64")]
use crate::instruction::ptx;

/// The value of a bf16; exact.
#[inline(always)]
pub const fn to_f32(bits: u16) -> f32 {
    f32::from_bits((bits as u32) << 16)
}

/// The nearest bf16; a NaN stays one.
#[inline(always)]
pub fn from_f32(value: f32) -> u16 {
    pack([value, 0.0]) as u16
}

/// The nearest value that a bf16 can hold.
#[inline(always)]
pub fn round(value: f32) -> f32 {
    f32::from_bits(pack([value, 0.0]) << 16)
}

/// The values of two neighbours in memory, the first in the low half.
#[inline(always)]
pub const fn unpack(pair: u32) -> [f32; 2] {
    [f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000)]
}

/// Two values as neighbours in memory, the first in the low half.
#[cfg(target_arch = "nvptx64")]
#[inline(always)]
pub fn pack(values: [f32; 2]) -> u32 {
    let pair: u32;
    // SAFETY: arithmetic on registers, the same for the same operands.
    ptx!("cvt.rn.bf16x2.f32 {}, {}, {};", out(reg32) pair, in(reg32) values[1], in(reg32) values[0],
        options(pure, nomem, nostack));
    pair
}

/// Two values as neighbours in memory, the first in the low half.
#[cfg(not(target_arch = "nvptx64"))]
pub fn pack(values: [f32; 2]) -> u32 {
    u32::from(nearest(values[0])) | u32::from(nearest(values[1])) << 16
}

#[cfg(not(target_arch = "nvptx64"))]
fn nearest(value: f32) -> u16 {
    const NAN: u16 = 0x7fff;
    let bits = value.to_bits();
    if value.is_nan() {
        return NAN;
    }
    // Half of the dropped part, less one where the kept part is even, carries exactly when it has to.
    let half = 0x7fff + ((bits >> 16) & 1);
    ((bits + half) >> 16) as u16
}

/// The values of eight neighbours in memory.
#[inline(always)]
pub const fn unpack_8(words: [u32; 4]) -> [f32; 8] {
    let ([a, b], [c, d], [e, f], [g, h]) = (unpack(words[0]), unpack(words[1]), unpack(words[2]), unpack(words[3]));
    [a, b, c, d, e, f, g, h]
}

/// Eight values as neighbours in memory.
#[inline(always)]
pub fn pack_8(v: [f32; 8]) -> [u32; 4] {
    [pack([v[0], v[1]]), pack([v[2], v[3]]), pack([v[4], v[5]]), pack([v[6], v[7]])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bf16_survives_the_way_through_f32() {
        for bits in 0..=u16::MAX {
            let value = to_f32(bits);
            if value.is_nan() {
                assert!(to_f32(from_f32(value)).is_nan(), "{bits:#x}");
            } else {
                assert_eq!(from_f32(value), bits);
            }
        }
    }

    #[test]
    fn rounding_agrees_with_half_around_every_bf16() {
        for bits in 0..=u16::MAX {
            for below in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let value = f32::from_bits(u32::from(bits) << 16 | below);
                if !value.is_nan() {
                    assert_eq!(from_f32(value), half::bf16::from_f32(value).to_bits(), "{value:e}");
                    assert_eq!(round(value).to_bits(), u32::from(from_f32(value)) << 16, "{value:e}");
                }
            }
        }
    }

    #[test]
    fn packing_keeps_the_order_of_memory() {
        let values = [1.0, -2.0, 3.0, -4.0, 0.5, -0.25, 0.0, f32::INFINITY];
        assert_eq!(unpack_8(pack_8(values)), values);
        assert_eq!(pack([1.0, -2.0]), 0xc000_3f80);
    }
}
