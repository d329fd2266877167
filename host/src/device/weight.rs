//! A product's weight in one format, as a list of parts: stacked by rows, read in place or laid adjacent by an upload.
use half::bf16;

use super::{Format, WeightPart};

/// Parts of one format and of equal width, one below the other.
#[derive(Clone, Debug)]
pub struct Weight {
    format: Format,
    parts: Vec<WeightPart>,
}

impl Weight {
    /// Stacks the parts.
    ///
    /// # Panics
    /// If there is none, or their formats or widths differ.
    pub fn new(parts: Vec<WeightPart>) -> Weight {
        let format = parts.first().expect("a weight has a part").format();
        assert!(parts.iter().all(|p| p.columns() == parts[0].columns() && p.format() == format));
        Weight { format, parts }
    }

    /// Vectors, one below the other: `[n, 1]`.
    ///
    /// # Panics
    /// If there is none, or a part's elements do not stand adjacent.
    pub fn column(vectors: &[Weight]) -> Weight {
        Weight::new(vectors.iter().flat_map(|vector| &vector.parts).map(WeightPart::as_column).collect())
    }

    /// The weight with all parts in its format, to be read where they are; see [`WeightPart::in_memory`].
    pub fn in_memory(self) -> Weight {
        Weight { parts: self.parts.into_iter().map(WeightPart::in_memory).collect(), ..self }
    }

    /// How the elements stand on a device.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Rows of all parts.
    pub fn rows(&self) -> usize {
        self.parts.iter().map(WeightPart::rows).sum()
    }

    /// Width of every part.
    pub fn columns(&self) -> usize {
        self.parts[0].columns()
    }

    /// The parts, top to bottom.
    pub fn parts(&self) -> &[WeightPart] {
        &self.parts
    }

    /// Row `row` counted over all parts, in the weight's format.
    ///
    /// # Panics
    /// If there is no such row, or the part is not in memory: see [`Weight::in_memory`].
    pub fn row_bytes(&self, mut row: usize) -> &[u8] {
        for part in &self.parts {
            if row < part.rows() {
                return part.row_bytes(row);
            }
            row -= part.rows();
        }
        panic!("row {row} is below the last part");
    }

    /// Row `row` of a bf16 weight.
    ///
    /// # Panics
    /// As [`Weight::row_bytes`], and if the weight has another format.
    pub fn row(&self, row: usize) -> &[bf16] {
        assert_eq!(self.format, Format::Bf16);
        bytemuck::cast_slice(self.row_bytes(row))
    }

    /// All elements of an f32 weight, row by row.
    ///
    /// # Panics
    /// As [`Weight::row_bytes`], and if the weight has another format.
    pub fn to_f32(&self) -> Vec<f32> {
        assert_eq!(self.format, Format::F32);
        let bytes = (0..self.rows()).flat_map(|row| self.row_bytes(row).as_chunks::<4>().0);
        bytes.map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }
}
