//! Words of codes that a file has column beside column, `[k/…, n]`, become rows: some rows at a time, in tiles that stay in a
//! core's cache, so that each line of the file is read once and each row written in runs.
use std::ops::Range;

use pulp::Arch;

use super::order::Order;

/// Words of a run: 128 bytes of codes, 256 columns of 4 bits.
const RUN: usize = 32;
/// Rows of a tile, of which a run's words stand beside each other.
pub const TOGETHER: usize = 128;
/// Rows that are taken together where all lines of them must stay in the cache, since columns are in another order.
pub const ORDERED: usize = 32;
/// Rows of AWQ that eight words of each of eight columns hold.
const UNIT: usize = 64;
/// The row, of its eight, that nibble i of an AWQ word has.
pub const AWQ_ROWS: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];

/// Word w of the row at place p is `[w * TOGETHER + p]`.
type Tile = [u32; RUN * TOGETHER];

/// Where the codes of rows go: run r of a row is at `first + r * step`.
#[derive(Clone, Copy, Debug)]
pub struct Runs {
    /// Bytes from one row to the next.
    pub row_bytes: usize,
    /// Where a row's first run is.
    pub first: usize,
    /// Bytes from one run to the next.
    pub step: usize,
}

impl Runs {
    /// Bytes of a run.
    pub const BYTES: usize = 4 * RUN;

    /// One behind the other.
    pub fn side_by_side(row_bytes: usize) -> Runs {
        Runs { row_bytes, first: 0, step: Self::BYTES }
    }

    /// Copies the codes of a row to their runs, and fills up with zeros behind them.
    pub fn put(self, codes: &[u8], row: &mut [u8]) {
        for (run, codes) in codes.chunks(Self::BYTES).enumerate() {
            row[self.first + run * self.step..][..codes.len()].copy_from_slice(codes);
        }
        self.end(codes.len(), row);
    }

    /// Fills up with zeros what of a row is behind `bytes` bytes of codes.
    pub fn end(self, bytes: usize, row: &mut [u8]) {
        let runs = bytes.div_ceil(Self::BYTES);
        let last = runs.saturating_sub(1);
        row[self.first + last * self.step + bytes - last * Self::BYTES..].fill(0);
    }
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
pub struct Lines<'a> {
    /// `[lines, words]`.
    pub data: &'a [u8],
    /// Words of a line.
    pub words: usize,
}

impl Lines<'_> {
    /// Some words of a line, to the begin of `target`.
    #[inline(always)]
    fn copy(&self, line: usize, words: Range<usize>, target: &mut [u32]) {
        let bytes = &self.data[4 * (line * self.words + words.start)..][..4 * words.len()];
        for (target, word) in target.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *target = u32::from_le_bytes(*word);
        }
    }

    fn count(&self) -> usize {
        self.data.len() / (4 * self.words)
    }
}

/// Lines of words along k, row beside row, as GPTQ has them: rows `rows`, a word of each line.
pub fn words_to_rows(lines: Lines, rows: Range<usize>, runs: Runs, target: &mut [u8]) {
    let fill = |line: usize, tile: &mut [u32]| lines.copy(line, rows.clone(), tile);
    tiles(lines.count(), rows.len(), fill, |place| Some(place).filter(|row| *row < rows.len()), runs, target);
}

/// As [`words_to_rows`], of codes of `BITS` bits, with the columns in another order; at most [`ORDERED`] rows.
pub fn ordered_words_to_rows<const BITS: usize>(
    lines: Lines,
    rows: Range<usize>,
    Order(order): &Order,
    runs: Runs,
    target: &mut [u8],
) {
    let (per_word, mask, count) = (32 / BITS, (1 << BITS) - 1, rows.len());
    let mut band = vec![[0u32; ORDERED]; lines.count()];
    band.iter_mut().enumerate().for_each(|(line, band)| lines.copy(line, rows.clone(), band));
    let fill = |line: usize, tile: &mut [u32]| {
        let mut words = [0u32; ORDERED];
        for (i, column) in order[line * per_word..][..per_word].iter().enumerate() {
            let (from, shift) = (*column as usize / per_word, *column as usize % per_word * BITS);
            words.iter_mut().zip(&band[from]).for_each(|(word, from)| *word |= (from >> shift & mask) << (BITS * i));
        }
        tile[..ORDERED].copy_from_slice(&words);
    };
    tiles(lines.count(), count, fill, |place| Some(place).filter(|row| *row < count), runs, target);
}

