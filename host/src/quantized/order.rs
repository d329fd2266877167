//! The order of columns: GPTQ's act order sorts them by importance, so that neighbours are of different groups.
use std::ops::Range;
use std::sync::Arc;

use super::{Module, errors, grid};
use crate::device::RowSource;
use crate::error::Result;

/// For each column of a weight the column of the input that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order(pub Arc<[u32]>);

impl RowSource for Order {
    fn fill(&self, _: Range<usize>, target: &mut [u8]) -> Result<()> {
        target.copy_from_slice(bytemuck::cast_slice(&self.0));
        Ok(())
    }
}

/// What the groups of columns are.
pub enum Groups {
    /// `size` neighbours each, in the file's order.
    Neighbours,
    /// `size` columns each that are neighbours in another order.
    Ordered(Order),
    /// Not all of one size.
    Uneven(Arc<[u32]>),
}

impl Groups {
    /// What a `g_idx` of `groups` groups says.
    ///
    /// # Errors
    /// It names a group that is not there, or has not one entry for each column.
    pub fn read(module: &Module, suffix: &str, groups: usize) -> Result<Groups> {
        let Some(tensor) = module.get(suffix) else { return Ok(Groups::Neighbours) };
        let columns = module.columns();
        if tensor.dtype != crate::checkpoint::Dtype::I32 || tensor.shape != [columns] {
            return Err(errors::wrong_shape(module, suffix, tensor, format_args!("I32 [{columns}]")));
        }
        let index: Vec<u32> = (0..columns).map(|column| grid::word(tensor.data(), column)).collect();
        if let Some(column) = index.iter().position(|group| *group as usize >= groups) {
            return Err(errors::wrong_index(module, column, index[column].cast_signed(), groups));
        }
        let size = columns.div_ceil(groups);
        if index.iter().enumerate().all(|(column, group)| *group as usize == column / size) {
            return Ok(Groups::Neighbours);
        }
        let mut order: Vec<u32> = (0..columns as u32).collect();
        order.sort_by_key(|column| index[*column as usize]);
        let even = order.iter().enumerate().all(|(place, column)| index[*column as usize] as usize == place / size);
        Ok(if even { Groups::Ordered(Order(order.into())) } else { Groups::Uneven(index.into()) })
    }
}
