//! What a rank has of a part: some of its rows or columns, with zeros behind where kernels need more.
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use gpu_kernels::format::{BLOCK, NVFP4_GROUP, nibble_bytes};

use super::super::elements::{Elements, RowSource, Words};
use super::{Beside, Format, WeightPart, row_bytes};
use crate::error::Result;

impl WeightPart {
    /// Some of the rows.
    ///
    /// # Panics
    /// If it has not so many.
    pub fn some_rows(&self, rows: Range<usize>) -> WeightPart {
        assert!(rows.end <= self.rows(), "the part has the rows");
        let scales = self.scales().map(|scales| Arc::new(scales.some_rows(rows.clone())));
        let rows = self.rows.start + rows.start..self.rows.start + rows.end;
        WeightPart { rows, beside: Beside { scales, ..self.beside.clone() }, ..self.clone() }
    }

    /// Some of the columns, and zeros behind them up to `width` columns. They begin between two groups that share a scale, and with
    /// zeros behind them end so.
    ///
    /// # Panics
    /// If it has not so many, or they have an order, or are of NVFP4 and in memory already.
    pub fn some_columns(&self, columns: Range<usize>, width: usize) -> WeightPart {
        assert!(columns.end <= self.columns() && columns.len() <= width, "the part has the columns");
        assert!(self.order().is_none(), "an order goes over all columns");
        if self.format == Format::Nvfp4 {
            assert!(self.comes_apart(), "codes and scales are cut while they are apart");
            let bounds = [columns.start, columns.end, width].map(|column| column as u32);
            assert!(bounds.iter().all(|column| column.is_multiple_of(NVFP4_GROUP)), "groups are whole");
        }
        let per_row = self.format.scales(self.columns() as u64) as usize;
        let scales = self.scales().map(|scales| match self.format.group() as usize {
            group if per_row > 1 => scales.some_columns(
                columns.start / group..columns.end.div_ceil(group),
                self.format.scales(width as u64) as usize,
            ),
            _ => scales.clone(),
        });
        let factors = self.factors().map(|factors| factors.some_columns(columns.clone(), width));
        let beside = Beside { scales: scales.map(Arc::new), order: None, factors: factors.map(Arc::new) };
        let in_place = match self.format {
            Format::Bf16 | Format::F32 | Format::I32 => !matches!(self.elements, Elements::Rows(_)),
            _ => false,
        };
        if in_place && columns.len() == width {
            let columns = self.columns.start + columns.start..self.columns.start + columns.end;
            return WeightPart { columns, beside, ..self.clone() };
        }
        let rows = self.rows();
        let whole = WeightPart { beside: Beside::default(), ..self.clone() };
        let part = WeightPart::made(self.format, rows, width, Arc::new(Columns { whole, columns, width }));
        WeightPart { beside, ..part }
    }

    /// Rows of zeros below this part, in its format.
    pub fn zeros_below(&self, rows: usize) -> WeightPart {
        let part = WeightPart::made(self.format, rows, self.columns(), Arc::new(Zeros));
        match self.scales() {
            Some(scales) => part.scaled_by(scales.zeros_below(rows)),
            None => part,
        }
    }

    /// The pieces of a vector, one behind the other, each with zeros behind it up to its width; in memory of its own.
    ///
    /// # Errors
    /// The file that holds it can not be read, or its elements do not pass the part's check.
    ///
    /// # Panics
    /// If the part is no vector, or packed.
    pub fn joined(&self, pieces: &[(Range<usize>, usize)]) -> Result<WeightPart> {
        assert!(self.rows() == 1 && !self.format.is_packed(), "a vector of numbers");
        let mut whole = vec![0; self.bytes_of_row()];
        self.copy_rows(0..1, &mut whole)?;
        let bytes = |elements: usize| row_bytes(self.format, elements);
        let width = pieces.iter().map(|(_, width)| width).sum();
        let mut words = vec![0u32; bytes(width).div_ceil(4)];
        let (target, mut first) = (bytemuck::cast_slice_mut::<u32, u8>(&mut words), 0);
        for (piece, width) in pieces {
            let piece = &whole[bytes(piece.start)..bytes(piece.end)];
            target[first..][..piece.len()].copy_from_slice(piece);
            first += bytes(*width);
        }
        Ok(WeightPart::in_place(self.format, Bytes::from_owner(Words(words)), width, 0..1, 0..width))
    }
}

