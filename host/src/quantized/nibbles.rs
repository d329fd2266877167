//! 4-bit integers with a scale, and perhaps a zero point, for each group of columns.
use std::ops::Range;
use std::sync::Arc;

use super::grid::{Grid, word};
use super::order::Order;
use super::{Codes, Module, Quantized, errors};
use crate::checkpoint::StoredTensor;
use crate::device::Format;
use crate::error::Result;

/// Columns of a block, and bytes of its codes.
const BLOCK: usize = 256;
const CODES: usize = BLOCK / 2;

/// Rows that are unpacked together: a line of a file that has them side by side is read once.
const TOGETHER: usize = 128;

/// Where the codes are.
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

    /// The code of each column of some rows, one to a byte, in the file's order.
    fn unpacked(&self, rows: Range<usize>) -> Vec<u8> {
        let ([n, columns], data) = (self.shape, self.codes.data());
        let mut codes = vec![0; rows.len() * columns];
        match self.layout {
            NibbleLayout::Rows => {
                let bytes = &data[rows.start * columns / 2..];
                codes
                    .as_chunks_mut::<2>()
                    .0
                    .iter_mut()
                    .zip(bytes)
                    .for_each(|(two, byte)| *two = [byte & 15, byte >> 4]);
            }
            NibbleLayout::RowPairs => {
                for (row, codes) in rows.zip(codes.chunks_exact_mut(columns)) {
                    let (bytes, shift) = (&data[row / 2 * columns..], row % 2 * 4);
                    codes.iter_mut().zip(bytes).for_each(|(code, byte)| *code = (byte >> shift & 15) ^ 8);
                }
            }
            NibbleLayout::Words => {
                for (eight, line) in data.chunks_exact(4 * n).enumerate() {
                    for (row, codes) in rows.clone().zip(codes.chunks_exact_mut(columns)) {
                        let word = word(line, row);
                        let codes = &mut codes[8 * eight..][..8];
                        codes.iter_mut().enumerate().for_each(|(i, code)| *code = (word >> (4 * i)) as u8 & 15);
                    }
                }
            }
            NibbleLayout::Awq => {
                for (column, line) in data.chunks_exact(n / 2).enumerate() {
                    for (row, codes) in rows.clone().zip(codes.chunks_exact_mut(columns)) {
                        codes[column] = awq_nibble(word(line, row / 8), row % 8);
                    }
                }
            }
        }
        codes
    }

    /// The entry of a group of a row: its scale, and with `zeros` its zero point in the lowest bits.
    fn entry(&self, row: usize, group: usize, zeros: bool) -> Result<u32> {
        let scale = self.scales.get(row, group)?.to_bits();
        Ok(if zeros { scale & !15 | u32::from(self.zeros.get(self.shape[0], row, group)) } else { scale })
    }

    fn row(&self, format: Format, row: usize, codes: &[u8], target: &mut [u8]) -> Result<()> {
        let Format::Int4 { group, zeros } = format else { panic!("{format:?} holds no 4-bit integers") };
        let (columns, scale_bytes) = (self.shape[1], format.block_scales() as usize);
        for (block, target) in target.chunks_mut(scale_bytes + CODES).enumerate() {
            let (front, back) = target.split_at_mut(scale_bytes);
            for (entry, target) in front.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let column = block * BLOCK + entry * group as usize;
                let found = if column < columns { self.entry(row, column / self.group, zeros)? } else { 0 };
                *target = found.to_le_bytes();
            }
            let codes = &codes[block * BLOCK..columns.min((block + 1) * BLOCK)];
            back.fill(0);
            back.iter_mut().zip(codes.chunks(2)).for_each(|(byte, two)| {
                *byte = two[0] | two.get(1).copied().unwrap_or(0) << 4;
            });
        }
        Ok(())
    }

    /// Rows as numbers, in the file's order of columns, of which `index` says the groups: what no packed format holds.
    ///
    /// # Errors
    /// A scale is not finite.
    pub fn plain_rows(&self, rows: Range<usize>, index: &[u32], target: &mut [u8]) -> Result<()> {
        let columns = self.shape[1];
        let codes = self.unpacked(rows.clone());
        for (row, (codes, target)) in rows.zip(codes.chunks_exact(columns).zip(target.chunks_exact_mut(4 * columns))) {
            for ((code, group), target) in codes.iter().zip(index).zip(target.as_chunks_mut::<4>().0) {
                let (group, code) = (*group as usize, f32::from(*code));
                let zero = f32::from(self.zeros.get(self.shape[0], row, group));
                *target = ((code - zero) * self.scales.get(row, group)?).to_le_bytes();
            }
        }
        Ok(())
    }
}

impl Codes for Nibbles {
    fn rows(&self, format: Format, rows: Range<usize>, target: &mut [u8]) -> Result<()> {
        let columns = self.shape[1];
        let row_bytes = format.row_bytes(columns as u64) as usize;
        for (first, target) in rows.step_by(TOGETHER).zip(target.chunks_mut(TOGETHER * row_bytes)) {
            let count = target.len() / row_bytes;
            let unpacked = self.unpacked(first..first + count);
            let mut sorted = vec![0; columns];
            for (row, (codes, target)) in
                unpacked.chunks_exact(columns).zip(target.chunks_exact_mut(row_bytes)).enumerate()
            {
                let codes = match &self.order {
                    None => codes,
                    Some(Order(order)) => {
                        order.iter().zip(&mut sorted).for_each(|(column, code)| *code = codes[*column as usize]);
                        &sorted
                    }
                };
                self.row(format, first + row, codes, target)?;
            }
        }
        Ok(())
    }
}

impl Zeros {
    /// The zero point of a group of a row; `rows` are those of the weight.
    fn get(&self, rows: usize, row: usize, group: usize) -> u8 {
        let nibble = |word: u32, index: usize| (word >> (4 * index)) as u8 & 15;
        match self {
            Zeros::Middle => 8,
            Zeros::Rows(tensor) => {
                let groups = tensor.shape[1];
                nibble(word(tensor.data(), row / 8 * groups + group), row % 8)
            }
            Zeros::Columns { tensor, plus } => {
                nibble(word(tensor.data(), group * (rows / 8) + row / 8), row % 8) + plus
            }
            Zeros::Awq(tensor) => awq_nibble(word(tensor.data(), group * (rows / 8) + row / 8), row % 8),
        }
    }

    /// Whether not all are 8.
    fn differ(&self) -> bool {
        match self {
            Zeros::Middle => false,
            Zeros::Rows(tensor) | Zeros::Awq(tensor) => words(tensor).any(|word| word != MIDDLE),
            Zeros::Columns { tensor, plus } => {
                let middle = MIDDLE - 0x1111_1111 * u32::from(*plus);
                words(tensor).any(|word| word != middle)
            }
        }
    }

    /// Whether one is 16.
    fn exceed(&self) -> bool {
        let Zeros::Columns { tensor, plus: 1 } = self else { return false };
        words(tensor).any(|word| (0..8).any(|index| word >> (4 * index) & 15 == 15))
    }
}

/// Eight zero points of 8.
const MIDDLE: u32 = 0x8888_8888;

fn words(tensor: &StoredTensor) -> impl Iterator<Item = u32> {
    tensor.data().as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes))
}

/// The nibble, low first, that has row i of an AWQ word's eight.
const AWQ_NIBBLE: [u32; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

/// Row `row` of an AWQ word's eight.
fn awq_nibble(word: u32, row: usize) -> u8 {
    (word >> (4 * AWQ_NIBBLE[row])) as u8 & 15
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
