//! GPTQ: words along the columns, zero points stored less one, and perhaps an order of columns.
use std::sync::Arc;

use serde_json::Value;

use super::bytes::{self, Bytes};
use super::grid::{self, Grid, word};
use super::nibbles::{NibbleLayout, Nibbles, Uneven};
use super::order::Groups;
use super::zeros::Zeros;
use super::{Codes, Module, Quantized, WEIGHT, awq, errors, unsupported};
use crate::checkpoint::{Checkpoint, Dtype, StoredTensor};
use crate::device::Format;
use crate::error::Result;

/// The weight whose module has a `qweight`: of GPTQ, or of AWQ, which stores it the other way round.
///
/// # Errors
/// A tensor is missing, or of a wrong shape or type, or its codes have another number of bits than 4 and 8.
pub fn find(module: &Module) -> Result<Quantized> {
    let (rows, columns) = (module.rows(), module.columns());
    let codes = module.need(".qweight")?;
    refuse_other_awq(module, codes)?;
    if codes.dtype == Dtype::I32 && rows.is_multiple_of(8) && columns.is_multiple_of(8) {
        match codes.shape[..] {
            [a, b] if [a, b] == [columns / 8, rows] => return four_bits(module, codes),
            [a, b] if [a, b] == [columns / 4, rows] => return eight_bits(module, codes),
            [a, b] if [a, b] == [columns, rows / 8] => return awq::find(module),
            [a, b] if b == rows && [2, 3].iter().any(|bits| a == columns * bits / 32) => {
                let bits = a * 32 / columns;
                return Err(unsupported(format_args!("{}.qweight: GPTQ of {bits} bits", module.name)));
            }
            _ => {}
        }
    }
    let expected =
        format_args!("I32 [{}, {rows}], [{}, {rows}] or [{columns}, {}]", columns / 8, columns / 4, rows / 8);
    Err(errors::wrong_shape(module, ".qweight", codes, expected))
}

/// Refuses the layouts of AWQ's gemv kernels: `[n, k/8]` with scales by row, which of a square matrix looks like that of gemm, and
/// four rows to a line of 16-bit words.
fn refuse_other_awq(module: &Module, codes: &StoredTensor) -> Result<()> {
    let (rows, columns) = (module.rows(), module.columns());
    let scales = module.get(".scales").and_then(|scales| scales.shape.first());
    let by_row = codes.shape == [rows, columns / 8] && scales == Some(&rows);
    let by_fours = codes.dtype == Dtype::I16 && codes.shape == [rows / 4, columns];
    if by_row || by_fours {
        let kernels = if by_row { "gemv" } else { "gemv_fast" };
        return Err(unsupported(format_args!("{}.qweight: AWQ in the layout of its {kernels} kernels", module.name)));
    }
    Ok(())
}

fn four_bits(module: &Module, codes: &Arc<StoredTensor>) -> Result<Quantized> {
    let (scales, groups) = Grid::columns(module, ".scales")?;
    let zeros = module.need(".qzeros")?;
    grid::words(module, ".qzeros", zeros, [groups, module.rows() / 8])?;
    let zeros = Zeros::Columns { tensor: zeros.clone(), plus: stored_less(module.checkpoint) };
    let (shape, group) = (module.shape, group(module, groups)?);
    let weight = |order| {
        let (codes, scales, zeros) = (codes.clone(), scales, zeros);
        Nibbles { codes, layout: NibbleLayout::Words, scales, zeros, order, shape, group }
    };
    match Groups::read(module, ".g_idx", groups)? {
        Groups::Neighbours => weight(None).found(module, groups),
        Groups::Ordered(order) => weight(Some(order)).found(module, groups),
        Groups::Uneven(index) => Ok(Uneven::new(weight(None), index).found(module)),
    }
}

fn eight_bits(module: &Module, codes: &Arc<StoredTensor>) -> Result<Quantized> {
    let (scales, groups) = Grid::columns(module, ".scales")?;
    let (zeros, rows) = (module.need(".qzeros")?, module.rows());
    grid::words(module, ".qzeros", zeros, [groups, rows / 4])?;
    let plus = stored_less(module.checkpoint);
    let middle = u32::from_le_bytes([128 - plus; 4]);
    if (0..groups * rows / 4).any(|index| word(zeros.data(), index) != middle) {
        return Err(unsupported(format_args!(
            "{}.qzeros: GPTQ of 8 bits with zero points other than 128",
            module.name
        )));
    }
    let size = group(module, groups)?;
    if groups > 1 && !size.is_multiple_of(32) {
        return Err(errors::wrong_group(module, groups, "groups of a multiple of 32 columns are supported"));
    }
    let order = match Groups::read(module, ".g_idx", groups)? {
        Groups::Neighbours => None,
        Groups::Ordered(order) => Some(order),
        Groups::Uneven(_) => return Err(errors::wrong_group(module, groups, "they are not of one size")),
    };
    let format = Format::Int8 { group: if groups == 1 { 0 } else { size as u32 } };
    let (shape, name) = (module.shape, format!("{}{WEIGHT}", module.name).into());
    let layout = bytes::ByteLayout::Words(order.clone());
    let codes = Bytes { name, tensor: codes.clone(), layout, scales, shape, floats: false, format };
    let codes: Arc<dyn Codes> = Arc::new(codes);
    Ok(Quantized { format, order, factor: None, shape, packed: format, free_bits: false, codes })
}

fn group(module: &Module, groups: usize) -> Result<usize> {
    if module.columns().is_multiple_of(groups) {
        return Ok(module.columns() / groups);
    }
    Err(errors::wrong_group(module, groups, "groups of a multiple of 32 columns are supported"))
}

/// What stored zero points lack: one, but for checkpoints that say that they are of GPTQ's second format.
fn stored_less(checkpoint: &Checkpoint) -> u8 {
    // transformers calls it `format` today, and the older name counts before it.
    let of = |section: &Value| {
        let word = ["checkpoint_format", "format"].iter().find_map(|key| section[*key].as_str());
        word.map(str::to_lowercase)
    };
    let inner = of(&checkpoint.config()["quantization_config"]);
    let beside = || of(checkpoint.quantization_file("quantize_config.json")?);
    u8::from(inner.or_else(beside).as_deref() != Some("gptq_v2"))
}
