//! Words of eight e2m1 codes, whose bits stand as docs/formats.md says: each bit of a code is the sum, without carry, of one
//! or two bits of the word. To read a word, tables are made of that rule; to make one, its sums are solved for all lanes of a
//! vector at once.
use pulp::Arch;

/// Where pairs have the magnitudes and signs of codes.
const MAGNITUDES: u32 = 0x01c0_01c0;
const SIGNS: u32 = 0x8000_8000;
const PLACES: u32 = MAGNITUDES | SIGNS;

/// What each value of each of four bytes of a word adds to its codes.
static CODES: [[u32; 256]; 4] = tables(sums());

/// The eight codes of a word, that of the first column lowest.
pub fn e2m1_codes(word: u32) -> u32 {
    let [a, b, c, d] = word.to_le_bytes().map(usize::from);
    CODES[0][a] ^ CODES[1][b] ^ CODES[2][c] ^ CODES[3][d]
}

/// Eights of codes, two in a byte, the earlier one lower, become words.
///
/// # Panics
/// If the lengths differ, or are no multiples of 4.
pub fn e2m1_words(codes: &[u8], words: &mut [u8]) {
    assert!(codes.len() == words.len() && codes.len().is_multiple_of(4), "whole words of codes");
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for (codes, word) in codes.as_chunks::<4>().0.iter().zip(words.as_chunks_mut::<4>().0) {
                *word = e2m1_word(u32::from_le_bytes(*codes)).to_le_bytes();
            }
        },
    );
}

/// The word of eight codes, that of the first column lowest.
#[inline(always)]
pub fn e2m1_word(codes: u32) -> u32 {
    let [first, second, third, fourth] = pairs(even_and_odd(codes));
    // Bits that only one shift of the word brings to a place: the first two pairs, and of the fourth what these tell.
    let fourth = fourth ^ (first << 2 ^ first.rotate_left(8)) & PLACES;
    let known = first | (fourth & 0x8080_8080) >> 2 | (fourth & 0x0100_0100) >> 8;
    // With those the third pair tells all but two bits, which the fourth has beside one of the third's.
    let third = third ^ (known << 2 ^ known << 6) & PLACES;
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

/// The pairs as kernels make them of a word.
#[inline(always)]
fn pairs(halves: u32) -> [u32; 4] {
    [
        halves << 6 & MAGNITUDES | halves << 12 & SIGNS,
        halves << 2 & MAGNITUDES | halves << 8 & SIGNS,
        halves >> 2 & MAGNITUDES | halves << 4 & SIGNS,
        halves >> 6 & MAGNITUDES | halves & SIGNS,
    ]
}

/// For each bit of eight codes the bits of a word whose sum it is.
const fn sums() -> [u32; 32] {
    let mut sums = [0; 32];
    let mut bit = 0;
    while bit < 32 {
        let (column, place) = (bit / 4, [6, 7, 8, 15][bit % 4] + bit / 4 % 2 * 16);
        let (one, other) = [(0, None), (12, None), (2, Some(6)), (2, Some(8))][column / 2];
        sums[bit] = rotated_from(place, one);
        if let Some(other) = other {
            sums[bit] ^= rotated_from(place, other);
        }
        bit += 1;
    }
    sums
}

/// The bit that a rotation to the left by `by` brings to place `place`.
const fn rotated_from(place: usize, by: usize) -> u32 {
    1 << ((place + 32 - by) % 32)
}

/// Of every value of every byte its part of those sums.
const fn tables(sums: [u32; 32]) -> [[u32; 256]; 4] {
    let mut tables = [[0; 256]; 4];
    let mut at = 0;
    while at < 4 * 256 {
        let value = ((at % 256) as u32) << (8 * (at / 256));
        let mut bit = 0;
        while bit < 32 {
            tables[at / 256][at % 256] |= ((sums[bit] & value).count_ones() & 1) << bit;
            bit += 1;
        }
        at += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a kernel makes of a word, as bf16 has the bits of two codes; docs/formats.md has the four lines.
    fn widened(word: u32) -> [u32; 4] {
        let all = [
            word,
            word.rotate_left(12),
            word.rotate_left(2) ^ word.rotate_left(6),
            word.rotate_left(2) ^ word.rotate_left(8),
        ];
        all.map(|pair| pair & 0x81c0_81c0)
    }

    #[test]
    fn every_code_at_every_place_is_found_where_kernels_look() {
        for word in (0..100_000u32).map(|i| i.wrapping_mul(0x9e37_79b9)).chain((0..32).map(|bit| 1 << bit)) {
            let codes = e2m1_codes(word);
            assert_eq!(e2m1_word(codes), word);
            for (pair, bits) in widened(word).into_iter().enumerate() {
                for half in 0..2 {
                    let (code, bits) = (codes >> (8 * pair + 4 * half) & 15, bits >> (16 * half));
                    assert_eq!(bits & 0xffff, (code & 8) << 12 | (code & 7) << 6, "{word:#x}, pair {pair}");
                }
            }
        }
        for (code, column) in (0..16).flat_map(|code| (0..8).map(move |column| (code, column))) {
            let codes = 0x7b2e_d418 & !(15 << (4 * column)) | code << (4 * column);
            assert_eq!(e2m1_codes(e2m1_word(codes)), codes);
        }
        // The example of docs/formats.md.
        assert_eq!((e2m1_word(0), e2m1_word(0x7654_3210)), (0, 0x4872_0c37));
    }

    #[test]
    fn rows_become_words_in_their_order() {
        let codes: Vec<u8> = (0..64).map(|i| (i * 37 + 5) as u8).collect();
        let mut words = vec![0; 64];
        e2m1_words(&codes, &mut words);
        let back = words.as_chunks::<4>().0.iter().flat_map(|word| e2m1_codes(u32::from_le_bytes(*word)).to_le_bytes());
        assert_eq!(back.collect::<Vec<u8>>(), codes);
    }
}
