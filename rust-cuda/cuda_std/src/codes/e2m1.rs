//! Codes of 4 bits that are floats: 1 sign, 2 exponent and 1 mantissa bits, eight to a word.
use super::{e4m3_of_signed, halves, multiply, permute_by, twice};

/// 2¹¹⁹, twice.
const TWO_TO_119: u32 = twice(0x7b00);

/// By this the products of [`e2m1`] are still to be multiplied.
pub const E2M1_REST: f32 = 128.0;

/// The `place`-th of four scales of e4m3, of each of two rows, as [`e2m1`] takes it: bf16 has no 2¹²⁶ times it, but 2¹¹⁹
/// times it.
#[inline(always)]
pub fn e2m1_scales([low, high]: [u32; 2], place: u32) -> [u32; 2] {
    let both = e4m3_of_signed(permute_by(low, high, 0xc480 + place * 0x1111));
    halves(multiply(both, TWO_TO_119))
}

/// Where bf16 has the bits of two codes of e2m1: signs, the lower two bits of exponents, the highest ones of mantissas.
const E2M1_PLACES: u32 = twice(0x81c0);

/// Eight floats of 1 sign, 2 exponent and 1 mantissa bits (e2m1) as pairs of bf16, in their order, but for 2⁻¹²⁶.
///
/// Bits of a word stand so that no pair takes more than two shifts of it and one mask; docs/formats.md says how.
#[inline(always)]
pub fn e2m1_bits(word: u32) -> [u32; 4] {
    let near = word << 2;
    [word, word.rotate_left(12), near ^ word << 6, near ^ word.rotate_left(8)].map(|bits| bits & E2M1_PLACES)
}

/// Those floats multiplied by the scale that [`e2m1_scales`] made, but for [`E2M1_REST`].
#[inline(always)]
pub fn e2m1(word: u32, scale: u32) -> [u32; 4] {
    e2m1_bits(word).map(
        #[inline(always)]
        |pair| multiply(pair, scale),
    )
}

/// Pair `pair` of what [`e2m1`] makes of a word, by the same instructions whichever it is.
#[inline(always)]
pub fn e2m1_pair(word: u32, pair: u32, scale: u32) -> u32 {
    // A rotation by 0, 12, 6 or 8, and for the last two pairs a shift by 2.
    let bits = word.rotate_left(0x0806_0c00 >> (8 * pair)) ^ word.wrapping_mul(pair / 2 * 4);
    multiply(bits & E2M1_PLACES, scale)
}

/// Where pairs have the magnitudes and signs of codes.
const MAGNITUDES: u32 = twice(0x01c0);
const SIGNS: u32 = twice(0x8000);

/// The word that [`e2m1_bits`] takes apart, of eight codes, that of the first column lowest: the sums of its bits that a pair
/// is, solved for all lanes at once.
#[inline(always)]
pub fn e2m1_word(codes: u32) -> u32 {
    let [first, second, third, fourth] = placed(even_and_odd(codes));
    // Bits that only one shift of the word brings to a place: the first two pairs, and of the fourth what these tell.
    let fourth = fourth ^ (first << 2 ^ first.rotate_left(8)) & E2M1_PLACES;
    let known = first | (fourth & 0x8080_8080) >> 2 | (fourth & 0x0100_0100) >> 8;
    // With those the third pair tells all but two bits, which the fourth has beside one of the third's.
    let third = third ^ (known << 2 ^ known << 6) & E2M1_PLACES;
    let last = ((third ^ fourth) & 0x0040_0040).rotate_right(8);
    known | second.rotate_right(12) | (third & 0x0040_0040) >> 2 | (third & 0x8180_8180) >> 6 | last
}

/// Eight nibbles, those at even places in the lower half.
#[inline(always)]
fn even_and_odd(nibbles: u32) -> u32 {
    let swapped = |word: u32, mask: u32, by: u32| {
        let differ = (word ^ word >> by) & mask;
        word ^ differ ^ differ << by
    };
    swapped(swapped(nibbles, 0x00f0_00f0, 4), 0x0000_ff00, 8)
}

/// The pairs as [`e2m1_bits`] makes them of a word.
#[inline(always)]
fn placed(halves: u32) -> [u32; 4] {
    [
        halves << 6 & MAGNITUDES | halves << 12 & SIGNS,
        halves << 2 & MAGNITUDES | halves << 8 & SIGNS,
        halves >> 2 & MAGNITUDES | halves << 4 & SIGNS,
        halves >> 6 & MAGNITUDES | halves & SIGNS,
    ]
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::super::tests::{float, floats, same};
    use super::*;

    /// The code of column `column` of a word, bit by bit as docs/formats.md has it.
    fn code(word: u32, column: usize) -> u32 {
        let bit = |to: u32| {
            let from = |by: u32| word >> ((to + 16 * (column as u32 % 2) + 32 - by) % 32) & 1;
            match column / 2 {
                0 => from(0),
                1 => from(12),
                2 => from(2) ^ from(6),
                _ => from(2) ^ from(8),
            }
        };
        [6, 7, 8, 15].into_iter().enumerate().fold(0, |code, (at, to)| code | bit(to) << at)
    }

    /// Words that have every code at every place; the seed says which is the first.
    fn words(seed: u32) -> impl Iterator<Item = u32> {
        let mut seen = [0u16; 8];
        let mut next = seed;
        core::iter::from_fn(move || {
            next = next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let word = next ^ next >> 15;
            let done = seen.iter().all(|seen| *seen == !0);
            seen.iter_mut().enumerate().for_each(|(column, seen)| *seen |= 1 << code(word, column));
            (!done).then_some(word)
        })
    }

    #[test]
    fn every_e2m1_with_every_scale_at_every_place() {
        for scale in (0..=255u32).filter(|scale| scale & 0x7f != 0x7f) {
            let place = scale % 4;
            let own = 0x1234_5678 & !(0xff << (8 * place)) | scale << (8 * place);
            for (row, scales) in [[own, 0x8765_4321], [0x8765_4321, own]].into_iter().enumerate() {
                let made = e2m1_scales(scales, place)[row];
                for word in words(scale) {
                    for (column, got) in floats(e2m1(word, made)).into_iter().enumerate() {
                        same(got * E2M1_REST, float(code(word, column), 2, 1, 1) * float(scale, 4, 3, 7));
                    }
                }
            }
        }
    }

    #[test]
    fn a_word_is_made_of_its_codes() {
        let all = |word: u32| (0..8).fold(0, |codes, column| codes | code(word, column) << (4 * column));
        for word in words(3).chain((0..32).map(|bit| 1 << bit)).chain([0, !0]) {
            assert_eq!(e2m1_word(all(word)), word, "{word:#x}");
        }
        // The example of docs/formats.md.
        assert_eq!(e2m1_word(0x7654_3210), 0x4872_0c37);
    }

    #[test]
    fn a_pair_is_that_of_its_word() {
        let [scale, _] = e2m1_scales([0x1234_56b9, 0], 0);
        for word in words(7).chain((0..32).map(|bit| 1 << bit)).chain([0, !0]) {
            assert_eq!([0, 1, 2, 3].map(|pair| e2m1_pair(word, pair, scale)), e2m1(word, scale), "{word:#x}");
        }
    }
}
