//! 8-bit codes: FP8 and INT8, with a scale for each row or group of columns.
use std::ops::Range;
use std::sync::Arc;

use super::grid::{Grid, word};
use super::order::Order;
use super::{Codes, errors};
use crate::checkpoint::StoredTensor;
use crate::device::{Check, FileRange, Format, WeightPart};
use crate::error::Result;

/// Where the codes are.
pub enum Layout {
    /// `[n, k]` bytes.
    Rows,
    /// `[n, k]` bytes, stored + 128.
    Biased,
    /// `[k/4, n]` words of 4 codes along k, stored + 128: GPTQ.
    Words(Option<Order>),
}

/// A weight of 8-bit codes.
pub struct Bytes {
    pub name: Arc<str>,
    pub tensor: Arc<StoredTensor>,
    pub layout: Layout,
    pub scales: Grid,
    pub shape: [usize; 2],
    /// Whether the codes are e4m3.
    pub floats: bool,
    /// The format.
    pub format: Format,
}

/// Stored codes less 128 are codes with their highest bit turned.
const BIAS: u8 = 0x80;

impl Codes for Bytes {
    fn rows(&self, format: Format, rows: Range<usize>, target: &mut [u8]) -> Result<()> {
        let columns = self.shape[1];
        let row_bytes = format.row_bytes(columns as u64) as usize;
        match &self.layout {
            Layout::Rows | Layout::Biased => {
                let data = &self.tensor.data()[rows.start * columns..];
                for (target, codes) in target.chunks_exact_mut(row_bytes).zip(data.chunks_exact(columns)) {
                    target[..columns].copy_from_slice(codes);
                    target[columns..].fill(0);
                }
            }
            Layout::Words(order) => self.words(order.as_ref(), rows, row_bytes, target),
        }
        if !matches!(self.layout, Layout::Rows) {
            target.chunks_exact_mut(row_bytes).for_each(|row| row[..columns].iter_mut().for_each(|code| *code ^= BIAS));
        }
        Ok(())
    }

    fn scales(&self, format: Format, rows: Range<usize>, target: &mut [f32]) -> Result<()> {
        let per_row = format.scales(self.shape[1] as u64) as usize;
        for (row, target) in rows.zip(target.chunks_exact_mut(per_row)) {
            for (group, target) in target.iter_mut().enumerate() {
                *target = self.scales.get(row, group)?;
            }
        }
        Ok(())
    }

    fn in_place(&self) -> Option<WeightPart> {
        let [rows, columns] = self.shape;
        let whole = self.format.row_bytes(columns as u64) == columns as u64;
        (whole && matches!(self.layout, Layout::Rows)).then(|| {
            let (file, start) = self.tensor.place();
            let file = FileRange { file, path: self.tensor.file.clone(), start };
            WeightPart::in_place(self.format, self.tensor.bytes_of_data(), columns, 0..rows, 0..columns).in_file(file)
        })
    }

    fn check(&self) -> Option<Check> {
        let (tensor, name) = (self.tensor.clone(), self.name.clone());
        let refuse = move |codes: &[u8]| {
            let found = codes.iter().fold(false, |found, code| found | (code & 0x7f == 0x7f));
            if found { Err(errors::nan_code(&tensor, &name)) } else { Ok(()) }
        };
        self.floats.then(|| Check(Arc::new(refuse)))
    }
}

impl Bytes {
    /// Words of four neighbouring columns, row beside row: a few rows at a time, so that each line of the file is read once.
    fn words(&self, order: Option<&Order>, rows: Range<usize>, row_bytes: usize, target: &mut [u8]) {
        const TOGETHER: usize = 16;
        let ([n, columns], data) = (self.shape, self.tensor.data());
        for (first, target) in rows.step_by(TOGETHER).zip(target.chunks_mut(TOGETHER * row_bytes)) {
            for (quad, line) in data.chunks_exact(4 * n).enumerate() {
                for (row, target) in target.chunks_exact_mut(row_bytes).enumerate() {
                    target[4 * quad..][..4].copy_from_slice(&word(line, first + row).to_le_bytes());
                }
            }
            for target in target.chunks_exact_mut(row_bytes) {
                target[columns..].fill(0);
                if let Some(Order(order)) = order {
                    let codes = target.to_vec();
                    order.iter().zip(target).for_each(|(column, code)| *code = codes[*column as usize]);
                }
            }
        }
    }
}
