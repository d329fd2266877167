//! `WeightPart`: rows and columns of one tensor, read in place or copied to a device.
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rayon::prelude::*;

use super::Format;
use super::elements::{Check, Converted, Elements, RowSource, Rows};
use crate::error::{Category, Error, Result};

/// Bytes of packed rows that one task makes in memory.
const TASK_BYTES: usize = 1 << 20;

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

/// A tensor's bytes in a file.
#[derive(Clone, Debug)]
pub struct FileRange {
    /// The open file.
    pub file: Arc<File>,
    /// Its name.
    pub path: Arc<Path>,
    /// Where the tensor starts, in bytes.
    pub start: u64,
}

impl FileRange {
    /// Fills `target` from byte `first` of the tensor on.
    fn read(&self, first: u64, target: &mut [u8]) -> Result<()> {
        let at = self.start + first;
        self.file.read_exact_at(target, at).map_err(|error| {
            Error::new(Category::Model, "A weight could not be read")
                .details(format_args!("{}: {} bytes from byte {at} on: {error}", self.path.display(), target.len()))
                .hint("the file has changed since it was opened, or its disk fails: download the checkpoint again")
        })
    }
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

    /// Fills `target` with rows `rows`, in the part's format.
    ///
    /// # Errors
    /// As [`WeightPart::copy_adjacent`].
    ///
    /// # Panics
    /// If it is not as long as those rows.
    pub fn copy_rows(&self, rows: Range<usize>, target: &mut [u8]) -> Result<()> {
        assert_eq!(target.len(), rows.len() * self.bytes_of_row());
        if let Elements::Rows(Rows(source)) = &self.elements {
            source.fill(self.rows.start + rows.start..self.rows.start + rows.end, target)?;
            return self.check.as_ref().map_or(Ok(()), |check| check.0(target));
        }
        let bytes = self.bytes_of_row();
        rows.zip(target.chunks_exact_mut(bytes)).try_for_each(|(row, target)| self.copy(self.start_of(row), target))
    }

    /// `first` is a byte of the tensor in the part's format.
    fn copy(&self, first: usize, target: &mut [u8]) -> Result<()> {
        match (&self.elements, &self.file) {
            (Elements::InPlace(_), Some(file)) => file.read(first as u64, target)?,
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
            let first = task * most;
            self.copy_rows(first..first + target.len() / bytes, target)
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

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    /// A tensor whose elements take a byte each; bf16 is eight times as much.
    fn converted(rows: usize, columns: usize) -> Converted {
        fn convert(bytes: &[u8], target: &mut [u8]) {
            let elements = bytes.iter().map(|byte| bf16::from_f32(f32::from(*byte) * 8.0).to_le_bytes());
            target.as_chunks_mut::<2>().0.iter_mut().zip(elements).for_each(|(target, element)| *target = element);
        }
        let data: Vec<u8> = (0..rows * columns).map(|i| i as u8).collect();
        let whole: Vec<bf16> = data.iter().map(|byte| bf16::from_f32(f32::from(*byte) * 8.0)).collect();
        let whole = Bytes::from(bytemuck::pod_collect_to_vec::<bf16, u8>(&whole));
        Converted { data: Bytes::from_owner(data), element_bytes: 1, convert, whole: Arc::new(move || whole.clone()) }
    }

    fn values<const BYTES: usize>(copy: impl FnOnce(&mut [u8]) -> Result<()>) -> Vec<f32> {
        let mut copied = [0; BYTES];
        copy(&mut copied).unwrap();
        copied.as_chunks::<2>().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect()
    }

    #[test]
    fn what_is_copied_in_pieces_is_what_stands_in_memory() {
        let part = WeightPart::converted(Format::Bf16, converted(6, 5), 5, 1..4, 1..4);
        let whole = part.clone().in_memory().unwrap();
        for row in 0..3 {
            let first = (1 + row) * 5 + 1;
            let expected = [0, 1, 2].map(|i| (first + i) as f32 * 8.0);
            assert_eq!(values::<6>(|target| part.copy_rows(row..row + 1, target)), expected);
            assert_eq!(values::<6>(|target| whole.copy_rows(row..row + 1, target)), expected);
            assert_eq!(bytemuck::cast_slice::<u8, bf16>(whole.row_bytes(row)), expected.map(bf16::from_f32));
        }
        let part = WeightPart::converted(Format::Bf16, converted(6, 5), 5, 1..4, 0..5);
        let expected = [0, 1, 2, 3, 4, 5, 6].map(|i| (5 + 4 + i) as f32 * 8.0);
        assert_eq!(values::<14>(|target| part.copy_adjacent(8, target)), expected);
        let column = part.as_column();
        assert_eq!((column.rows(), column.columns(), column.is_adjacent()), (15, 1, true));
        assert_eq!(values::<2>(|target| column.copy_adjacent(0, target)), [40.0]);
    }

    #[test]
    fn mapped_elements_are_read_from_their_file_or_it_is_said() {
        let in_file: Vec<u8> = (0..16).collect();
        let file = Arc::new(tempfile::tempfile().unwrap());
        file.write_all_at(&in_file, 0).unwrap();
        let at = |start| FileRange { file: file.clone(), path: Path::new("a.safetensors").into(), start };
        for format in [Format::Bf16, Format::F32] {
            let size = element_bytes(format);
            let part = WeightPart::in_place(
                format,
                Bytes::from_owner(vec![0u64; 3].into_iter().flat_map(u64::to_le_bytes).collect::<Vec<u8>>()),
                2,
                0..2,
                0..2,
            );
            let read = |part: &WeightPart| {
                let mut copied = vec![9; 2 * size];
                part.copy_adjacent(size, &mut copied).map(|()| copied)
            };
            assert_eq!(read(&part).unwrap(), vec![0; 2 * size]);
            assert_eq!(read(&part.clone().in_file(at(4))).unwrap(), in_file[4 + size..][..2 * size]);
            let row = part.clone().in_file(at(16 - 2 * size as u64)).copy_rows(1..2, &mut vec![9; 2 * size]);
            for error in [read(&part.in_file(at(12))).unwrap_err(), row.unwrap_err()] {
                let error = error.to_string();
                assert!(error.contains("A weight could not be read") && error.contains("a.safetensors: "), "{error}");
            }
        }
    }
}
