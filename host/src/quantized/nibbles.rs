//! 4-bit integers with a scale, and perhaps a zero point, for each group of columns.
use std::ops::Range;
use std::sync::Arc;

use gpu_kernels::format::nibble_bytes;
use pulp::Arch;

use super::grid::Grid;
use super::lines::{self, Awq, OrderedWords, WordLines, Words};
use super::order::Order;
use super::zeros::Zeros;
use super::{Codes, Module, Quantized, errors};
use crate::checkpoint::StoredTensor;
use crate::device::Format;
use crate::error::Result;

/// Where the codes are.
#[derive(Clone, Copy)]
pub enum NibbleLayout {
    /// `[n, k/8]` words along k, or as many bytes.
    Rows,
    /// `[n/2, k]` bytes of two rows, two's complement: ModelOpt.
    RowPairs,
    /// `[k/8, n]` words along k: GPTQ.
    Words,
    /// `[k, n/8]` words along n, in their own order: AWQ.
    Awq,
}

/// A weight of 4-bit integers.
pub struct Nibbles {
    pub codes: Arc<StoredTensor>,
    pub layout: NibbleLayout,
    pub scales: Grid,
    pub zeros: Zeros,
    pub order: Option<Order>,
    pub shape: [usize; 2],
    /// Columns of a group in the file.
    pub group: usize,
}

impl Nibbles {
    /// The weight.
    ///
    /// # Errors
    /// Its groups are of a size that the format does not have.
    pub fn found(self, module: &Module, groups: usize) -> Result<Quantized> {
        let (group, shape) = (self.group, self.shape);
        let columns = shape[1];
        if groups > 1 && (!columns.is_multiple_of(group) || !group.is_multiple_of(32) || columns / group != groups) {
            return Err(errors::wrong_group(module, groups, "groups of a multiple of 32 columns are supported"));
        }
        let zeros = self.zeros.differ();
        let wide = groups == 1 || group.is_multiple_of(64);
        let packed = Format::Int4 { group: if wide { 64 } else { 32 }, zeros };
        // A zero point of 16 has no place in four bits, nor has any where a scale needs all of its own.
        let free_bits = self.scales.frees_bits();
        if zeros && (!free_bits || self.zeros.exceed()) {
            let index = self.index();
            return Ok(Uneven::new(self, index).found(module));
        }
        let (order, factor) = (self.order.clone(), module.factor()?);
        Ok(Quantized { format: packed, order, factor, shape, packed, free_bits, codes: Arc::new(self) })
    }

    /// The group of each column, in the file's order.
    fn index(&self) -> Arc<[u32]> {
        let mut index: Vec<u32> = (0..self.shape[1]).map(|place| (place / self.group) as u32).collect();
        if let Some(Order(order)) = &self.order {
            let sorted = index.clone();
            order.iter().zip(sorted).for_each(|(column, group)| index[*column as usize] = group);
        }
        index.into()
    }

    /// Rows that are brought from the file together.
    fn together(&self, order: Option<&Order>) -> usize {
        match (self.layout, order) {
            (NibbleLayout::Words, Some(_)) => lines::ORDERED,
            _ => lines::TOGETHER,
        }
    }

    /// The codes of some rows, two to a byte, and zeros behind them; in `order` where there is one, which GPTQ alone has. No
    /// more rows than are taken together.
    fn codes(&self, rows: Range<usize>, order: Option<&Order>, row_bytes: usize, target: &mut [u8]) {
        let [n, columns] = self.shape;
        let data = self.codes.data();
        match (self.layout, order) {
            (NibbleLayout::Words, None) => {
                lines::make(Words { lines: WordLines { data, words: n }, rows }, row_bytes, target)
            }
            (NibbleLayout::Words, Some(order)) => {
                let words = OrderedWords::<4>::new(WordLines { data, words: n }, rows, order);
                lines::make(words, row_bytes, target);
            }
            (NibbleLayout::Awq, _) => {
                lines::make(Awq { lines: WordLines { data, words: n / 8 }, rows }, row_bytes, target);
            }
            (NibbleLayout::Rows, _) => {
                let stored = data[rows.start * columns / 2..].chunks_exact(columns / 2);
                stored.zip(target.chunks_exact_mut(row_bytes)).for_each(|(codes, row)| lines::put(codes, row));
            }
            (NibbleLayout::RowPairs, _) => {
                let mut codes = vec![0; columns.div_ceil(2)];
                for (row, target) in rows.zip(target.chunks_exact_mut(row_bytes)) {
                    row_of_pair(&data[row / 2 * columns..][..columns], row % 2, &mut codes);
                    lines::put(&codes, target);
                }
            }
        }
    }

    /// The entries of the file's groups of some rows: scales, and with `zeros` zero points in their lowest bits.
    fn entries(&self, rows: Range<usize>, zeros: bool) -> Result<Vec<u32>> {
        let groups = self.shape[1].div_ceil(self.group);
        let scales = self.scales.band(rows.clone(), groups)?;
        if !zeros {
            return Ok(scales.into_iter().map(f32::to_bits).collect());
        }
        let zeros = self.zeros.band(rows, groups);
        Ok(scales.iter().zip(zeros).map(|(scale, zero)| scale.to_bits() & !15 | zero).collect())
    }

