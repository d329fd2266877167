//! NVFP4: 4-bit floats with e4m3 scales of 16 and one f32 scale.
use std::ops::Range;
use std::sync::Arc;

use super::grid::Grid;
use super::{Codes, Module, Quantized, errors};
use crate::checkpoint::{Dtype, StoredTensor};
use crate::device::{Format, e2m1_words};
use crate::error::Result;

/// Columns that share an e4m3 scale.
const GROUP: usize = 16;
/// Columns, bytes of codes and bytes of scales of a block.
const BLOCK: usize = 256;
const CODES: usize = BLOCK / 2;
const SCALES: usize = BLOCK / GROUP;

struct Nvfp4 {
    name: Arc<str>,
    /// U8 `[n, k/2]`.
    codes: Arc<StoredTensor>,
    /// F8_E4M3 `[n, k/16]`.
    scales: Arc<StoredTensor>,
    /// What all is multiplied by, or divided.
    global: Grid,
    divides: bool,
    columns: usize,
}

/// The weight whose codes are `codes`; `global` is multiplied by, or with `divides` divided by.
///
/// # Errors
/// A tensor is missing, or of a wrong shape or type.
pub fn find(module: &Module, codes: &str, global: &str, divides: bool) -> Result<Quantized> {
    let [rows, columns] = module.shape;
    let (stored, scales) = (module.need(codes)?, module.need(".weight_scale")?);
    if !columns.is_multiple_of(GROUP) {
        return Err(errors::wrong_group(module, columns / GROUP, "NVFP4 has groups of 16"));
    }
    if stored.dtype != Dtype::U8 || stored.shape != [rows, columns / 2] {
        return Err(errors::wrong_shape(module, codes, stored, format_args!("U8 [{rows}, {}]", columns / 2)));
    }
    if scales.dtype != Dtype::F8_E4M3 || scales.shape != [rows, columns / GROUP] {
        let expected = format_args!("F8_E4M3 [{rows}, {}]", columns / GROUP);
        return Err(errors::wrong_shape(module, ".weight_scale", scales, expected));
    }
    let name = format!("{}.weight_scale", module.name).into();
    let (global, codes) = (Grid::whole(module, global)?, stored.clone());
    let codes = Nvfp4 { name, codes, scales: scales.clone(), global, divides, columns };
    let factor = module.factor()?;
    let (format, shape) = (Format::Nvfp4, module.shape);
    Ok(Quantized { format, order: None, factor, shape, packed: format, free_bits: false, codes: Arc::new(codes) })
}

impl Codes for Nvfp4 {
    fn rows(&self, format: Format, rows: Range<usize>, target: &mut [u8]) -> Result<()> {
        let (code_bytes, scale_bytes) = (self.columns / 2, self.columns / GROUP);
        let row_bytes = format.row_bytes(self.columns as u64) as usize;
        let (codes, scales) = (&self.codes.data()[rows.start * code_bytes..], self.scales.data());
        let scales = &scales[rows.start * scale_bytes..][..rows.len() * scale_bytes];
        let mut nan = false;
        let stored = codes.chunks_exact(code_bytes).zip(scales.chunks_exact(scale_bytes));
        let targets = target.chunks_exact_mut(row_bytes);
        for (target, (codes, scales)) in targets.zip(stored) {
            nan |= scales.iter().fold(false, |nan, scale| nan | (scale & 0x7f == 0x7f));
            row(codes, scales, target);
        }
        if nan {
            return Err(errors::not_finite(&self.scales, &self.name, rows, f32::NAN));
        }
        Ok(())
    }

    fn scales(&self, _: Format, rows: Range<usize>, target: &mut [f32]) -> Result<()> {
        for ((row, global), target) in rows.clone().zip(self.global.band(rows, 1)?).zip(target) {
            *target = if self.divides { 1.0 / global } else { global };
            if !target.is_finite() {
                return Err(errors::not_finite(&self.scales, &self.name, row, *target));
            }
        }
        Ok(())
    }
}

/// A row's blocks, scales first.
fn row(codes: &[u8], scales: &[u8], target: &mut [u8]) {
    let blocks = codes.chunks(CODES).zip(scales.chunks(SCALES));
    for (target, (codes, scales)) in target.chunks_mut(SCALES + CODES).zip(blocks) {
        let (front, back) = target.split_at_mut(SCALES);
        fill_up(front, scales, <[u8]>::copy_from_slice);
        fill_up(back, codes, |words, codes| e2m1_words(codes, words));
    }
}

/// Makes of what there is as many bytes, and fills up with zeros.
fn fill_up(target: &mut [u8], source: &[u8], make: impl Fn(&mut [u8], &[u8])) {
    let (target, rest) = target.split_at_mut(source.len());
    make(target, source);
    rest.fill(0);
}