/// Lines of a column each, eight rows to a word in AWQ's order: rows `rows`, a word of eight lines.
pub fn awq_to_rows(lines: Lines, rows: Range<usize>, runs: Runs, target: &mut [u8]) {
    let (first, skipped, count) = (rows.start / 8, rows.start % 8, rows.len());
    let words = first..rows.end.div_ceil(8);
    let fill = |line: usize, tile: &mut [u32]| {
        for (unit, tile) in tile.as_chunks_mut::<UNIT>().0.iter_mut().enumerate() {
            let words = words.start + 8 * unit..words.end.min(words.start + 8 * (unit + 1));
            if words.is_empty() {
                return;
            }
            let mut eight = [[0u32; 8]; 8];
            eight.iter_mut().enumerate().for_each(|(i, column)| lines.copy(8 * line + i, words.clone(), column));
            transpose_nibbles(&mut eight);
            tile.as_chunks_mut::<8>().0.iter_mut().zip(eight).for_each(|(tile, words)| *tile = words);
        }
    };
    let row_of = |place: usize| {
        let row = place / UNIT * UNIT + place % 8 * 8 + AWQ_ROWS[place % UNIT / 8];
        row.checked_sub(skipped).filter(|row| *row < count)
    };
    let places = words.len().next_multiple_of(8) * 8;
    tiles(lines.count() / 8, places, fill, row_of, runs, target);
}

/// Fills a run's lines of a tile, then writes the run of each row, tile after tile; `fill` gets the number of a word of a row,
/// `row_of` says which row of `target` stands at a place of the tile, if any.
#[inline(always)]
fn tiles(
    words: usize,
    places: usize,
    fill: impl Fn(usize, &mut [u32]),
    row_of: impl Fn(usize) -> Option<usize>,
    runs: Runs,
    target: &mut [u8],
) {
    assert!(places <= TOGETHER, "no more rows than a tile has");
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let mut tile: Tile = [0; RUN * TOGETHER];
            for (run, first) in (0..words).step_by(RUN).enumerate() {
                let count = RUN.min(words - first);
                for (word, line) in tile.as_chunks_mut::<TOGETHER>().0[..count].iter_mut().enumerate() {
                    fill(first + word, line);
                }
                for place in (0..places).step_by(8) {
                    let rows = transpose_words(&tile, place);
                    for (i, words) in rows.iter().enumerate() {
                        if let Some(row) = row_of(place + i) {
                            let target = &mut target[row * runs.row_bytes + runs.first + run * runs.step..];
                            target[..4 * count].copy_from_slice(&bytemuck::cast_slice(words)[..4 * count]);
                        }
                    }
                }
            }
        },
    );
    target.chunks_exact_mut(runs.row_bytes).for_each(|row| runs.end(4 * words, row));
}

/// The words of eight places of a tile.
#[inline(always)]
fn transpose_words(tile: &Tile, place: usize) -> [[u32; RUN]; 8] {
    let mut rows = [[0; RUN]; 8];
    for (word, line) in tile.as_chunks::<TOGETHER>().0.iter().enumerate() {
        for (i, row) in rows.iter_mut().enumerate() {
            row[word] = line[place + i].to_le();
        }
    }
    rows
}

/// Nibble i of word j becomes nibble j of word i, in each of eight places at once.
#[inline(always)]
fn transpose_nibbles(words: &mut [[u32; 8]; 8]) {
    for (distance, mask) in [(4, 0x0000_ffff), (2, 0x00ff_00ff), (1, 0x0f0f_0f0f)] {
        for low in (0..8).filter(|word| word & distance == 0) {
            let (mut a, mut b) = (words[low], words[low + distance]);
            for (a, b) in a.iter_mut().zip(&mut b) {
                let differ = (*a >> (4 * distance) ^ *b) & mask;
                *b ^= differ;
                *a ^= differ << (4 * distance);
            }
            (words[low], words[low + distance]) = (a, b);
        }
    }
}
