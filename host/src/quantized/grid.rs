//! Scales by row and group, whatever their type and layout on disk.
use std::sync::Arc;

use half::{bf16, f16};

use super::{Module, errors};
use crate::checkpoint::{Dtype, StoredTensor};
use crate::device::e4m3;
use crate::error::Result;

/// How a row and a group find their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// One number for all.
    Whole,
    /// `[n, groups]`.
    Rows { groups: usize },
    /// `[groups, n]`.
    Columns { rows: usize },
    /// `[⌈n/height⌉, groups]`.
    Blocks { height: usize, groups: usize },
}

/// Stored numbers, one for each group of each row.
#[derive(Clone, Debug)]
pub struct Grid {
    tensor: Arc<StoredTensor>,
    name: Arc<str>,
    place: Place,
}

impl Grid {
    fn new(module: &Module, suffix: &str, tensor: &Arc<StoredTensor>, place: Place) -> Result<Grid> {
        if !tensor.is_plain() {
            return Err(errors::wrong_type(module, suffix, tensor, "BF16, F16 or F32"));
        }
        Ok(Grid { tensor: tensor.clone(), name: format!("{}{suffix}", module.name).into(), place })
    }

    /// One number for all rows.
    pub fn whole(module: &Module, suffix: &str) -> Result<Grid> {
        let tensor = module.need(suffix)?;
        match tensor.shape.iter().product::<usize>() {
            1 => Grid::new(module, suffix, tensor, Place::Whole),
            _ => Err(errors::wrong_shape(module, suffix, tensor, "one number")),
        }
    }

    /// `[n, groups]`; returns the groups, of which `[n]` and one number have one.
    pub fn rows(module: &Module, suffix: &str) -> Result<(Grid, usize)> {
        let tensor = module.need(suffix)?;
        let groups = match tensor.shape[..] {
            [] | [1] | [1, 1] => return Ok((Grid::new(module, suffix, tensor, Place::Whole)?, 1)),
            [rows] if rows == module.rows() => 1,
            [rows, groups] if rows == module.rows() && groups > 0 => groups,
            _ => return Err(errors::wrong_shape(module, suffix, tensor, "one number, or one or more for each row")),
        };
        Ok((Grid::new(module, suffix, tensor, Place::Rows { groups })?, groups))
    }

    /// `[⌈n/height⌉, ⌈k/width⌉]`, with or without ones between; none where the shape is another.
    pub fn blocks(module: &Module, suffix: &str, height: usize, width: usize) -> Result<Option<Grid>> {
        let tensor = module.need(suffix)?;
        let (rows, groups) = (module.rows().div_ceil(height), module.columns().div_ceil(width));
        match tensor.shape[..] {
            [a, b] | [a, 1, b, 1] if [a, b] == [rows, groups] => {
                Grid::new(module, suffix, tensor, Place::Blocks { height, groups }).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// `[groups, n]`; returns the groups.
    pub fn columns(module: &Module, suffix: &str) -> Result<(Grid, usize)> {
        let tensor = module.need(suffix)?;
        match tensor.shape[..] {
            [groups, rows] if rows == module.rows() && groups > 0 => {
                Ok((Grid::new(module, suffix, tensor, Place::Columns { rows })?, groups))
            }
            _ => Err(errors::wrong_shape(module, suffix, tensor, "[groups, rows]")),
        }
    }

    /// The number of a group of a row.
    ///
    /// # Errors
    /// It is not finite.
    pub fn get(&self, row: usize, group: usize) -> Result<f32> {
        let index = match self.place {
            Place::Whole => 0,
            Place::Rows { groups } => row * groups + group,
            Place::Columns { rows } => group * rows + row,
            Place::Blocks { height, groups } => row / height * groups + group,
        };
        let value = number(&self.tensor, index);
        if value.is_finite() {
            Ok(value)
        } else {
            Err(errors::not_finite(&self.tensor, &self.name, [row, group], value))
        }
    }

    /// Whether the four lowest bits of each number are zero as f32.
    pub fn frees_bits(&self) -> bool {
        let count = self.tensor.shape.iter().product();
        self.tensor.dtype != Dtype::F32 || (0..count).all(|index| number(&self.tensor, index).to_bits() & 15 == 0)
    }
}

/// Element `index` of a tensor of floats; an e4m3 code's value where it is of those.
pub fn number(tensor: &StoredTensor, index: usize) -> f32 {
    let data = tensor.data();
    let two = || [data[2 * index], data[2 * index + 1]];
    match tensor.dtype {
        Dtype::BF16 => bf16::from_le_bytes(two()).to_f32(),
        Dtype::F16 => f16::from_le_bytes(two()).to_f32(),
        Dtype::F8_E4M3 => e4m3(data[index]),
        _ => f32::from_le_bytes(data[4 * index..][..4].try_into().expect("4 bytes")),
    }
}

/// Word `index` of a tensor of 32-bit words.
pub fn word(data: &[u8], index: usize) -> u32 {
    u32::from_le_bytes(data[4 * index..][..4].try_into().expect("4 bytes"))
}

/// Refuses what is not a tensor of words of that shape.
pub fn words(module: &Module, suffix: &str, tensor: &StoredTensor, shape: [usize; 2]) -> Result<()> {
    if tensor.dtype == Dtype::I32 && tensor.shape == shape {
        return Ok(());
    }
    Err(errors::wrong_shape(module, suffix, tensor, format_args!("I32 {shape:?}")))
}
