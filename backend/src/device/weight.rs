//! A product's weight in one format, as a list of parts: stacked by rows, read in place or laid adjacent by an upload.
use half::bf16;

use super::{Format, WeightPart};
use crate::error::Result;

/// Parts of one format and of equal width, one below the other.
#[derive(Clone, Debug)]
pub struct Weight {
    format: Format,
    parts: Vec<WeightPart>,
    /// The shares of the ranks behind the first, where each has its own.
    others: Vec<Weight>,
}

impl Weight {
    /// Stacks the parts.
    ///
    /// # Panics
    /// If there is none, or their formats or widths differ.
    pub fn new(parts: Vec<WeightPart>) -> Weight {
        let format = parts.first().expect("a weight has a part").format();
        assert!(parts.iter().all(|p| p.columns() == parts[0].columns() && p.format() == format));
        Weight { format, parts, others: Vec::new() }
    }

    /// What each rank has of a weight, as one: what is said of it is true of every share, and what it holds is the first's.
    ///
    /// # Panics
    /// If there is none, or the shares differ in format or size.
    pub fn of_ranks(shares: Vec<Weight>) -> Weight {
        let mut shares = shares.into_iter();
        let first = shares.next().expect("there is a rank");
        let others: Vec<Weight> = shares.collect();
        let shape = |weight: &Weight| (weight.format, weight.rows(), weight.columns());
        assert!(others.iter().all(|other| shape(other) == shape(&first)), "all ranks have as much");
        Weight { others, ..first }
    }

    /// What rank `rank` has: all, where the weight is no share of each.
    pub fn of_rank(&self, rank: usize) -> Weight {
        match rank.checked_sub(1).and_then(|other| self.others.get(other)) {
            Some(other) => other.clone(),
            None => Weight { others: Vec::new(), ..self.clone() },
        }
    }

    /// The same of every share; none where there is none of the first.
    fn of_each(&self, of: impl Fn(&Weight) -> Option<Weight>) -> Option<Weight> {
        let others = self.others.iter().map(&of).collect::<Option<_>>()?;
        Some(Weight { others, ..of(self)? })
    }

    /// Vectors, one below the other: `[n, 1]`.
    ///
    /// # Panics
    /// If there is none, or a part's elements do not stand adjacent.
    pub fn column(vectors: &[Weight]) -> Weight {
        let ranks = 1 + vectors.iter().map(|vector| vector.others.len()).max().unwrap_or(0);
        let column = |rank| {
            let parts = vectors.iter().flat_map(|vector| vector.of_rank(rank).parts);
            Weight::new(parts.map(|part| part.as_column()).collect())
        };
        Weight::of_ranks((0..ranks).map(column).collect())
    }

    /// The weight with all parts in its format, to be read where they are; see [`WeightPart::in_memory`].
    ///
    /// # Errors
    /// As of [`WeightPart::in_memory`].
    pub fn in_memory(self) -> Result<Weight> {
        let parts = self.parts.into_iter().map(WeightPart::in_memory).collect::<Result<_>>()?;
        Ok(Weight { parts, ..self })
    }

    /// The f32 scales that stand beside the codes, `[rows, scales of a row]`; none where there are none.
    pub fn scales(&self) -> Option<Weight> {
        self.of_each(|weight| {
            let scales = weight.parts.iter().map(|part| part.scales().cloned()).collect::<Option<_>>()?;
            Some(Weight::new(scales))
        })
    }

    /// The columns of the input that the columns of all parts belong to, `[1, columns]` in I32; none where each is its own.
    pub fn order(&self) -> Option<Weight> {
        self.of_each(|weight| weight.parts[0].order().map(|order| Weight::new(vec![order.clone()])))
    }

    /// What the inputs are multiplied by, `[1, columns]` in F32; none where they are not.
    pub fn factors(&self) -> Option<Weight> {
        self.of_each(|weight| weight.parts[0].factors().map(|factors| Weight::new(vec![factors.clone()])))
    }

    /// Bytes of a row.
    pub fn bytes_of_row(&self) -> usize {
        self.parts[0].bytes_of_row()
    }

    /// How the elements stand on a device.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Bytes that [`Weight::in_memory`] takes.
    pub fn bytes_to_convert(&self) -> u64 {
        let converted = self.parts.iter().filter(|part| part.is_converted());
        converted.map(|part| (part.rows() * part.bytes_of_row()) as u64).sum()
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

    /// All elements of an f32 or i32 weight, row by row, with the bits that they have.
    ///
    /// # Panics
    /// As [`Weight::row_bytes`], and if the weight has another format.
    pub fn to_f32(&self) -> Vec<f32> {
        assert!(matches!(self.format, Format::F32 | Format::I32));
        let bytes = (0..self.rows()).flat_map(|row| self.row_bytes(row).as_chunks::<4>().0);
        bytes.map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }
}
