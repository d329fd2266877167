//! 8-bit codes: FP8 and INT8, with a scale for each row or group of columns.
use std::ops::Range;
use std::sync::Arc;

use super::grid::Grid;
use super::lines::{self, OrderedWords, WordLines, Words};
use super::order::Order;
use super::{Codes, errors, range};
use crate::checkpoint::StoredTensor;
use crate::device::{Check, Format, WeightPart};
use crate::error::Result;

/// Where the codes are.
pub enum ByteLayout {
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
    pub layout: ByteLayout,
    pub scales: Grid,
    pub shape: [usize; 2],
    /// Whether the codes are e4m3.
    pub floats: bool,
    /// The format.
    pub format: Format,
}

/// Bytes of codes that are turned while they are in a core's cache.
const CACHED: usize = 128 << 10;
/// Stored codes less 128 are codes with their highest bit turned.
const BIAS: u8 = 0x80;

impl Codes for Bytes {
    fn rows(&self, format: Format, rows: Range<usize>, target: &mut [u8]) -> Result<()> {
        let [n, columns] = self.shape;
        let row_bytes = format.row_bytes(columns as u64) as usize;
        let lines = WordLines { data: self.tensor.data(), words: n };
        let (ordered, biased) = match &self.layout {
            ByteLayout::Rows => (None, false),
            ByteLayout::Biased => (None, true),
            ByteLayout::Words(order) => (order.as_ref(), true),
        };
        let together = match &self.layout {
            ByteLayout::Words(Some(_)) => lines::ORDERED,
            ByteLayout::Words(None) => lines::TOGETHER,
            ByteLayout::Rows | ByteLayout::Biased => (CACHED / columns).max(1),
        };
        for (rows, target) in lines::bands(rows, together, row_bytes, target) {
            match (&self.layout, ordered) {
                (ByteLayout::Rows | ByteLayout::Biased, _) => {
                    let stored = self.tensor.data()[rows.start * columns..].chunks_exact(columns);
                    stored.zip(target.chunks_exact_mut(row_bytes)).for_each(|(codes, row)| lines::put(codes, row));
                }
                (ByteLayout::Words(_), None) => lines::make(Words { lines, rows }, row_bytes, target),
                (ByteLayout::Words(_), Some(order)) => {
                    lines::make(OrderedWords::<8>::new(lines, rows, order), row_bytes, target);
                }
            }
            if biased {
                let rows = target.chunks_exact_mut(row_bytes);
                rows.for_each(|row| row[..columns].iter_mut().for_each(|code| *code ^= BIAS));
            }
        }
        Ok(())
    }

    fn scales(&self, format: Format, rows: Range<usize>, target: &mut [f32]) -> Result<()> {
        let per_row = format.scales(self.shape[1] as u64) as usize;
        target.copy_from_slice(&self.scales.band(rows, per_row)?);
        Ok(())
    }

    fn in_place(&self) -> Option<WeightPart> {
        let [rows, columns] = self.shape;
        let whole = self.format.row_bytes(columns as u64) == columns as u64;
        (whole && matches!(self.layout, ByteLayout::Rows)).then(|| {
            WeightPart::in_place(self.format, self.tensor.bytes_of_data(), columns, 0..rows, 0..columns)
                .in_file(range(&self.tensor))
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
