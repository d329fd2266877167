//! `FileLayout`: the tensors that a matrix of codes has in a file, and their bytes, made of rows as a device has them.
use crate::checkpoint::Dtype;
use crate::checkpoint::writing::TensorEntry;
use crate::device::{Format, e2m1_codes};
use crate::quantized::{Recipe, int4_group};

/// Bytes of codes of a block of 4-bit codes.
const BLOCK_CODES: usize = 128;

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

    /// Takes apart rows in `format`, whose scales are beside them.
    pub fn split(&self, format: Format, rows: &[u8], scales: &[u8]) -> Rows {
        let row_bytes = format.row_bytes(self.columns as u64) as usize;
        let mut split = Rows::default();
        for row in rows.chunks_exact(row_bytes) {
            match self.recipe {
                Recipe::Fp8 | Recipe::Int8 => split.codes.extend(&row[..self.columns]),
                Recipe::Nvfp4 => {
                    let begin = split.codes.len();
                    self.blocks(row, format, &mut split, self.columns / 16);
                    for word in split.codes[begin..].as_chunks_mut::<4>().0 {
                        *word = e2m1_codes(u32::from_le_bytes(*word)).to_le_bytes();
                    }
                }
                Recipe::Int4 => self.integers(row, format, &mut split),
            }
        }
        if self.recipe == Recipe::Int8 {
            split.scales.extend(scales);
        }
        split
    }

    /// Blocks of scales and codes, of which `scale_bytes` bytes of a row's scales are in use.
    fn blocks(&self, row: &[u8], format: Format, split: &mut Rows, scale_bytes: usize) {
        let (codes, scales) = (split.codes.len() + self.columns / 2, split.scales.len() + scale_bytes);
        let front = format.block_scales() as usize;
        for block in row.chunks(front + BLOCK_CODES) {
            split.scales.extend(&block[..front]);
            split.codes.extend(&block[front..]);
        }
        split.codes.truncate(codes);
        split.scales.truncate(scales);
    }

    /// As [`FileLayout::blocks`]; a scale that serves several groups of the device is written once.
    fn integers(&self, row: &[u8], format: Format, split: &mut Rows) {
        let entry = format.group() as usize;
        let mut one = Rows::default();
        self.blocks(row, format, &mut one, self.columns.div_ceil(entry) * 4);
        split.codes.extend(one.codes);
        one.scales.chunks_exact(4).step_by((self.group() / entry).max(1)).for_each(|scale| split.scales.extend(scale));
    }
}
