//! AWQ, the layout of its gemm kernels: words along the rows, their nibbles in an order of their own.
use super::nibbles::{NibbleLayout, Nibbles};
use super::zeros::Zeros;
use super::{Module, Quantized, errors};
use crate::error::Result;

use super::grid::{self, Grid};

/// The weight whose `qweight` is `[k, n/8]`.
///
/// # Errors
/// A tensor is missing, or of a wrong shape or type.
pub fn find(module: &Module) -> Result<Quantized> {
    let (rows, columns) = (module.rows(), module.columns());
    let codes = module.need(".qweight")?.clone();
    let (scales, groups) = Grid::columns(module, ".scales")?;
    let zeros = module.need(".qzeros")?;
    grid::words(module, ".qzeros", zeros, [groups, rows / 8])?;
    if !columns.is_multiple_of(groups) {
        return Err(errors::wrong_group(module, groups, "groups of a multiple of 32 columns are supported"));
    }
    let zeros = Zeros::Awq(zeros.clone());
    let (shape, group) = (module.shape, columns / groups);
    Nibbles { codes, layout: NibbleLayout::Awq, scales, zeros, order: None, shape, group }.found(module, groups)
}
