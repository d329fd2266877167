//! Rows made of lines, against the place of each code by itself.
use super::*;

/// Bits that differ from place to place.
fn noise(count: usize) -> Vec<u8> {
    (0..count as u32).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 17 ^ i >> 3) as u8).collect()
}

fn word(data: &[u8], index: usize) -> u32 {
    u32::from_le_bytes(data[4 * index..][..4].try_into().unwrap())
}

/// Rows that begin and end at, beside and far from where bands and words do.
fn ranges(n: usize) -> Vec<Range<usize>> {
    let all = [0..n, 0..1, 3..n - 2, 5..6, 7..n.min(700), n - 1..n, 512.min(n - 1)..n];
    all.into_iter().filter(|rows| rows.end <= n && !rows.is_empty()).collect()
}

/// Makes rows with room behind their codes, band by band. Every code is `code` of its row and column, and what follows the codes is zero.
fn check(
    rows: Range<usize>,
    columns: usize,
    bits: usize,
    together: usize,
    code: impl Fn(usize, usize) -> u32,
    make: impl Fn(Range<usize>, usize, &mut [u8]),
) {
    let row_bytes = (columns * bits / 8).next_multiple_of(16) + 16;
    let mut target = vec![0xaa; rows.len() * row_bytes];
    for (rows, target) in bands(rows, together, row_bytes, &mut target) {
        make(rows.clone(), row_bytes, target);
        for (row, target) in rows.zip(target.chunks_exact(row_bytes)) {
            let mut codes = (0..columns)
                .map(|column| u32::from(target[column * bits / 8]) >> (column * bits % 8) & ((1 << bits) - 1));
            assert!(
                (0..columns).all(|column| codes.next() == Some(code(row, column))),
                "row {row} of {columns} columns"
            );
            assert!(target[columns * bits / 8..].iter().all(|byte| *byte == 0), "zeros behind row {row}");
        }
    }
}

#[test]
fn words_along_k_become_rows_of_any_number() {
    for (n, columns) in [(8, 8), (72, 264), (1048, 544), (520, 512)] {
        // One byte in front: no word is aligned.
        let data = &noise(1 + n * columns / 2)[1..];
        let code = |row: usize, column: usize| word(data, column / 8 * n + row) >> (column % 8 * 4) & 15;
        for rows in ranges(n) {
            check(rows, columns, 4, TOGETHER, code, |rows, row_bytes, target| {
                make(Words { lines: WordLines { data, words: n }, rows }, row_bytes, target);
            });
        }
    }
}

#[test]
fn columns_in_another_order_are_found() {
    for (n, columns) in [(8, 8), (72, 264), (136, 544)] {
        let order = Order((0..columns as u32).map(|place| place * 5 % columns as u32).rev().collect());
        let of = |place: usize| order.0[place] as usize;
        let data = noise(n * columns);
        let (four, lines) = (&data[..n * columns / 2], |data| WordLines { data, words: n });
        let code = |row: usize, place: usize| word(four, of(place) / 8 * n + row) >> (of(place) % 8 * 4) & 15;
        let byte = |row: usize, place: usize| word(&data, of(place) / 4 * n + row) >> (of(place) % 4 * 8) & 255;
        for rows in ranges(n) {
            check(rows.clone(), columns, 4, ORDERED, code, |rows, row_bytes, target| {
                make(OrderedWords::<4>::new(lines(four), rows, &order), row_bytes, target);
            });
            check(rows, columns, 8, ORDERED, byte, |rows, row_bytes, target| {
                make(OrderedWords::<8>::new(lines(&data), rows, &order), row_bytes, target);
            });
        }
    }
}

#[test]
fn awq_words_become_rows_of_any_number() {
    /// The nibble, low first, that has row i of a word's eight: AutoAWQ's order.
    const NIBBLE: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];
    for (n, columns) in [(8, 8), (72, 264), (1048, 544), (512, 512)] {
        let data = &noise(3 + n * columns / 2)[3..];
        let code = |row: usize, column: usize| word(data, column * (n / 8) + row / 8) >> (4 * NIBBLE[row % 8]) & 15;
        for rows in ranges(n) {
            check(rows, columns, 4, TOGETHER, code, |rows, row_bytes, target| {
                make(Awq { lines: WordLines { data, words: n / 8 }, rows }, row_bytes, target);
            });
        }
    }
}

#[test]
fn bands_begin_at_multiples() {
    let mut target = vec![0; 3 * 9];
    let found: Vec<_> = bands(5..14, 4, 3, &mut target).map(|(rows, target)| (rows, target.len())).collect();
    assert_eq!(found, [(5..8, 9), (8..12, 12), (12..14, 6)]);
    assert_eq!(bands(5..5, 4, 3, &mut []).count(), 0);
}
