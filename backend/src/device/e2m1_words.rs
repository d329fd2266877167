//! Words of eight e2m1 codes, whose bits stand as docs/formats.md says: each bit of a code is the sum, without carry, of one
//! or two bits of the word. Tables to read a word are made of that rule, and those to make one of its inverse.

/// What each value of each of four bytes of a word adds to its codes.
static CODES: [[u32; 256]; 4] = tables(SUMS);
/// What each value of each of four bytes of eight codes adds to their word.
static WORDS: [[u32; 256]; 4] = tables(inverse(SUMS));

/// The eight codes of a word, that of the first column lowest.
pub fn e2m1_codes(word: u32) -> u32 {
    sum(&CODES, word)
}

/// The word of eight codes, that of the first column lowest.
pub fn e2m1_word(codes: u32) -> u32 {
    sum(&WORDS, codes)
}

fn sum(tables: &[[u32; 256]; 4], from: u32) -> u32 {
    let [a, b, c, d] = from.to_le_bytes().map(usize::from);
    tables[0][a] ^ tables[1][b] ^ tables[2][c] ^ tables[3][d]
}

/// For each bit of eight codes the bits of a word whose sum it is.
const SUMS: [u32; 32] = {
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
};

/// The bit that a rotation to the left by `by` brings to place `place`.
const fn rotated_from(place: usize, by: usize) -> u32 {
    1 << ((place + 32 - by) % 32)
}

/// For each bit of what the sums were made of, the sums whose sum it is: all are brought to one bit each, and what that did to them
/// is kept beside.
const fn inverse(mut sums: [u32; 32]) -> [u32; 32] {
    let mut beside = [0; 32];
    let mut bit = 0;
    while bit < 32 {
        beside[bit] = 1 << bit;
        bit += 1;
    }
    bit = 0;
    while bit < 32 {
        let mut from = bit;
        while sums[from] >> bit & 1 == 0 {
            from += 1;
        }
        (sums[bit], sums[from]) = (sums[from], sums[bit]);
        (beside[bit], beside[from]) = (beside[from], beside[bit]);
        let mut other = 0;
        while other < 32 {
            if other != bit && sums[other] >> bit & 1 == 1 {
                sums[other] ^= sums[bit];
                beside[other] ^= beside[bit];
            }
            other += 1;
        }
        bit += 1;
    }
    beside
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
}
