//! Words of codes that a file has column beside column, `[k/…, n]`, become rows: some rows at a time, in tiles that stay in a
//! core's cache, so that each line of the file is read once and each row written in runs.
use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::order::Order;

/// Words of a run: 128 bytes of codes, 256 columns of 4 bits.
const RUN: usize = 32;
/// Most rows of a tile.
pub const TOGETHER: usize = 512;
/// Rows that are taken together where all lines of them must stay in the cache, since columns are in another order.
pub const ORDERED: usize = 64;
/// Rows of AWQ that eight words of each of eight columns hold.
const UNIT: usize = 64;
/// The row, of its eight, that nibble i of an AWQ word has.
pub const AWQ_ROWS: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];

/// Bytes of a run.
const RUN_BYTES: usize = 4 * RUN;

/// Copies the codes of a row, and fills it up with zeros behind them.
pub fn put(codes: &[u8], row: &mut [u8]) {
    row[..codes.len()].copy_from_slice(codes);
    row[codes.len()..].fill(0);
}

/// Cuts rows where their numbers are multiples of `together`, and with them what they become.
pub fn bands(
    rows: Range<usize>,
    together: usize,
    row_bytes: usize,
    mut target: &mut [u8],
) -> impl Iterator<Item = (Range<usize>, &mut [u8])> {
    let starts = std::iter::once(rows.start).chain((rows.start / together + 1..).map(move |band| band * together));
    starts.take_while(move |start| *start < rows.end).map(move |start| {
        let band = start..rows.end.min((start / together + 1) * together);
        let bytes = target.split_off_mut(..band.len() * row_bytes).expect("as many bytes as rows");
        (band, bytes)
    })
}

/// Words of codes, little-endian.
#[derive(Clone, Copy)]
pub struct WordLines<'a> {
    /// `[lines, words]`.
    pub data: &'a [u8],
    /// Words of a line.
    pub words: usize,
}

impl WordLines<'_> {
    /// Some words of a line, to the begin of `target`.
    #[inline(always)]
    fn copy(&self, line: usize, words: Range<usize>, target: &mut [u32]) {
        let bytes = &self.data[4 * (line * self.words + words.start)..][..4 * words.len()];
        for (target, word) in target.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *target = u32::from_le_bytes(*word);
        }
    }

    /// Eight words of a line, zeros behind its end.
    #[inline(always)]
    fn eight(&self, line: usize, first: usize) -> [u32; 8] {
        let bytes = &self.data[4 * (line * self.words + first)..4 * (line + 1) * self.words];
        let mut eight = [0; 8];
        match bytes.first_chunk::<32>() {
            Some(whole) => eight = bytemuck::cast::<[u8; 32], [u32; 8]>(*whole).map(u32::from_le),
            None => self.copy(line, first..self.words, &mut eight),
        }
        eight
    }

    fn count(&self) -> usize {
        self.data.len() / (4 * self.words)
    }
}

/// How words of a row come from lines. Not closures: what calls those would not be compiled for the widest vectors.
trait Source<const PLACES: usize> {
    /// Words of a row.
    fn words(&self) -> usize;
    /// Makes the words of that number of all rows.
    fn fill(&self, word: usize, places: &mut [u32; PLACES]);
    /// The row, counted from the first, that stands at a place, if any.
    fn row_at(&self, place: usize) -> Option<usize>;
    /// Places where rows are.
    fn places(&self) -> usize;
}

/// WordLines of words along k, row beside row, as GPTQ has them.
pub struct Words<'a> {
    pub lines: WordLines<'a>,
    /// No more than [`TOGETHER`].
    pub rows: Range<usize>,
}

impl Source<TOGETHER> for Words<'_> {
    fn words(&self) -> usize {
        self.lines.count()
    }

    #[inline(always)]
    fn fill(&self, word: usize, places: &mut [u32; TOGETHER]) {
        self.lines.copy(word, self.rows.clone(), places);
    }

    #[inline(always)]
    fn row_at(&self, place: usize) -> Option<usize> {
        (place < self.rows.len()).then_some(place)
    }

    fn places(&self) -> usize {
        self.rows.len()
    }
}

/// As [`Words`], of codes of `BITS` bits, with the columns in another order.
pub struct OrderedWords<'a, const BITS: usize> {
    /// Of each line the words of the rows.
    band: Vec<[u32; ORDERED]>,
    rows: usize,
    order: &'a [u32],
}

