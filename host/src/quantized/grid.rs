//! Scales by row and group, whatever their type and layout on disk.
use std::ops::Range;
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

    /// The numbers of `groups` groups of each of some rows, `[rows, groups]`.
    ///
    /// # Errors
    /// One is not finite.
    pub fn band(&self, rows: Range<usize>, groups: usize) -> Result<Vec<f32>> {
        let mut band = vec![0.0; rows.len() * groups];
        match self.place {
            Place::Whole => band.fill(number(&self.tensor, 0)),
            Place::Rows { groups } => numbers(&self.tensor, rows.start * groups, &mut band),
            Place::Columns { rows: n } => {
                let mut line = vec![0.0; rows.len()];
                for group in 0..groups {
                    numbers(&self.tensor, group * n + rows.start, &mut line);
                    band[group..].iter_mut().step_by(groups).zip(&line).for_each(|(place, value)| *place = *value);
                }
            }
            Place::Blocks { height, groups } => {
                for (row, band) in rows.clone().zip(band.chunks_exact_mut(groups)) {
                    numbers(&self.tensor, row / height * groups, band);
                }
            }
        }
        if band.iter().fold(true, |finite, value| finite & value.is_finite()) {
            return Ok(band);
        }
        let at = band.iter().position(|value| !value.is_finite()).unwrap_or_default();
        let place = [rows.start + at / groups, at % groups];
        Err(errors::not_finite(&self.tensor, &self.name, place, band[at]))
    }

    /// Whether the four lowest bits of each number are zero as f32.
    pub fn frees_bits(&self) -> bool {
        let words = self.tensor.data().as_chunks::<4>().0;
        let bits = || words.iter().fold(0, |bits, word| bits | u32::from_le_bytes(*word));
        self.tensor.dtype != Dtype::F32 || bits() & 15 == 0
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

/// Elements from `first` on of a tensor of BF16, F16 or F32.
fn numbers(tensor: &StoredTensor, first: usize, target: &mut [f32]) {
    let bytes = &tensor.data()[first * tensor.dtype.bitsize() / 8..];
    let (twos, fours) = (bytes.as_chunks::<2>().0, bytes.as_chunks::<4>().0);
    match tensor.dtype {
        Dtype::BF16 => target.iter_mut().zip(twos).for_each(|(it, two)| *it = bf16::from_le_bytes(*two).to_f32()),
        Dtype::F16 => target.iter_mut().zip(twos).for_each(|(it, two)| *it = f16_value(*two)),
        _ => target.iter_mut().zip(fours).for_each(|(it, four)| *it = f32::from_le_bytes(*four)),
    }
}

/// As `f16::to_f32`, without a branch: exponent and fraction as those of an f32, whose exponent has a bias that is larger by 112.
fn f16_value(bytes: [u8; 2]) -> f32 {
    let bits = u32::from(u16::from_le_bytes(bytes));
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    let endless = if bits & 0x7c00 == 0x7c00 { 255 << 23 } else { 0 };
    f32::from_bits(magnitude.to_bits() | endless | (bits & 0x8000) << 16)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f16_is_its_value() {
        for bits in 0..=u16::MAX {
            let (found, expected) = (f16_value(bits.to_le_bytes()), f16::from_bits(bits).to_f32());
            assert!(found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(), "{bits:#x}: {found}");
        }
    }
}
