//! `WeightPart`: rows and columns of one tensor, read in place or copied to a device.
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::Format;
use crate::error::{Category, Error, Result};

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
}

/// A tensor's elements, row-major.
#[derive(Clone, Debug)]
enum Elements {
    /// In the part's format, aligned: they can be read where they are.
    InPlace(Bytes),
    Converted(Converted),
}

/// A tensor's elements that are not in the part's format as they stand in the file, or not aligned.
#[derive(Clone)]
pub struct Converted {
    /// Their bytes, row-major.
    pub data: Bytes,
    /// Bytes of one.
    pub element_bytes: usize,
    /// Turns the bytes of some elements into those of as many in the part's format.
    pub convert: fn(&[u8], &mut [u8]),
    /// All of them in the part's format, aligned, in memory that those share who ask.
    pub whole: Arc<dyn Fn() -> Bytes + Send + Sync>,
}

impl fmt::Debug for Converted {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Converted({} bytes of {} each)", self.data.len(), self.element_bytes)
    }
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
        assert!(data.as_ptr().addr().is_multiple_of(format.size(1)), "weights are aligned");
        assert!(format.size(rows.end * tensor_columns) <= data.len() && columns.end <= tensor_columns);
        WeightPart { format, elements: Elements::InPlace(data), file: None, tensor_columns, rows, columns }
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
        assert!(columns.end <= tensor_columns);
        WeightPart { format, elements: Elements::Converted(elements), file: None, tensor_columns, rows, columns }
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
            Elements::InPlace(data) => {
                &data[self.format.size(self.start_of(row))..][..self.format.size(self.columns.len())]
            }
            Elements::Converted(_) => {
                panic!("a tensor that is converted is brought into memory before it is read in place")
            }
        }
    }

    /// Whether the part's elements stand adjacent in the file.
    pub fn is_adjacent(&self) -> bool {
        self.columns.len() == self.tensor_columns
    }

    /// Fills `target` with whole elements in the part's format, from element `first` on, counted row by row, of a part that
    /// is adjacent.
    ///
    /// # Errors
    /// The file that holds them can not be read.
    ///
    /// # Panics
    /// If the part is not adjacent, or has fewer elements.
    pub fn copy_adjacent(&self, first: usize, target: &mut [u8]) -> Result<()> {
        let end = self.format.size(self.rows() * self.columns());
        assert!(self.is_adjacent() && self.format.size(first) + target.len() <= end);
        self.copy(self.rows.start * self.tensor_columns + first, target)
    }

    /// Fills `target` with row `row`, in the part's format.
    ///
    /// # Errors
    /// The file that holds it can not be read.
    ///
    /// # Panics
    /// If it is not as long as a row.
    pub fn copy_row(&self, row: usize, target: &mut [u8]) -> Result<()> {
        assert_eq!(target.len(), self.format.size(self.columns()));
        self.copy(self.start_of(row), target)
    }

    /// `first` counts the tensor's elements.
    fn copy(&self, first: usize, target: &mut [u8]) -> Result<()> {
        let start = self.format.size(first);
        match (&self.elements, &self.file) {
            (Elements::InPlace(_), Some(file)) => return file.read(start as u64, target),
            (Elements::InPlace(data), None) => target.copy_from_slice(&data[start..][..target.len()]),
            (Elements::Converted(Converted { data, element_bytes, convert, .. }), _) => {
                let count = target.len() / self.format.size(1);
                convert(&data[first * element_bytes..][..count * element_bytes], target);
            }
        }
        Ok(())
    }

    fn start_of(&self, row: usize) -> usize {
        (self.rows.start + row) * self.tensor_columns + self.columns.start
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
    pub fn in_memory(self) -> WeightPart {
        match &self.elements {
            Elements::InPlace(_) => self,
            Elements::Converted(converted) => {
                WeightPart::in_place(self.format, (converted.whole)(), self.tensor_columns, self.rows, self.columns)
            }
        }
    }
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
        let whole = part.clone().in_memory();
        for row in 0..3 {
            let first = (1 + row) * 5 + 1;
            let expected = [0, 1, 2].map(|i| (first + i) as f32 * 8.0);
            assert_eq!(values::<6>(|target| part.copy_row(row, target)), expected);
            assert_eq!(values::<6>(|target| whole.copy_row(row, target)), expected);
            assert_eq!(values::<6>(|target| Ok(target.copy_from_slice(whole.row_bytes(row)))), expected);
        }
        let part = WeightPart::converted(Format::Bf16, converted(6, 5), 5, 1..4, 0..5);
        let expected = [0, 1, 2, 3, 4, 5, 6].map(|i| (5 + 4 + i) as f32 * 8.0);
        assert_eq!(values::<14>(|target| part.copy_adjacent(4, target)), expected);
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
            let size = format.size(1);
            let part = WeightPart::in_place(
                format,
                Bytes::from_owner(vec![0u64; 3].into_iter().flat_map(u64::to_le_bytes).collect::<Vec<u8>>()),
                2,
                0..2,
                0..2,
            );
            let read = |part: &WeightPart| {
                let mut copied = vec![9; 2 * size];
                part.copy_adjacent(1, &mut copied).map(|()| copied)
            };
            assert_eq!(read(&part).unwrap(), vec![0; 2 * size]);
            assert_eq!(read(&part.clone().in_file(at(4))).unwrap(), in_file[4 + size..][..2 * size]);
            let row = part.clone().in_file(at(16 - 2 * size as u64)).copy_row(1, &mut vec![9; 2 * size]);
            for error in [read(&part.in_file(at(12))).unwrap_err(), row.unwrap_err()] {
                let error = error.to_string();
                assert!(error.contains("A weight could not be read") && error.contains("a.safetensors: "), "{error}");
            }
        }
    }
}