impl<'a, const BITS: usize> OrderedWords<'a, BITS> {
    /// Some rows, no more than [`ORDERED`].
    pub fn new(lines: WordLines, rows: Range<usize>, Order(order): &'a Order) -> Self {
        let mut band = vec![[0; ORDERED]; lines.count()];
        band.iter_mut().enumerate().for_each(|(line, band)| lines.copy(line, rows.clone(), band));
        OrderedWords { band, rows: rows.len(), order }
    }
}

impl<const BITS: usize> Source<ORDERED> for OrderedWords<'_, BITS> {
    fn words(&self) -> usize {
        self.band.len()
    }

    #[inline(always)]
    fn fill(&self, word: usize, places: &mut [u32; ORDERED]) {
        let (per_word, mask) = (32 / BITS, (1 << BITS) - 1);
        let mut words = [0; ORDERED];
        // The last column first: it moves on for each that comes behind it.
        for column in self.order[word * per_word..][..per_word].iter().rev() {
            let (line, shift) = (*column as usize / per_word, *column as usize % per_word * BITS);
            for (word, from) in words.iter_mut().zip(&self.band[line]) {
                *word = *word << BITS | (from >> shift & mask);
            }
        }
        *places = words;
    }

    #[inline(always)]
    fn row_at(&self, place: usize) -> Option<usize> {
        (place < self.rows).then_some(place)
    }

    fn places(&self) -> usize {
        self.rows
    }
}

/// WordLines of a column each, eight rows to a word in AWQ's order.
pub struct Awq<'a> {
    pub lines: WordLines<'a>,
    /// They have no more than [`TOGETHER`] rows with those that share words with them.
    pub rows: Range<usize>,
}

impl Source<TOGETHER> for Awq<'_> {
    fn words(&self) -> usize {
        self.lines.count() / 8
    }

    #[inline(always)]
    fn fill(&self, word: usize, places: &mut [u32; TOGETHER]) {
        let (units, first) = (self.places() / UNIT, self.rows.start / 8);
        for (unit, places) in places.as_chunks_mut::<UNIT>().0[..units].iter_mut().enumerate() {
            let words = std::array::from_fn(|i| self.lines.eight(8 * word + i, first + 8 * unit));
            places
                .as_chunks_mut::<8>()
                .0
                .iter_mut()
                .zip(transpose_nibbles(words))
                .for_each(|(places, words)| *places = words);
        }
    }

    #[inline(always)]
    fn row_at(&self, place: usize) -> Option<usize> {
        let row = place / UNIT * UNIT + place % 8 * 8 + AWQ_ROWS[place % UNIT / 8];
        row.checked_sub(self.rows.start % 8).filter(|row| *row < self.rows.len())
    }

    fn places(&self) -> usize {
        (self.rows.end - self.rows.start / 8 * 8).next_multiple_of(UNIT)
    }
}

/// Makes rows by way of tiles, in the widest vectors of this CPU.
#[expect(private_bounds, reason = "the sources are those of this file")]
pub fn make<const PLACES: usize>(source: impl Source<PLACES>, row_bytes: usize, target: &mut [u8]) {
    assert!(source.places() <= PLACES, "no more rows than a tile has");
    Arch::new().dispatch(Making { source, row_bytes, target });
}

struct Making<'a, S, const PLACES: usize> {
    source: S,
    row_bytes: usize,
    target: &'a mut [u8],
}

impl<T: Source<PLACES>, const PLACES: usize> WithSimd for Making<'_, T, PLACES> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Making { source, row_bytes, target } = self;
        let mut tile = [[0; PLACES]; RUN];
        for (run, first) in (0..source.words()).step_by(RUN).enumerate() {
            let count = RUN.min(source.words() - first);
            tile[..count].iter_mut().enumerate().for_each(|(word, places)| source.fill(first + word, places));
            for place in (0..source.places()).step_by(8) {
                for (i, words) in transpose_words(&tile, place).iter().enumerate() {
                    if let Some(row) = source.row_at(place + i) {
                        let target = &mut target[row * row_bytes + run * RUN_BYTES..];
                        let words: &[u8; RUN_BYTES] = bytemuck::cast_ref(words);
                        match target.first_chunk_mut() {
                            Some(whole) if count == RUN => *whole = *words,
                            _ => target[..4 * count].copy_from_slice(&words[..4 * count]),
                        }
                    }
                }
            }
        }
        target.chunks_exact_mut(row_bytes).for_each(|row| row[4 * source.words()..].fill(0));
    }
}