    /// The scales behind the codes of some rows. `groups` has the file's group of each.
    fn backs(&self, format: Format, rows: Range<usize>, groups: &[usize], target: &mut [u8]) -> Result<()> {
        let Format::Int4 { zeros, .. } = format else { panic!("{format:?} holds no 4-bit integers") };
        let code_bytes = nibble_bytes(self.shape[1] as u32) as usize;
        let row_bytes = format.row_bytes(self.shape[1] as u64) as usize;
        let entries = self.entries(rows, zeros)?;
        let entries = entries.chunks_exact(self.shape[1].div_ceil(self.group));
        for (entries, row) in entries.zip(target.chunks_exact_mut(row_bytes)) {
            for (target, group) in row[code_bytes..].as_chunks_mut::<4>().0.iter_mut().zip(groups) {
                *target = entries[*group].to_le_bytes();
            }
        }
        Ok(())
    }

    /// Rows as numbers, in the file's order of columns, of which `index` says the groups: what no packed format holds.
    ///
    /// # Errors
    /// A scale is not finite.
    pub fn plain_rows(&self, rows: Range<usize>, index: &[u32], target: &mut [u8]) -> Result<()> {
        let (columns, together) = (self.shape[1], self.together(None));
        let row_bytes = columns.div_ceil(2);
        let groups = columns.div_ceil(self.group);
        for (rows, target) in lines::bands(rows, together, 4 * columns, target) {
            let mut packed = vec![0; rows.len() * row_bytes];
            self.codes(rows.clone(), None, row_bytes, &mut packed);
            let (scales, zeros) = (self.scales.band(rows.clone(), groups)?, self.zeros.band(rows, groups));
            let entries = scales.chunks_exact(groups).zip(zeros.chunks_exact(groups));
            let packed = packed.chunks_exact(row_bytes);
            for (((scales, zeros), codes), target) in entries.zip(packed).zip(target.chunks_exact_mut(4 * columns)) {
                for (column, (group, target)) in index.iter().zip(target.as_chunks_mut::<4>().0).enumerate() {
                    let (group, code) = (*group as usize, codes[column / 2] >> (column % 2 * 4) & 15);
                    *target = ((f32::from(code) - zeros[group] as f32) * scales[group]).to_le_bytes();
                }
            }
        }
        Ok(())
    }
}

impl Codes for Nibbles {
    fn rows(&self, format: Format, rows: Range<usize>, target: &mut [u8]) -> Result<()> {
        let columns = self.shape[1];
        let row_bytes = format.row_bytes(columns as u64) as usize;
        let groups: Vec<usize> =
            (0..columns).step_by(format.group() as usize).map(|column| column / self.group).collect();
        let together = self.together(self.order.as_ref());
        for (rows, target) in lines::bands(rows, together, row_bytes, target) {
            self.codes(rows.clone(), self.order.as_ref(), row_bytes, target);
            self.backs(format, rows, &groups, target)?;
        }
        Ok(())
    }
}

/// The codes of one of the two rows that bytes of two's complement hold: two columns to a byte, stored + 8.
fn row_of_pair(pairs: &[u8], odd: usize, codes: &mut [u8]) {
    let (twos, last) = pairs.as_chunks::<2>();
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for (code, two) in codes.iter_mut().zip(twos) {
                let two = u16::from_le_bytes(*two) >> (4 * odd);
                *code = (two & 15 | two >> 4 & 0xf0) as u8 ^ 0x88;
            }
        },
    );
    if let ([last], Some(code)) = (last, codes.last_mut()) {
        *code = last >> (4 * odd) & 15 ^ 8;
    }
}

/// 4-bit integers whose groups are not all of one size.
pub struct Uneven {
    codes: Nibbles,
    index: Arc<[u32]>,
}

impl Uneven {
    pub fn new(codes: Nibbles, index: Arc<[u32]>) -> Uneven {
        Uneven { codes, index }
    }

    pub fn found(self, module: &Module) -> Quantized {
        let (format, shape) = (Format::F32, module.shape);
        Quantized { format, order: None, factor: None, shape, packed: format, free_bits: false, codes: Arc::new(self) }
    }
}

impl Codes for Uneven {
    fn rows(&self, _: Format, rows: Range<usize>, target: &mut [u8]) -> Result<()> {
        self.codes.plain_rows(rows, &self.index, target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_pair_are_taken_apart() {
        for columns in [1usize, 2, 31, 64, 517] {
            let pairs: Vec<u8> = (0..columns).map(|i| (i * 37 + i / 7) as u8).collect();
            for odd in 0..2 {
                let mut codes = vec![0xaa; columns.div_ceil(2)];
                row_of_pair(&pairs, odd, &mut codes);
                for (column, pair) in pairs.iter().enumerate() {
                    let expected = (pair >> (4 * odd) & 15).wrapping_add(8) & 15;
                    assert_eq!(codes[column / 2] >> (column % 2 * 4) & 15, expected, "column {column} of {columns}");
                }
                assert!(columns.is_multiple_of(2) || codes[columns / 2] >> 4 == 0, "nothing behind the last column");
            }
        }
    }
}