/// Bytes of whole rows that are made at a time.
const WHOLE: usize = 1 << 20;

/// Zeros, which every format has as bytes of zero.
struct Zeros;

impl RowSource for Zeros {
    fn fill(&self, _: Range<usize>, target: &mut [u8]) -> Result<()> {
        target.fill(0);
        Ok(())
    }
}

/// Columns of rows: read alone where the file has them so, else out of whole rows.
struct Columns {
    whole: WeightPart,
    columns: Range<usize>,
    width: usize,
}

impl RowSource for Columns {
    fn fill(&self, rows: Range<usize>, target: &mut [u8]) -> Result<()> {
        target.fill(0);
        if self.whole.comes_apart() {
            return self.apart(rows, target);
        }
        let format = self.whole.format;
        let width = row_bytes(format, self.width);
        if let (Some(bytes), false) = (element_bytes(format), matches!(self.whole.elements, Elements::Rows(_))) {
            let (first, count) = (self.columns.start * bytes, self.columns.len() * bytes);
            return rows.zip(target.chunks_exact_mut(width)).try_for_each(|(row, target)| {
                self.whole.copy_some(self.whole.start_of(row) + first, &mut target[..count])
            });
        }
        let bytes = self.whole.bytes_of_row();
        // Many at a time: a file may have them column by column.
        let together = (WHOLE / bytes).max(1);
        let mut whole = vec![0; together.min(rows.len()) * bytes];
        for (first, targets) in rows.clone().step_by(together).zip(target.chunks_mut(together * width)) {
            let whole = &mut whole[..targets.len() / width * bytes];
            self.whole.copy_rows(first..first + targets.len() / width, whole)?;
            let rows = whole.chunks_exact(bytes).zip(targets.chunks_exact_mut(width));
            let widths = [self.whole.columns(), self.width];
            rows.for_each(|(whole, target)| copy_columns(format, widths, whole, self.columns.clone(), target));
        }
        Ok(())
    }
}

impl Columns {
    /// As [`RowSource::fill`], of codes and scales that come apart.
    fn apart(&self, rows: Range<usize>, target: &mut [u8]) -> Result<()> {
        let (bytes, group) = (self.whole.copied_bytes_of_row(), NVFP4_GROUP as usize);
        let together = (WHOLE / bytes).max(1);
        let mut whole = vec![0; together.min(rows.len()) * bytes];
        let (codes, scales) = target.split_at_mut(rows.len() * self.width / 2);
        let bands = codes.chunks_mut(together * self.width / 2).zip(scales.chunks_mut(together * self.width / group));
        for (first, (codes, scales)) in rows.clone().step_by(together).zip(bands) {
            let count = together.min(rows.end - first);
            let whole = &mut whole[..count * bytes];
            self.whole.copy_rows(first..first + count, whole)?;
            let (all_codes, all_scales) = whole.split_at(count * self.whole.columns() / 2);
            self.cut(2, all_codes, codes);
            self.cut(group, all_scales, scales);
        }
        Ok(())
    }

    /// Copies the columns of rows, of which `share` have a byte together.
    fn cut(&self, share: usize, rows: &[u8], targets: &mut [u8]) {
        let columns = self.columns.start / share..self.columns.end / share;
        let rows = rows.chunks_exact(self.whole.columns() / share);
        for (row, target) in rows.zip(targets.chunks_exact_mut(self.width / share)) {
            target[..columns.len()].copy_from_slice(&row[columns.clone()]);
        }
    }
}

/// Bytes of an element; none of 4-bit codes, which share some.
fn element_bytes(format: Format) -> Option<usize> {
    match format {
        Format::Bf16 => Some(2),
        Format::F32 | Format::I32 => Some(4),
        Format::Fp8 { .. } | Format::Int8 { .. } => Some(1),
        Format::Int4 { .. } | Format::Nvfp4 => None,
    }
}