/// The words of eight places of a tile.
#[inline(always)]
fn transpose_words<const PLACES: usize>(tile: &[[u32; PLACES]; RUN], place: usize) -> [[u32; RUN]; 8] {
    let mut rows = [[0; RUN]; 8];
    for (group, lines) in tile.as_chunks::<8>().0.iter().enumerate() {
        let [a, b, c, d, e, f, g, h] = std::array::from_fn(|line| eight(&lines[line][place..]));
        let ([a, b], [c, d], [e, f], [g, h]) = (ones(a, b), ones(c, d), ones(e, f), ones(g, h));
        let ([a, c], [b, d], [e, g], [f, h]) = (twos(a, c), twos(b, d), twos(e, g), twos(f, h));
        let ([a, e], [b, f], [c, g], [d, h]) = (fours(a, e), fours(b, f), fours(c, g), fours(d, h));
        for (row, words) in rows.iter_mut().zip([a, c, b, d, e, g, f, h]) {
            row[8 * group..][..8].copy_from_slice(&words);
        }
    }
    rows
}

type Eight = [u32; 8];

#[inline(always)]
fn eight(words: &[u32]) -> Eight {
    *words.first_chunk().expect("a tile has places by eights")
}

/// Words of two lines by turns, of the lower and of the upper half of each four. What is written so becomes a shuffle.
#[inline(always)]
fn ones(a: Eight, b: Eight) -> [Eight; 2] {
    [[a[0], b[0], a[1], b[1], a[4], b[4], a[5], b[5]], [a[2], b[2], a[3], b[3], a[6], b[6], a[7], b[7]]]
}

/// Pairs of words likewise.
#[inline(always)]
fn twos(a: Eight, b: Eight) -> [Eight; 2] {
    [[a[0], a[1], b[0], b[1], a[4], a[5], b[4], b[5]], [a[2], a[3], b[2], b[3], a[6], a[7], b[6], b[7]]]
}

/// The lower and the upper halves.
#[inline(always)]
fn fours(a: Eight, b: Eight) -> [Eight; 2] {
    [[a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]], [a[4], a[5], a[6], a[7], b[4], b[5], b[6], b[7]]]
}

/// Nibble i of word j becomes nibble j of word i, in each of eight places at once.
#[inline(always)]
fn transpose_nibbles([a, b, c, d, e, f, g, h]: [Eight; 8]) -> [Eight; 8] {
    const FOURS: u32 = 0x0000_ffff;
    const TWOS: u32 = 0x00ff_00ff;
    const ONES: u32 = 0x0f0f_0f0f;
    let ([a, e], [b, f]) = (exchanged::<16, FOURS>(a, e), exchanged::<16, FOURS>(b, f));
    let ([c, g], [d, h]) = (exchanged::<16, FOURS>(c, g), exchanged::<16, FOURS>(d, h));
    let ([a, c], [b, d]) = (exchanged::<8, TWOS>(a, c), exchanged::<8, TWOS>(b, d));
    let ([e, g], [f, h]) = (exchanged::<8, TWOS>(e, g), exchanged::<8, TWOS>(f, h));
    let ([a, b], [c, d]) = (exchanged::<4, ONES>(a, b), exchanged::<4, ONES>(c, d));
    let ([e, f], [g, h]) = (exchanged::<4, ONES>(e, f), exchanged::<4, ONES>(g, h));
    [a, b, c, d, e, f, g, h]
}

/// The bits of the first words that are `BY` above a mask's, exchanged with those of the second at the mask's.
#[inline(always)]
fn exchanged<const BY: u32, const MASK: u32>(mut a: Eight, mut b: Eight) -> [Eight; 2] {
    for (a, b) in a.iter_mut().zip(&mut b) {
        let differ = (*a >> BY ^ *b) & MASK;
        *b ^= differ;
        *a ^= differ << BY;
    }
    [a, b]
}

#[cfg(test)]
mod tests;
