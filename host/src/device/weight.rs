//! A product's weight as a list of parts: stacked by rows, read in place or laid adjacent by an upload.
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use gpu_kernels::Element;
use half::bf16;

/// Rows and columns of one tensor.
#[derive(Clone, Debug)]
pub struct WeightPart {
    elements: Elements,
    /// The file that bf16 elements are mapped from, and where in it they start.
    file: Option<(Arc<File>, u64)>,
    tensor_columns: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

/// A tensor's elements, row-major.
#[derive(Clone, Debug)]
enum Elements {
    /// Aligned bf16, which can be read where they are.
    Bf16(Bytes),
    Narrowed(Narrowed),
}

/// A tensor's elements that are no bf16 as they stand in the file, or not aligned.
#[derive(Clone)]
pub struct Narrowed {
    /// Their bytes, row-major.
    pub data: Bytes,
    /// Bytes of one.
    pub element_bytes: usize,
    /// Makes bf16 of the bytes of as many elements.
    pub narrow: fn(&[u8], &mut [bf16]),
    /// All of them as bf16, aligned, in memory that those share who ask.
    pub whole: Arc<dyn Fn() -> Bytes + Send + Sync>,
}

impl fmt::Debug for Narrowed {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Narrowed({} bytes of {} each)", self.data.len(), self.element_bytes)
    }
}

impl WeightPart {
    /// Rows `rows` and columns `columns` of a row-major bf16 tensor of `tensor_columns` columns.
    ///
    /// # Panics
    /// If `data` is not aligned to 2 bytes or does not hold the rows; the checkpoint's reader sees to both.
    pub fn new(data: Bytes, tensor_columns: usize, rows: Range<usize>, columns: Range<usize>) -> WeightPart {
        assert!(data.as_ptr().cast::<bf16>().is_aligned(), "weights are 2-byte aligned");
        assert!(rows.end * tensor_columns * 2 <= data.len() && columns.end <= tensor_columns);
        WeightPart { elements: Elements::Bf16(data), file: None, tensor_columns, rows, columns }
    }

    /// As [`WeightPart::new`], of a tensor that becomes bf16 where it is copied, or with [`Weight::in_memory`].
    ///
    /// # Panics
    /// If its bytes do not hold the rows; the checkpoint's reader sees to that.
    pub fn narrowed(
        elements: Narrowed,
        tensor_columns: usize,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> WeightPart {
        assert!(rows.end * tensor_columns * elements.element_bytes <= elements.data.len());
        assert!(columns.end <= tensor_columns);
        WeightPart { elements: Elements::Narrowed(elements), file: None, tensor_columns, rows, columns }
    }

    /// The part, whose bf16 elements are mapped from `file` and start there at byte `start`. Where they are copied they are
    /// read: to map 8 GB page by page, and to unmap them, takes a tenth of a second.
    pub fn in_file(self, (file, start): (Arc<File>, u64)) -> WeightPart {
        WeightPart { file: Some((file, start)), ..self }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Row `row` of this part.
    ///
    /// # Panics
    /// If the tensor is not bf16 in memory: [`Weight::in_memory`] makes it so.
    pub fn row(&self, row: usize) -> &[bf16] {
        &self.bf16()[self.start_of(row)..][..self.columns.len()]
    }

    /// Whether the part's elements stand adjacent in the file.
    pub fn is_adjacent(&self) -> bool {
        self.columns.len() == self.tensor_columns
    }

    /// Fills `target` with the elements from `first` on, counted row by row, of a part that is adjacent.
    ///
    /// # Panics
    /// If it is not, or has fewer elements.
    pub fn copy_adjacent(&self, first: usize, target: &mut [bf16]) {
        assert!(self.is_adjacent() && first + target.len() <= self.rows() * self.columns());
        let first = self.rows.start * self.tensor_columns + first;
        let read = self.file.as_ref().is_some_and(|(file, start)| {
            file.read_exact_at(bytemuck::cast_slice_mut(target), start + first as u64 * 2).is_ok()
        });
        if !read {
            self.copy(first, target);
        }
    }

    /// Fills `target` with row `row`.
    ///
    /// # Panics
    /// If it is not as long as a row.
    pub fn copy_row(&self, row: usize, target: &mut [bf16]) {
        assert_eq!(target.len(), self.columns());
        self.copy(self.start_of(row), target);
    }

    /// `first` counts the tensor's elements.
    fn copy(&self, first: usize, target: &mut [bf16]) {
        match &self.elements {
            Elements::Bf16(_) => target.copy_from_slice(&self.bf16()[first..][..target.len()]),
            Elements::Narrowed(Narrowed { data, element_bytes, narrow, .. }) => {
                narrow(&data[first * element_bytes..][..target.len() * element_bytes], target);
            }
        }
    }

    fn start_of(&self, row: usize) -> usize {
        (self.rows.start + row) * self.tensor_columns + self.columns.start
    }

    fn as_column(&self) -> WeightPart {
        assert!(self.is_adjacent(), "the elements stand adjacent");
        let elements = self.rows.start * self.tensor_columns..self.rows.end * self.tensor_columns;
        WeightPart { tensor_columns: 1, rows: elements, columns: 0..1, ..self.clone() }
    }

    fn in_memory(self) -> WeightPart {
        match &self.elements {
            Elements::Bf16(_) => self,
            Elements::Narrowed(narrowed) => {
                WeightPart::new((narrowed.whole)(), self.tensor_columns, self.rows, self.columns)
            }
        }
    }

    fn bf16(&self) -> &[bf16] {
        match &self.elements {
            Elements::Bf16(data) => bytemuck::cast_slice(&data[..data.len() / 2 * 2]),
            Elements::Narrowed(_) => {
                panic!("a tensor that is narrowed is brought into memory before it is read in place")
            }
        }
    }
}

/// How the elements of a weight stand in a device's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// 16-bit brain floats.
    Bf16,
    /// 32-bit floats.
    F32,
}

impl Format {
    /// What a buffer of this format holds.
    pub const fn element(self) -> Element {
        match self {
            Format::Bf16 => Element::Weight,
            Format::F32 => Element::F32,
        }
    }

