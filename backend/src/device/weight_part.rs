//! `WeightPart`: rows and columns of one tensor, read in place or copied to a device.
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use rayon::prelude::*;

use super::elements::{Check, Converted, Elements, RowSource, Rows};
use super::{FileRange, Format, nvfp4_apart, nvfp4_rows};
use crate::error::Result;

/// Bytes of packed rows that one task makes in memory.
const TASK_BYTES: usize = 1 << 20;

/// Fewer bytes than this are copied from the mapping: a call that reads them costs more than their pages, and calls of many threads
/// wait for each other at the file.
const FEW: usize = 64 << 10;

/// Bytes that are looked at while they are in a core's cache.
const CACHED: usize = 256 << 10;

/// Rows and columns of one tensor.
#[derive(Clone, Debug)]
pub struct WeightPart {
    format: Format,
    elements: Elements,
    /// The file that elements in place are mapped from.
    file: Option<FileRange>,
    tensor_columns: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    /// What every element that is read must pass.
    check: Option<Check>,
    /// What stands beside codes.
    beside: Beside,
}

/// What stands beside the codes of a part (docs/formats.md).
#[derive(Clone, Debug, Default)]
struct Beside {
    /// F32, `[rows, scales of a row]`.
    scales: Option<Arc<WeightPart>>,
    /// I32, `[1, columns]`.
    order: Option<Arc<WeightPart>>,
    /// F32, `[1, columns]`.
    factors: Option<Arc<WeightPart>>,
}

impl WeightPart {
    /// Rows `rows` and columns `columns` of a row-major bf16 tensor of `tensor_columns` columns.
    ///
    /// # Panics
    /// As [`WeightPart::in_place`].
    pub fn new(data: Bytes, tensor_columns: usize, rows: Range<usize>, columns: Range<usize>) -> WeightPart {
        WeightPart::in_place(Format::Bf16, data, tensor_columns, rows, columns)
    }

