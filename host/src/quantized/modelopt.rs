//! Quantized tensors named `….weight`: ModelOpt's, and those of compressed-tensors that are not packed.
use std::sync::Arc;

use super::bytes::ByteLayout;
use super::grid::Grid;
use super::nibbles::{NibbleLayout, Nibbles};
use super::zeros::Zeros;
use super::{Module, Quantized, WEIGHT, compressed, errors, nvfp4, unsupported};
use crate::checkpoint::{Dtype, StoredTensor};
use crate::error::Result;

/// The weight, by the type of its elements.
///
/// # Errors
/// A tensor is missing, or of a wrong shape or type.
pub fn find(module: &Module, weight: &Arc<StoredTensor>) -> Result<Quantized> {
    let (rows, columns) = (module.rows(), module.columns());
    match weight.dtype {
        Dtype::F8_E4M3 | Dtype::I8 if weight.shape != module.shape => {
            Err(errors::wrong_shape(module, WEIGHT, weight, format_args!("[{rows}, {columns}]")))
        }
        Dtype::F8_E4M3 => {
            module.refuse_mx()?;
            compressed::floats(module, weight)
        }
        Dtype::I8 => compressed::integers(module, weight, WEIGHT, ByteLayout::Rows),
        Dtype::U8 if module.get(".weight_scale_2").is_some() => {
            refuse_plain_scales(module)?;
            nvfp4::find(module, WEIGHT, ".weight_scale_2", false)
        }
        Dtype::U8 => {
            module.refuse_mx()?;
            row_pairs(module, weight)
        }
        _ => Err(errors::wrong_type(module, WEIGHT, weight, "BF16, F16, F32, F8_E4M3, I8 or U8")),
    }
}

/// Refuses integers whose scales, plain numbers, have a scale of their own.
fn refuse_plain_scales(module: &Module) -> Result<()> {
    match module.get(".weight_scale").filter(|scale| scale.is_plain()) {
        Some(scale) => {
            let (name, dtype) = (module.name, scale.dtype);
            Err(unsupported(format_args!("{name}.weight_scale: {dtype} beside weight_scale_2, as W4A8_AWQ has it")))
        }
        None => Ok(()),
    }
}

/// `[n/2, k]`: two rows to a byte, the even one in the lower nibble, as two's complement.
fn row_pairs(module: &Module, weight: &Arc<StoredTensor>) -> Result<Quantized> {
    let (rows, columns) = (module.rows(), module.columns());
    let expected = [rows / 2, columns];
    let scale = module.need(".weight_scale")?;
    if scale.dtype == Dtype::F8_E4M3 && weight.shape == [rows, columns / 2] {
        return Err(errors::incomplete(module, ".weight_scale_2"));
    }
    if weight.shape != expected || !rows.is_multiple_of(2) {
        return Err(errors::wrong_shape(module, WEIGHT, weight, format_args!("U8 {expected:?}")));
    }
    let (scales, groups) = Grid::rows(module, ".weight_scale")?;
    let (codes, shape, group) = (weight.clone(), module.shape, columns.div_ceil(groups));
    let (layout, zeros) = (NibbleLayout::RowPairs, Zeros::Middle);
    Nibbles { codes, layout, scales, zeros, order: None, shape, group }.found(module, groups)
}