/// Copies columns of a row in `format` to the begin of another; `widths` are the columns of both.
fn copy_columns(format: Format, widths: [usize; 2], row: &[u8], columns: Range<usize>, target: &mut [u8]) {
    if let Some(bytes) = element_bytes(format) {
        let columns = columns.start * bytes..columns.end * bytes;
        return target[..columns.len()].copy_from_slice(&row[columns]);
    }
    let codes = columns.start / 2..columns.end.div_ceil(2);
    target[..codes.len()].copy_from_slice(&row[codes]);
    // The entries of groups stand side by side, from block to block too.
    let group = format.group() as usize;
    let entry = (format.block_scales() / (BLOCK / format.group())) as usize;
    let [whole, part] = widths.map(|columns| nibble_bytes(columns as u32) as usize);
    let scales = columns.start / group * entry..columns.end.div_ceil(group) * entry;
    target[part..][..scales.len()].copy_from_slice(&row[whole..][scales]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::unpack;

    /// A row of `columns` codes in `format` that differ, with scales that differ.
    fn row(format: Format, columns: usize) -> Vec<u8> {
        let mut row = vec![0; row_bytes(format, columns)];
        let number = |i: usize| (i * 37 + i / 7 * 11) as u8;
        match format {
            Format::Int4 { .. } => {
                let (codes, scales) = row.split_at_mut(nibble_bytes(columns as u32) as usize);
                codes.iter_mut().enumerate().for_each(|(i, byte)| *byte = number(i));
                scales.as_chunks_mut::<4>().0.iter_mut().enumerate().for_each(|(i, entry)| {
                    *entry = ((i as f32 + 1.0).to_bits() | (i as u32 & 15)).to_le_bytes();
                });
            }
            _ => row[..columns].iter_mut().enumerate().for_each(|(i, byte)| *byte = number(i) & 0x7e),
        }
        row
    }

    #[test]
    fn columns_of_every_format_are_the_same_numbers() {
        let columns = 576;
        for format in [
            Format::Fp8 { group: 0 },
            Format::Fp8 { group: 64 },
            Format::Int8 { group: 0 },
            Format::Int4 { group: 64, zeros: false },
            Format::Int4 { group: 64, zeros: true },
            Format::Int4 { group: 32, zeros: true },
        ] {
            let data = row(format, columns);
            let scales: Vec<f32> = (0..format.scales(columns as u64)).map(|i| 1.0 + i as f32).collect();
            let mut whole = vec![0.0; columns];
            unpack(format, &data, &scales, &mut whole);
            let part = WeightPart::in_place(format, data.into(), columns, 0..1, 0..columns);
            let part = match scales.len() {
                0 => part,
                count => {
                    let bytes = Bytes::from(bytemuck::pod_collect_to_vec::<f32, u8>(&scales));
                    part.scaled_by(WeightPart::in_place(Format::F32, bytes, count, 0..1, 0..count))
                }
            };
            // Groups of 32 may begin between those of 64.
            let fine = (format.group() == 32).then_some((96..288, 192));
            let columns = [(0..192, 192), (192..384, 192), (320..576, 256), (448..576, 192)];
            for (some, width) in columns.into_iter().chain(fine) {
                let share = part.some_columns(some.clone(), width).in_memory().expect("bytes in memory");
                let scales = share.scales().map_or(Vec::new(), |scales| {
                    let bytes = scales.row_bytes(0).as_chunks::<4>().0;
                    bytes.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
                });
                let mut found = vec![0.0; width];
                unpack(format, share.row_bytes(0), &scales, &mut found);
                assert_eq!(found[..some.len()], whole[some.clone()], "{format:?}, {some:?}");
                assert!(found[some.len()..].iter().all(|value| *value == 0.0), "{format:?}, {some:?}");
            }
        }
    }

    #[test]
    fn columns_of_codes_and_scales_that_come_apart_are_the_same_numbers() {
        const COLUMNS: usize = 576;
        struct Apart;
        impl RowSource for Apart {
            fn fill(&self, rows: Range<usize>, target: &mut [u8]) -> Result<()> {
                let (codes, scales) = target.split_at_mut(rows.len() * COLUMNS / 2);
                let scale = |row: usize, i: usize| 0x30 + ((row + i) % 16) as u8;
                for (row, target) in rows.clone().zip(codes.chunks_exact_mut(COLUMNS / 2)) {
                    target.iter_mut().enumerate().for_each(|(i, byte)| *byte = (row * 31 + i * 7) as u8);
                }
                for (row, target) in rows.zip(scales.chunks_exact_mut(COLUMNS / 16)) {
                    target.iter_mut().enumerate().for_each(|(i, byte)| *byte = scale(row, i));
                }
                Ok(())
            }
        }
        let numbers = |part: &WeightPart, row: usize| {
            let mut found = vec![0.0; part.columns()];
            unpack(Format::Nvfp4, part.row_bytes(row), &[1.0], &mut found);
            found
        };
        // Three times what is read at a time, and some.
        let rows = 3 * WHOLE / (COLUMNS / 16 * 9) + 5;
        let part = WeightPart::made(Format::Nvfp4, rows, COLUMNS, Arc::new(Apart));
        let whole = part.clone().in_memory().expect("bytes in memory");
        for (some, width) in [(0..192, 192), (192..384, 192), (320..576, 256), (448..576, 192)] {
            let share = part.some_columns(some.clone(), width).in_memory().expect("bytes in memory");
            for row in (0..rows).step_by(97).chain([rows - 1]) {
                let (found, all) = (numbers(&share, row), numbers(&whole, row));
                assert_eq!(found[..some.len()], all[some.clone()], "row {row}, {some:?}");
                assert!(found[some.len()..].iter().all(|value| *value == 0.0), "row {row}, {some:?}");
            }
        }
    }

    #[test]
    fn columns_of_many_rows_that_are_made_are_those_of_each() {
        struct Made;
        impl RowSource for Made {
            fn fill(&self, rows: Range<usize>, target: &mut [u8]) -> Result<()> {
                rows.zip(target.chunks_exact_mut(512)).for_each(|(row, target)| {
                    target.iter_mut().enumerate().for_each(|(i, byte)| *byte = (row * 31 + i * 7) as u8);
                });
                Ok(())
            }
        }
        // Three times what is made at a time, and some.
        let rows = 3 * WHOLE / 512 + 5;
        let part = WeightPart::made(Format::Int8 { group: 0 }, rows, 512, Arc::new(Made)).some_columns(64..160, 128);
        let mut target = vec![9; (rows - 2) * 128];
        part.copy_rows(1..rows - 1, &mut target).expect("rows");
        for (row, target) in (1..rows - 1).zip(target.chunks_exact(128)) {
            assert!(target[..96].iter().zip(64..).all(|(byte, i)| *byte == (row * 31 + i * 7) as u8), "row {row}");
            assert_eq!(target[96..], [0; 32], "row {row}");
        }
    }

    #[test]
    fn rows_and_zeros_stand_below_each_other() {
        let data: Vec<u8> = (0..24).collect();
        let part = WeightPart::new(data.into(), 3, 0..4, 0..3);
        let (some, zeros) = (part.some_rows(1..3), part.zeros_below(2).in_memory().expect("zeros"));
        assert_eq!((some.rows(), some.row_bytes(1)), (2, &[12, 13, 14, 15, 16, 17][..]));
        assert_eq!((zeros.rows(), zeros.row_bytes(1)), (2, &[0; 6][..]));
        let narrow = part.some_columns(1..3, 2);
        assert_eq!(narrow.row_bytes(1), [8, 9, 10, 11]);
        let wide = part.some_columns(1..3, 3).in_memory().expect("bytes in memory");
        assert_eq!(wide.row_bytes(1), [8, 9, 10, 11, 0, 0]);
    }

    #[test]
    fn pieces_of_a_vector_are_joined() {
        let data: Vec<u8> = (0..16).collect();
        let vector = WeightPart::new(data.into(), 8, 0..1, 0..8);
        let joined = vector.joined(&[(1..3, 2), (6..7, 2)]).expect("bytes in memory");
        assert_eq!((joined.columns(), joined.row_bytes(0)), (4, &[2, 3, 4, 5, 12, 13, 0, 0][..]));
    }
}
