//! A quantized weight as f32, in the file's order of columns: where a product has no common format.
use std::ops::Range;
use std::sync::Arc;

use super::order::Order;
use super::{Quantized, errors, grid, lines};
use crate::checkpoint::StoredTensor;
use crate::device::{Format, RowSource, nvfp4_apart, nvfp4_rows, unpack};
use crate::error::Result;

/// Widens what a packed format would hold; what changes the input is undone or multiplied in.
pub struct Plain {
    weight: Quantized,
    factor: Option<Vec<f32>>,
}

impl Plain {
    pub fn of(weight: Quantized) -> Plain {
        let factor = weight.factor.as_ref().map(|factor| Factors(factor.clone()).values());
        Plain { weight, factor }
    }

    /// Rows of the packed format.
    fn packed(&self, rows: Range<usize>) -> Result<Vec<u8>> {
        let Quantized { packed: format, shape: [_, columns], codes, .. } = &self.weight;
        let mut packed = vec![0; rows.len() * format.row_bytes(*columns as u64) as usize];
        if *format != Format::Nvfp4 {
            return codes.rows(*format, rows, &mut packed).map(|()| packed);
        }
        let mut apart = vec![0; rows.len() * nvfp4_apart(*columns).iter().sum::<usize>()];
        codes.rows(*format, rows, &mut apart)?;
        nvfp4_rows(*columns, &apart, &mut packed);
        Ok(packed)
    }
}

/// What the inputs of a weight are multiplied by.
pub struct Factors(pub Arc<StoredTensor>);

impl Factors {
    fn values(&self) -> Vec<f32> {
        (0..self.0.shape.iter().product()).map(|column| grid::number(&self.0, column)).collect()
    }
}

impl RowSource for Factors {
    fn fill(&self, _: Range<usize>, target: &mut [u8]) -> Result<()> {
        let values = self.values();
        if let Some(column) = values.iter().position(|value| !value.is_finite()) {
            return Err(errors::not_finite(&self.0, "pre_quant_scale", column, values[column]));
        }
        target.copy_from_slice(bytemuck::cast_slice(&values));
        Ok(())
    }
}

impl RowSource for Plain {
    fn fill(&self, rows: Range<usize>, target: &mut [u8]) -> Result<()> {
        let Quantized { packed: format, order, shape: [_, columns], codes, .. } = &self.weight;
        let per_row = format.scales(*columns as u64) as usize;
        let (row_bytes, mut values) = (format.row_bytes(*columns as u64) as usize, vec![0.0; *columns]);
        for (rows, target) in lines::bands(rows, lines::TOGETHER, 4 * columns, target) {
            let (packed, mut scales) = (self.packed(rows.clone())?, vec![0.0; rows.len() * per_row]);
            codes.scales(*format, rows, &mut scales)?;
            let packed = packed.chunks_exact(row_bytes);
            for (row, (packed, target)) in packed.zip(target.chunks_exact_mut(4 * columns)).enumerate() {
                unpack(*format, packed, &scales[row * per_row..][..per_row], &mut values);
                let targets = target.as_chunks_mut::<4>().0;
                for (place, value) in values.iter().enumerate() {
                    let column = order.as_ref().map_or(place, |Order(order)| order[place] as usize);
                    let factor = self.factor.as_ref().map_or(1.0, |factor| factor[column]);
                    targets[column] = (value * factor).to_le_bytes();
                }
            }
        }
        Ok(())
    }
}