    /// Rows `rows` and columns `columns` of a row-major tensor of `tensor_columns` columns, in `format`.
    ///
    /// # Panics
    /// If `data` is not aligned to an element or does not hold the rows; the checkpoint's reader sees to both.
    pub fn in_place(
        format: Format,
        data: Bytes,
        tensor_columns: usize,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> WeightPart {
        assert!(data.as_ptr().addr().is_multiple_of(element_bytes(format)), "weights are aligned");
        assert!(rows.end * row_bytes(format, tensor_columns) <= data.len() && columns.end <= tensor_columns);
        WeightPart::of(format, Elements::InPlace(data), tensor_columns, rows, columns)
    }

    /// A part of `rows` whole rows that are made where they are copied, or with [`WeightPart::in_memory`].
    pub fn made(format: Format, rows: usize, columns: usize, source: Arc<dyn RowSource>) -> WeightPart {
        WeightPart::of(format, Elements::Rows(Rows(source)), columns, 0..rows, 0..columns)
    }

    fn of(
        format: Format,
        elements: Elements,
        tensor_columns: usize,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> WeightPart {
        let whole = columns == (0..tensor_columns);
        assert!(whole || !format.is_packed(), "packed rows are whole");
        WeightPart {
            format,
            elements,
            file: None,
            tensor_columns,
            rows,
            columns,
            check: None,
            beside: Beside::default(),
        }
    }

    /// As [`WeightPart::in_place`], of a tensor that gets its format where it is copied, or with [`WeightPart::in_memory`].
    ///
    /// # Panics
    /// If its bytes do not hold the rows; the checkpoint's reader sees to that.
    pub fn converted(
        format: Format,
        elements: Converted,
        tensor_columns: usize,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> WeightPart {
        assert!(rows.end * tensor_columns * elements.element_bytes <= elements.data.len());
        assert!(columns.end <= tensor_columns && !format.is_packed());
        WeightPart::of(format, Elements::Converted(elements), tensor_columns, rows, columns)
    }

    /// The part, with the scales that stand beside its codes.
    ///
    /// # Panics
    /// If there are not as many rows of them as of codes, or not as many to a row as the format has.
    pub fn scaled_by(self, scales: WeightPart) -> WeightPart {
        assert_eq!((scales.rows(), scales.columns() as u64), (self.rows(), self.format.scales(self.columns() as u64)));
        let beside = Beside { scales: Some(Arc::new(scales)), ..self.beside };
        WeightPart { beside, ..self }
    }

    /// The part, whose columns belong to those columns of the input, `[1, columns]` in I32.
    pub fn ordered_by(self, order: WeightPart) -> WeightPart {
        let beside = Beside { order: Some(Arc::new(order)), ..self.beside };
        WeightPart { beside, ..self }
    }

    /// The part, whose inputs are multiplied by those factors, `[1, columns]` in F32.
    pub fn factored_by(self, factors: WeightPart) -> WeightPart {
        let beside = Beside { factors: Some(Arc::new(factors)), ..self.beside };
        WeightPart { beside, ..self }
    }

    /// The part, each of whose bytes must pass `check` where it is copied or brought into memory.
    pub fn checked(self, check: Check) -> WeightPart {
        WeightPart { check: Some(check), ..self }
    }

    /// The part, whose elements in place are mapped from `file`. Where they are copied they are read: to map 8 GB page by
    /// page, and to unmap them, takes a tenth of a second.
    pub fn in_file(self, file: FileRange) -> WeightPart {
        WeightPart { file: Some(file), ..self }
    }

    /// How the elements stand on a device.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The scales that stand beside the codes.
    pub fn scales(&self) -> Option<&WeightPart> {
        self.beside.scales.as_deref()
    }

    /// The columns of the input that the columns belong to.
    pub fn order(&self) -> Option<&WeightPart> {
        self.beside.order.as_deref()
    }

    /// What the inputs are multiplied by.
    pub fn factors(&self) -> Option<&WeightPart> {
        self.beside.factors.as_deref()
    }

    /// Whether the elements are converted where they are copied, or with [`Weight::in_memory`](super::Weight::in_memory).
    pub fn is_converted(&self) -> bool {
        !matches!(self.elements, Elements::InPlace(_))
    }

    /// Whether rows are copied with codes and scales apart, as a file has them; [`nvfp4_rows`] makes rows of the part's format of those.
    pub fn comes_apart(&self) -> bool {
        self.format == Format::Nvfp4 && matches!(self.elements, Elements::Rows(_))
    }

    /// Bytes of a row as it is copied.
    pub fn copied_bytes_of_row(&self) -> usize {
        match self.comes_apart() {
            true => nvfp4_apart(self.columns()).iter().sum(),
            false => self.bytes_of_row(),
        }
    }

    /// Bytes of a row, in the part's format.
    pub fn bytes_of_row(&self) -> usize {
        row_bytes(self.format, self.columns())
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Row `row` of this part, in its format.
    ///
    /// # Panics
    /// If the tensor does not have its format yet: [`WeightPart::in_memory`] gives it.
    pub fn row_bytes(&self, row: usize) -> &[u8] {
        match &self.elements {
            Elements::InPlace(data) => &data[self.start_of(row)..][..self.bytes_of_row()],
            Elements::Converted(_) | Elements::Rows(_) => {
                panic!("a tensor that is converted is brought into memory before it is read in place")
            }
        }
    }

    /// Whether the part's elements stand adjacent, and can be copied from any element on.
    pub fn is_adjacent(&self) -> bool {
        self.columns.len() == self.tensor_columns && !matches!(self.elements, Elements::Rows(_))
    }

    /// Fills `target` with bytes of the part's rows, from byte `first` on, of a part that is adjacent; whole elements only.
    ///
    /// # Errors
    /// The file that holds them can not be read, or they do not pass the part's check.
    ///
    /// # Panics
    /// If the part is not adjacent, or has fewer bytes.
    pub fn copy_adjacent(&self, first: usize, target: &mut [u8]) -> Result<()> {
        assert!(self.is_adjacent() && first + target.len() <= self.rows() * self.bytes_of_row());
        self.copy(self.start_of(0) + first, target)
    }

    /// Fills `target` with rows `rows`, in the part's format. If the part [comes apart](WeightPart::comes_apart), the codes of all of them
    /// come first, then their scales.
    ///
    /// # Errors
    /// As [`WeightPart::copy_adjacent`].
    ///
    /// # Panics
    /// If it is not as long as those rows.
    pub fn copy_rows(&self, rows: Range<usize>, target: &mut [u8]) -> Result<()> {
        assert_eq!(target.len(), rows.len() * self.copied_bytes_of_row());
        if let Elements::Rows(Rows(source)) = &self.elements {
            source.fill(self.rows.start + rows.start..self.rows.start + rows.end, target)?;
            return self.check.as_ref().map_or(Ok(()), |check| check.0(target));
        }
        if self.is_adjacent() {
            return self.copy(self.start_of(rows.start), target);
        }
        let bytes = self.bytes_of_row();
        rows.zip(target.chunks_exact_mut(bytes))
            .try_for_each(|(row, target)| self.copy_some(self.start_of(row), target))
    }

    /// As [`WeightPart::copy`], of some columns of a row: from the mapping, if they are few.
    fn copy_some(&self, first: usize, target: &mut [u8]) -> Result<()> {
        match &self.elements {
            Elements::InPlace(data) if target.len() < FEW => {
                target.copy_from_slice(&data[first..][..target.len()]);
                self.check.as_ref().map_or(Ok(()), |check| check.0(target))
            }
            _ => self.copy(first, target),
        }
    }

    /// `first` is a byte of the tensor in the part's format.
    fn copy(&self, first: usize, target: &mut [u8]) -> Result<()> {
        match (&self.elements, &self.file) {
            (Elements::InPlace(_), Some(file)) => {
                let Some(Check(check)) = &self.check else { return file.read(first as u64, target) };
                let firsts = (first..).step_by(CACHED);
                return firsts.zip(target.chunks_mut(CACHED)).try_for_each(|(first, target)| {
                    file.read(first as u64, target)?;
                    check(target)
                });
            }
            (Elements::InPlace(data), None) => target.copy_from_slice(&data[first..][..target.len()]),
            (Elements::Converted(Converted { data, element_bytes, convert, .. }), _) => {
                let size = self::element_bytes(self.format);
                let (first, count) = (first / size, target.len() / size);
                convert(&data[first * element_bytes..][..count * element_bytes], target);
            }
            (Elements::Rows(_), _) => unreachable!("rows are made whole"),
        }
        self.check.as_ref().map_or(Ok(()), |check| check.0(target))
    }

    /// The byte of the tensor, in the part's format, that row `row` starts at.
    fn start_of(&self, row: usize) -> usize {
        let columns = if self.columns.start == 0 { 0 } else { row_bytes(self.format, self.columns.start) };
        (self.rows.start + row) * row_bytes(self.format, self.tensor_columns) + columns
    }

    /// The same elements, one to a row.
    ///
    /// # Panics
    /// If they do not stand adjacent.
    pub(super) fn as_column(&self) -> WeightPart {
        assert!(self.is_adjacent(), "the elements stand adjacent");
        let elements = self.rows.start * self.tensor_columns..self.rows.end * self.tensor_columns;
        WeightPart { tensor_columns: 1, rows: elements, columns: 0..1, ..self.clone() }
    }

    /// The part in its format, to be read where it is; a tensor that is converted takes memory of its own from here on.
    ///
    /// # Errors
    /// Its elements do not pass the part's check.
    pub fn in_memory(self) -> Result<WeightPart> {
        let scales = self.scales().map(|scales| scales.clone().in_memory()).transpose()?.map(Arc::new);
        let beside = Beside { scales, ..self.beside.clone() };
        let part = match &self.elements {
            Elements::InPlace(data) => {
                if let Some(Check(check)) = &self.check {
                    let bytes = &data[self.start_of(0)..][..self.rows() * self.bytes_of_row()];
                    bytes.par_chunks(TASK_BYTES).try_for_each(|bytes| check(bytes))?;
                }
                WeightPart { check: None, ..self }
            }
            Elements::Converted(converted) => {
                WeightPart::in_place(self.format, (converted.whole)(), self.tensor_columns, self.rows, self.columns)
            }
            Elements::Rows(_) => {
                let data = self.made_in_memory()?;
                WeightPart::in_place(self.format, data, self.tensor_columns, 0..self.rows(), self.columns)
            }
        };
        Ok(WeightPart { beside, ..part })
    }

    fn made_in_memory(&self) -> Result<Bytes> {
        let (rows, bytes) = (self.rows(), self.bytes_of_row());
        // Words, so that elements of 4 bytes are aligned.
        let mut words: Vec<u32> = bytemuck::allocation::zeroed_vec((rows * bytes).div_ceil(4));
        let most = (TASK_BYTES / bytes).max(1);
        let target = &mut bytemuck::cast_slice_mut::<u32, u8>(&mut words)[..rows * bytes];
        target.par_chunks_mut(most * bytes).enumerate().try_for_each(|(task, target)| {
            let (first, count) = (task * most, target.len() / bytes);
            if !self.comes_apart() {
                return self.copy_rows(first..first + count, target);
            }
            let mut apart = vec![0; count * self.copied_bytes_of_row()];
            self.copy_rows(first..first + count, &mut apart)?;
            nvfp4_rows(self.columns(), &apart, target);
            Ok(())
        })?;
        Ok(Bytes::from_owner(super::elements::Words(words)))
    }
}

/// Bytes of an element that stands by itself.
fn element_bytes(format: Format) -> usize {
    match format {
        Format::Bf16 => 2,
        Format::F32 | Format::I32 => 4,
        Format::Fp8 { .. } | Format::Int8 { .. } | Format::Int4 { .. } | Format::Nvfp4 => 1,
    }
}

/// Bytes of a row of `columns` columns in this program's memory.
fn row_bytes(format: Format, columns: usize) -> usize {
    format.row_bytes(columns as u64) as usize
}

mod share;
#[cfg(test)]
mod tests;