    /// Bytes of `elements` elements.
    pub const fn bytes(self, elements: u64) -> u64 {
        match self {
            Format::Bf16 => 2 * elements,
            Format::F32 => 4 * elements,
        }
    }
}

/// Parts of equal width, one below the other.
#[derive(Clone, Debug)]
pub struct Weight(Vec<WeightPart>);

impl Weight {
    /// Stacks the parts.
    ///
    /// # Panics
    /// If there is none, or their widths differ.
    pub fn new(parts: Vec<WeightPart>) -> Weight {
        assert!(!parts.is_empty() && parts.iter().all(|p| p.columns() == parts[0].columns()));
        Weight(parts)
    }

    /// Vectors, one below the other: `[n, 1]`.
    ///
    /// # Panics
    /// If there is none, or a part's elements do not stand adjacent.
    pub fn column(vectors: &[Weight]) -> Weight {
        Weight::new(vectors.iter().flat_map(|vector| &vector.0).map(WeightPart::as_column).collect())
    }

    /// The parts as bf16 that can be read where they are; narrowed tensors take memory of their own from here on.
    pub fn in_memory(self) -> Weight {
        Weight(self.0.into_iter().map(WeightPart::in_memory).collect())
    }

    /// Rows of all parts.
    pub fn rows(&self) -> usize {
        self.0.iter().map(WeightPart::rows).sum()
    }

    /// Width of every part.
    pub fn columns(&self) -> usize {
        self.0[0].columns()
    }

    /// The parts, top to bottom.
    pub fn parts(&self) -> &[WeightPart] {
        &self.0
    }

    /// Row `row` counted over all parts.
    ///
    /// # Panics
    /// As [`WeightPart::row`].
    pub fn row(&self, mut row: usize) -> &[bf16] {
        for part in &self.0 {
            if row < part.rows() {
                return part.row(row);
            }
            row -= part.rows();
        }
        panic!("row {row} is below the last part");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tensor whose elements take a byte each; bf16 is eight times as much.
    fn narrowed(rows: usize, columns: usize) -> Narrowed {
        fn narrow(bytes: &[u8], target: &mut [bf16]) {
            target.iter_mut().zip(bytes).for_each(|(target, byte)| *target = bf16::from_f32(f32::from(*byte) * 8.0));
        }
        let data: Vec<u8> = (0..rows * columns).map(|i| i as u8).collect();
        let whole = data.clone();
        let whole = move || {
            let mut elements = vec![bf16::ZERO; whole.len()];
            narrow(&whole, &mut elements);
            Bytes::from(bytemuck::pod_collect_to_vec::<bf16, u8>(&elements))
        };
        Narrowed { data: Bytes::from_owner(data), element_bytes: 1, narrow, whole: Arc::new(whole) }
    }

    #[test]
    fn what_is_copied_in_pieces_is_what_stands_in_memory() {
        let part = WeightPart::narrowed(narrowed(6, 5), 5, 1..4, 1..4);
        let whole = part.clone().in_memory();
        for row in 0..3 {
            let mut copied = [bf16::ZERO; 3];
            part.copy_row(row, &mut copied);
            assert_eq!(copied, whole.row(row));
            let first = (1 + row) * 5 + 1;
            assert_eq!(copied.map(bf16::to_f32), [0, 1, 2].map(|i| (first + i) as f32 * 8.0));
            whole.copy_row(row, &mut copied);
            assert_eq!(copied, whole.row(row));
        }
        let part = WeightPart::narrowed(narrowed(6, 5), 5, 1..4, 0..5);
        let mut copied = [bf16::ZERO; 7];
        part.copy_adjacent(4, &mut copied);
        assert_eq!(copied.map(bf16::to_f32), [0, 1, 2, 3, 4, 5, 6].map(|i| (5 + 4 + i) as f32 * 8.0));
        let column = part.as_column();
        assert_eq!((column.rows(), column.columns(), column.is_adjacent()), (15, 1, true));
        column.copy_adjacent(0, &mut copied);
        assert_eq!(copied[0], bf16::from_f32(40.0));
    }

    #[test]
    fn mapped_elements_are_read_from_their_file() {
        let in_file: Vec<u8> = (0..16).collect();
        let file = Arc::new(tempfile::tempfile().unwrap());
        file.write_all_at(&in_file, 0).unwrap();
        let part = WeightPart::new(Bytes::from(vec![0; 12]), 2, 1..3, 0..2);
        let copied = |part: &WeightPart| {
            let mut copied = [bf16::ZERO; 3];
            part.copy_adjacent(1, &mut copied);
            copied.map(bf16::to_bits)
        };
        assert_eq!(copied(&part), [0; 3]);
        let [a, b, c] = [10, 12, 14].map(|at| u16::from_le_bytes([in_file[at], in_file[at + 1]]));
        assert_eq!(copied(&part.clone().in_file((file.clone(), 4))), [a, b, c]);
        assert_eq!(copied(&part.in_file((file, 6))), [0; 3], "the file is too short, the mapping is not");
    }
}
