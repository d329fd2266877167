//! A product's weight as a list of parts: stacked by rows, read in place or laid adjacent by an upload.
use std::ops::Range;

use bytes::Bytes;
use half::bf16;

/// Rows and columns of one bf16 tensor.
#[derive(Clone, Debug)]
pub struct WeightPart {
    data: Bytes,
    tensor_columns: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl WeightPart {
    /// Rows `rows` and columns `columns` of a row-major bf16 tensor of `tensor_columns` columns.
    ///
    /// # Panics
    /// If `data` is not aligned to 2 bytes or does not hold the rows; the checkpoint's reader sees to both.
    pub fn new(data: Bytes, tensor_columns: usize, rows: Range<usize>, columns: Range<usize>) -> WeightPart {
        assert!(data.as_ptr().cast::<bf16>().is_aligned(), "weights are 2-byte aligned");
        assert!(rows.end * tensor_columns * 2 <= data.len() && columns.end <= tensor_columns);
        WeightPart { data, tensor_columns, rows, columns }
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
    pub fn row(&self, row: usize) -> &[bf16] {
        let start = (self.rows.start + row) * self.tensor_columns;
        &self.elements()[start + self.columns.start..start + self.columns.end]
    }

    /// The part's elements where they stand adjacent in the file, else none.
    pub fn contiguous(&self) -> Option<&[bf16]> {
        let whole = self.columns.len() == self.tensor_columns;
        whole.then(|| &self.elements()[self.rows.start * self.tensor_columns..self.rows.end * self.tensor_columns])
    }

    fn as_column(&self) -> WeightPart {
        assert_eq!(self.columns.len(), self.tensor_columns, "the elements stand adjacent");
        let elements = self.rows.start * self.tensor_columns..self.rows.end * self.tensor_columns;
        WeightPart::new(self.data.clone(), 1, elements, 0..1)
    }

    fn elements(&self) -> &[bf16] {
        bytemuck::cast_slice(&self.data[..self.data.len() / 2 * 2])
    }
}

/// Parts of equal width, one below the other.
#[derive(Clone, Debug)]
pub struct WeightParts(Vec<WeightPart>);

impl WeightParts {
    /// Stacks the parts.
    ///
    /// # Panics
    /// If there is none, or their widths differ.
    pub fn new(parts: Vec<WeightPart>) -> WeightParts {
        assert!(!parts.is_empty() && parts.iter().all(|p| p.columns() == parts[0].columns()));
        WeightParts(parts)
    }

    /// Vectors, one below the other: `[n, 1]`.
    ///
    /// # Panics
    /// If there is none, or a part's elements do not stand adjacent.
    pub fn column(vectors: &[WeightParts]) -> WeightParts {
        WeightParts::new(vectors.iter().flat_map(|vector| &vector.0).map(WeightPart::as_column).collect())
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
