//! NVFP4: 4-bit floats with e4m3 scales of 16 and one f32 scale.
use std::ops::Range;
use std::sync::Arc;

use super::grid::Grid;
use super::{Codes, Module, Quantized, errors, range};
use crate::checkpoint::{Dtype, StoredTensor};
use crate::device::{Format, nvfp4_apart};
use crate::error::Result;

/// Columns that share an e4m3 scale.
const GROUP: usize = 16;

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
    fn rows(&self, _: Format, rows: Range<usize>, target: &mut [u8]) -> Result<()> {
        let [code_bytes, scale_bytes] = nvfp4_apart(self.columns);
        let (codes, scales) = target.split_at_mut(rows.len() * code_bytes);
        range(&self.codes).read((rows.start * code_bytes) as u64, codes)?;
        range(&self.scales).read((rows.start * scale_bytes) as u64, scales)?;
        if scales.iter().fold(false, |nan, scale| nan | (scale & 0x7f == 0x7f)) {
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
