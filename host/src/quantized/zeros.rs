//! Zero points of 4-bit integers, by row and group.
use std::ops::Range;
use std::sync::Arc;

use super::grid::word;
use super::lines::AWQ_ROWS;
use crate::checkpoint::StoredTensor;

/// Where the zero points are.
pub enum Zeros {
    /// All are 8.
    Middle,
    /// `[n/8, groups]` words along n: compressed-tensors.
    Rows(Arc<StoredTensor>),
    /// `[groups, n/8]` words along n, to which `plus` is added: GPTQ.
    Columns { tensor: Arc<StoredTensor>, plus: u8 },
    /// `[groups, n/8]` words along n, in their own order: AWQ.
    Awq(Arc<StoredTensor>),
}

/// Eight zero points of 8.
const MIDDLE: u32 = 0x8888_8888;
/// Eight of 1.
const ONES: u32 = 0x1111_1111;
/// The places of the rows of a word of eight.
const ALONG: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

impl Zeros {
    /// The zero points of some rows, `[rows, groups]`.
    pub fn band(&self, rows: Range<usize>, groups: usize) -> Vec<u32> {
        let mut band = vec![8; rows.len() * groups];
        match self {
            Zeros::Middle => {}
            Zeros::Rows(tensor) => {
                for (row, band) in rows.zip(band.chunks_exact_mut(groups)) {
                    let words = &tensor.data()[row / 8 * groups * 4..];
                    for (zero, word) in band.iter_mut().zip(words.as_chunks::<4>().0) {
                        *zero = u32::from_le_bytes(*word) >> (row % 8 * 4) & 15;
                    }
                }
            }
            Zeros::Columns { tensor, plus } => transpose(tensor, ALONG, (*plus).into(), rows, &mut band),
            Zeros::Awq(tensor) => transpose(tensor, AWQ_ROWS, 0, rows, &mut band),
        }
        band
    }

    /// Whether not all are 8.
    pub fn differ(&self) -> bool {
        let differ = |tensor, middle| any_bit(tensor, |word| word ^ middle);
        match self {
            Zeros::Middle => false,
            Zeros::Rows(tensor) | Zeros::Awq(tensor) => differ(tensor, MIDDLE),
            Zeros::Columns { tensor, plus } => differ(tensor, MIDDLE - ONES * u32::from(*plus)),
        }
    }

    /// Whether one is 16.
    pub fn exceed(&self) -> bool {
        let Zeros::Columns { tensor, plus: 1 } = self else { return false };
        any_bit(tensor, |word| word & word >> 1 & word >> 2 & word >> 3 & ONES)
    }
}

/// The zero points of some rows out of words `[groups, n/8]`, whose nibble i has row `rows_of[i]` of its eight.
fn transpose(tensor: &StoredTensor, rows_of: [usize; 8], plus: u32, rows: Range<usize>, band: &mut [u32]) {
    let (groups, eights) = (tensor.shape[0], tensor.shape[1]);
    for group in 0..groups {
        for eight in rows.start / 8..rows.end.div_ceil(8) {
            let word = word(tensor.data(), group * eights + eight);
            for (nibble, row) in rows_of.iter().enumerate() {
                if let Some(row) = (8 * eight + row).checked_sub(rows.start).filter(|row| *row < rows.len()) {
                    band[row * groups + group] = (word >> (4 * nibble) & 15) + plus;
                }
            }
        }
    }
}

/// Whether a bit is set in what `bits` makes of any word. All are looked at: that is many at once.
fn any_bit(tensor: &StoredTensor, bits: impl Fn(u32) -> u32) -> bool {
    let words = tensor.data().as_chunks::<4>().0;
    words.iter().fold(0, |found, word| found | bits(u32::from_le_bytes(*word))) != 0
}
