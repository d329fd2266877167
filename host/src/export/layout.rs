//! `FileLayout`: the tensors that a matrix of codes has in a file, and their bytes, made of rows as a device has them.
use crate::checkpoint::Dtype;
use crate::checkpoint::writing::TensorEntry;
use crate::device::{Format, nvfp4_apart};
use crate::quantized::{Recipe, int4_group};
use gpu_kernels::format::nibble_bytes;

/// The tensors of a matrix `[rows, columns]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLayout {
    recipe: Recipe,
    rows: usize,
    columns: usize,
}

/// Bytes of rows for the tensors that are written row by row: the codes, and scales where each row has its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    pub codes: Vec<u8>,
    pub scales: Vec<u8>,
}

impl FileLayout {
    pub fn new(recipe: Recipe, rows: usize, columns: usize) -> FileLayout {
        FileLayout { recipe, rows, columns }
    }

    /// Columns that share a scale in a file of 4-bit integers.
    pub fn group(&self) -> usize {
        int4_group(self.columns).expect("the recipe divides the columns")
    }

    /// The tensors of the module: codes, scales, then what [`FileLayout::rest`] gives.
    pub fn entries(&self, module: &str) -> Vec<TensorEntry> {
        let FileLayout { rows, columns, .. } = *self;
        let entry = |suffix: &str, dtype, shape: &[usize]| TensorEntry {
            name: format!("{module}{suffix}"),
            dtype,
            shape: shape.to_vec(),
        };
        match self.recipe {
            Recipe::Fp8 => vec![
                entry(".weight", Dtype::F8_E4M3, &[rows, columns]),
                entry(".weight_scale", Dtype::F32, &[]),
                entry(".input_scale", Dtype::F32, &[]),
            ],
            Recipe::Nvfp4 => vec![
                entry(".weight", Dtype::U8, &[rows, columns / 2]),
                entry(".weight_scale", Dtype::F8_E4M3, &[rows, columns / 16]),
                entry(".weight_scale_2", Dtype::F32, &[]),
            ],
            Recipe::Int8 => {
                vec![entry(".weight", Dtype::I8, &[rows, columns]), entry(".weight_scale", Dtype::F32, &[rows, 1])]
            }
            Recipe::Int4 => vec![
                entry(".weight_packed", Dtype::I32, &[rows, columns / 8]),
                entry(".weight_scale", Dtype::F32, &[rows, columns / self.group()]),
                entry(".weight_shape", Dtype::I64, &[2]),
            ],
        }
    }

    /// Whether the second tensor has scales of each row, which [`FileLayout::split`] gives.
    pub fn has_row_scales(&self) -> bool {
        self.recipe != Recipe::Fp8
    }

    /// The bytes of the tensors that are not written row by row; `scale` is the one beside the codes of the first row.
    pub fn rest(&self, scale: f32) -> Vec<Vec<u8>> {
        match self.recipe {
            // Nothing was measured that an input could be divided by.
            Recipe::Fp8 => vec![scale.to_le_bytes().to_vec(), 1f32.to_le_bytes().to_vec()],
            Recipe::Nvfp4 => vec![scale.to_le_bytes().to_vec()],
            Recipe::Int8 => Vec::new(),
            Recipe::Int4 => vec![[self.rows, self.columns].map(|size| (size as u64).to_le_bytes()).concat()],
        }
    }

    /// Takes apart rows in `format` as they are copied, whose scales are beside them.
    pub fn split(&self, format: Format, rows: &[u8], scales: &[u8]) -> Rows {
        let by_row = rows.chunks_exact(format.row_bytes(self.columns as u64) as usize);
        match self.recipe {
            Recipe::Fp8 => Rows { codes: self.codes(by_row), scales: Vec::new() },
            Recipe::Int8 => Rows { codes: self.codes(by_row), scales: scales.to_vec() },
            Recipe::Int4 => by_row.fold(Rows::default(), |split, row| self.integers(row, format, split)),
            Recipe::Nvfp4 => {
                let [codes, scales] = nvfp4_apart(self.columns);
                let (codes, scales) = rows.split_at(rows.len() / (codes + scales) * codes);
                Rows { codes: codes.to_vec(), scales: scales.to_vec() }
            }
        }
    }

    /// Codes of a byte, without what fills up their rows.
    fn codes<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
        rows.flat_map(|row| &row[..self.columns]).copied().collect()
    }

    /// Appends a row's codes and scales; a scale that serves several groups of the device is written once.
    fn integers(&self, row: &[u8], format: Format, mut split: Rows) -> Rows {
        let (codes, scales) = row.split_at(nibble_bytes(self.columns as u32) as usize);
        let group = format.group() as usize;
        split.codes.extend(&codes[..self.columns / 2]);
        let scales = &scales.as_chunks::<4>().0[..self.columns.div_ceil(group)];
        split.scales.extend(scales.iter().step_by((self.group() / group).max(1)).flatten());
        split
    }
}
