//! AWQ, the layout of its gemm kernels: words along the rows, their nibbles in an order of their own.
use super::nibbles::{Layout, Nibbles, Zeros};
use super::{Module, Quantized, errors, gptq};
use crate::error::Result;

use super::grid::Grid;

/// The nibble, low first, that has row i of a word's eight.
const NIBBLE: [u32; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

/// Row `row` of a word's eight.
pub fn nibble(word: u32, row: usize) -> u8 {
    (word >> (4 * NIBBLE[row])) as u8 & 15
}

/// The weight whose `qweight` is `[k, n/8]`.
///
/// # Errors
/// A tensor is missing, or of a wrong shape or type.
pub fn find(module: &Module) -> Result<Quantized> {
    let (rows, columns) = (module.rows(), module.columns());
    let codes = module.need(".qweight")?.clone();
    let (scales, groups) = Grid::columns(module, ".scales")?;
    let zeros = module.need(".qzeros")?;
    gptq::words(module, ".qzeros", zeros, [groups, rows / 8])?;
    if !columns.is_multiple_of(groups) {
        return Err(errors::wrong_group(module, groups, "groups of a multiple of 32 columns are supported"));
    }
    let zeros = Zeros::Awq(zeros.clone());
    let (shape, group) = (module.shape, columns / groups);
    Nibbles { codes, layout: Layout::Awq, scales, zeros, order: None, shape, group }.found(module, groups)
}
