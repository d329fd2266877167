//! compressed-tensors where codes are packed: `weight_packed` of 4 or 8 bits, or of NVFP4.
use std::sync::Arc;

use super::bytes::{self, Bytes};
use super::grid::{self, Grid};
use super::nibbles::{NibbleLayout, Nibbles};
use super::zeros::Zeros;
use super::{Codes, Module, Quantized, WEIGHT, errors, nvfp4, unsupported};
use crate::checkpoint::{Dtype, StoredTensor};
use crate::device::Format;
use crate::error::Result;

/// The weight whose module has a `weight_packed`.
///
/// # Errors
/// A tensor is missing, or of a wrong shape or type.
pub fn find_packed(module: &Module) -> Result<Quantized> {
    let (rows, columns) = (module.rows(), module.columns());
    let codes = module.need(".weight_packed")?;
    if codes.dtype == Dtype::U8 {
        module.refuse_mx()?;
        return nvfp4::find(module, ".weight_packed", ".weight_global_scale", true);
    }
    check_shape(module)?;
    if module.get(".weight_g_idx").is_some() {
        return Err(unsupported(format_args!("{}.weight_g_idx: columns that are ordered by activations", module.name)));
    }
    let four = codes.dtype == Dtype::I32 && codes.shape == [rows, columns.div_ceil(8)];
    let eight = codes.dtype == Dtype::I32 && codes.shape == [rows, columns.div_ceil(4)];
    match (four, eight) {
        (true, _) if columns.is_multiple_of(8) => four_bits(module, codes),
        (_, true) if columns.is_multiple_of(4) => eight_bits(module, codes),
        _ => {
            let expected = format_args!("I32 [{rows}, {}] or [{rows}, {}]", columns / 8, columns / 4);
            Err(errors::wrong_shape(module, ".weight_packed", codes, expected))
        }
    }
}

/// Refuses a `weight_shape` that is not the weight's.
fn check_shape(module: &Module) -> Result<()> {
    let Some(tensor) = module.get(".weight_shape") else { return Ok(()) };
    let stored: Vec<u64> = match tensor.dtype {
        Dtype::I64 => tensor.data().as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect(),
        _ => tensor.data().as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes).into()).collect(),
    };
    if stored == module.shape.map(|size| size as u64) {
        return Ok(());
    }
    Err(errors::wrong_shape(module, ".weight_shape", tensor, format_args!("that shape, not {stored:?}")))
}

/// `[n, k/8]` words, and zero points packed along n where there are any.
fn four_bits(module: &Module, codes: &Arc<StoredTensor>) -> Result<Quantized> {
    let (rows, columns) = (module.rows(), module.columns());
    let (scales, groups) = Grid::rows(module, ".weight_scale")?;
    let zeros = match module.get(".weight_zero_point") {
        None => Zeros::Middle,
        Some(tensor) => {
            grid::words(module, ".weight_zero_point", tensor, [rows.div_ceil(8), groups])?;
            Zeros::Rows(tensor.clone())
        }
    };
    let (codes, shape, group) = (codes.clone(), module.shape, columns.div_ceil(groups));
    Nibbles { codes, layout: NibbleLayout::Rows, scales, zeros, order: None, shape, group }.found(module, groups)
}

fn eight_bits(module: &Module, codes: &Arc<StoredTensor>) -> Result<Quantized> {
    if module.get(".weight_zero_point").is_some() {
        return Err(unsupported(format_args!("{}.weight_zero_point: zero points of 8 bits", module.name)));
    }
    integers(module, codes, ".weight_packed", bytes::ByteLayout::Biased)
}

/// A weight of 8-bit integers, `[n, k]` bytes; `suffix` names the tensor.
///
/// # Errors
/// The scales are missing, or of a wrong shape or type.
pub fn integers(
    module: &Module,
    codes: &Arc<StoredTensor>,
    suffix: &str,
    layout: bytes::ByteLayout,
) -> Result<Quantized> {
    refuse_zeros(module)?;
    let (scales, groups) = Grid::rows(module, ".weight_scale")?;
    let format = Format::Int8 { group: group(module, groups)? };
    let name = format!("{}{suffix}", module.name).into();
    let shape = module.shape;
    let codes = Bytes { name, tensor: codes.clone(), layout, scales, shape, floats: false, format };
    let codes: Arc<dyn Codes> = Arc::new(codes);
    Ok(Quantized { format, order: None, factor: None, shape, packed: format, free_bits: false, codes })
}

/// Refuses zero points of 8 bits that are not zero; symmetric files of older versions have zeros.
fn refuse_zeros(module: &Module) -> Result<()> {
    let suffix = ".weight_zero_point";
    match module.get(suffix) {
        Some(zeros) if zeros.data().iter().any(|byte| *byte != 0) => {
            Err(unsupported(format_args!("{}{suffix}: zero points of 8 bits", module.name)))
        }
        _ => Ok(()),
    }
}

/// Columns that share a scale, as a format has it: 0 for all.
///
/// # Errors
/// They are no multiple of 32.
pub fn group(module: &Module, groups: usize) -> Result<u32> {
    let (columns, size) = (module.columns(), module.columns() / groups);
    match () {
        () if groups == 1 => Ok(0),
        () if columns == size * groups && size.is_multiple_of(32) => Ok(size as u32),
        () => {
            Err(errors::wrong_group(module, groups, format_args!("groups of a multiple of 32 columns are supported")))
        }
    }
}

/// The weight `….weight` of e4m3 codes.
///
/// # Errors
/// As [`integers`].
pub fn floats(module: &Module, codes: &Arc<StoredTensor>) -> Result<Quantized> {
    const BLOCK: usize = 128;
    let inverse = module.get(".weight_scale_inv").is_some();
    let suffix = if inverse { ".weight_scale_inv" } else { ".weight_scale" };
    let (scales, group) = match Grid::blocks(module, suffix, BLOCK, BLOCK)? {
        // A single block is a single number, whatever the size of blocks.
        Some(scales) if module.columns() > BLOCK => (scales, BLOCK as u32),
        Some(scales) => (scales, 0),
        None => {
            let (scales, groups) = Grid::rows(module, suffix)?;
            (scales, group(module, groups)?)
        }
    };
    let (shape, format) = (module.shape, Format::Fp8 { group });
    let name = format!("{}{WEIGHT}", module.name).into();
    let layout = bytes::ByteLayout::Rows;
    let factor = module.factor()?;
    let codes = Bytes { name, tensor: codes.clone(), layout, scales, shape, floats: true, format };
    let codes: Arc<dyn Codes> = Arc::new(codes);
    Ok(Quantized { format, order: None, factor, shape, packed: format, free_bits: false, codes })
}
