//! Words of eight e2m1 codes, whose bits stand as docs/formats.md says: each bit of a code is the sum, without carry, of one
//! or two bits of the word, so a table for each byte gives what a word holds, and four others the word of eight codes.

/// What each value of each of four bytes adds.
type Tables = [[u32; 256]; 4];

/// The codes of a word, and the word of codes: eight of them as nibbles, that of the first column lowest.
static CODES: Tables = tables(sums());
static WORDS: Tables = tables(inverse(sums()));

/// The eight codes of a word, that of the first column lowest.
pub fn e2m1_codes(word: u32) -> u32 {
    look_up(&CODES, word)
}

/// The word of eight codes, that of the first column lowest.
pub fn e2m1_word(codes: u32) -> u32 {
    look_up(&WORDS, codes)
}

/// Eights of codes, two in a byte, the earlier one lower, become words.
///
/// # Panics
/// If the lengths differ, or are no multiples of 4.
pub fn e2m1_words(codes: &[u8], words: &mut [u8]) {
    assert!(codes.len() == words.len() && codes.len().is_multiple_of(4), "whole words of codes");
    for (codes, word) in codes.as_chunks::<4>().0.iter().zip(words.as_chunks_mut::<4>().0) {
        *word = e2m1_word(u32::from_le_bytes(*codes)).to_le_bytes();
    }
}

#[inline]
fn look_up(tables: &Tables, from: u32) -> u32 {
    let [a, b, c, d] = from.to_le_bytes().map(usize::from);
    tables[0][a] ^ tables[1][b] ^ tables[2][c] ^ tables[3][d]
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

/// The sums that undo others, by elimination.
const fn inverse(mut sums: [u32; 32]) -> [u32; 32] {
    let mut inverse = [0; 32];
    let mut bit = 0;
    while bit < 32 {
        inverse[bit] = 1 << bit;
        bit += 1;
    }
    bit = 0;
    while bit < 32 {
        let mut own = bit;
        while sums[own] >> bit & 1 == 0 {
            own += 1;
            assert!(own < 32, "no word for some codes");
        }
        (sums[bit], sums[own]) = (sums[own], sums[bit]);
        (inverse[bit], inverse[own]) = (inverse[own], inverse[bit]);
        let mut other = 0;
        while other < 32 {
            if other != bit && sums[other] >> bit & 1 == 1 {
                sums[other] ^= sums[bit];
                inverse[other] ^= inverse[bit];
            }
            other += 1;
        }
        bit += 1;
    }
    inverse
}

/// Of every value of every byte its part of those sums.
const fn tables(sums: [u32; 32]) -> Tables {
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
    fn pairs(word: u32) -> [u32; 4] {
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
            for (pair, bits) in pairs(word).into_iter().enumerate() {
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
