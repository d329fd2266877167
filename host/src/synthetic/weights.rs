//! `RandomWeights`: the tensors of a model without a checkpoint, for benchmarks.
use std::collections::HashSet;
use std::sync::LazyLock;

use bytes::Bytes;
use half::bf16;

use super::values::{Normal, mix, stream};
use crate::checkpoint::Elements;
use crate::device::{Format, Weight, WeightPart};
use crate::models::spec::{ModelSpec, Tensor, Values};
use crate::quantized::quantize;

/// Standard deviation of weights; with the norms near identity, activations stay near 1.
pub const DEVIATION: f64 = 0.02;

/// Elements of the block that matrices are cut from, and of the one that the scales of norms are cut from.
const BLOCK: usize = 1 << 25;
const SCALES: usize = 1 << 17;

/// Cuts start at multiples of this, so that no copy of them is slow for its address.
const ALIGNMENT: usize = 128;

/// Names of the weights that scale by themselves, not by one more than themselves.
pub fn ones(spec: &ModelSpec) -> HashSet<String> {
    let ones = spec.uses().into_iter().filter(|used| used.values == Values::AroundOne);
    ones.map(|used| used.tensor.name.clone()).collect()
}

/// Random tensors of any shape.
pub struct RandomWeights {
    ones: HashSet<String>,
    source: Source,
}

enum Source {
    /// Cut from two blocks: around zero and around one.
    Cut([Bytes; 2]),
    /// Each in memory of its own.
    Own,
}

impl RandomWeights {
    /// For a device that copies its weights: all tensors are cut, at varying places, from one block of 64 MB, so that
    /// neither memory nor time is lost on numbers that nobody looks at.
    pub fn cut(spec: &ModelSpec) -> RandomWeights {
        let [around_zero, around_one] = &*NORMALS;
        let seed = stream(0, "block");
        let blocks = [filled(around_zero, seed, BLOCK), filled(around_one, seed, SCALES)];
        RandomWeights { ones: ones(spec), source: Source::Cut(blocks) }
    }

    /// For a device that reads its weights where they are: each tensor has memory of its own, as a cache would notice.
    pub fn own(spec: &ModelSpec) -> RandomWeights {
        RandomWeights { ones: ones(spec), source: Source::Own }
    }

    /// The parts, stacked; a vector is one row.
    ///
    /// # Panics
    /// If there is no part, or their widths differ: a mistake in a family.
    pub fn parts(&self, tensors: &[Tensor]) -> Weight {
        let part = |tensor: &Tensor| {
            let parts = self.tensor(tensor);
            if !tensor.format.is_packed() {
                return parts;
            }
            let named = parts.into_iter().map(|part| (tensor.name.as_str().into(), part));
            quantize(named.collect(), tensor.format).expect("random weights are in memory, and numbers")
        };
        Weight::new(tensors.iter().flat_map(part).collect())
    }

    fn tensor(&self, tensor: &Tensor) -> Vec<WeightPart> {
        let [rows, columns] = tensor.matrix_shape();
        let is_scale = self.ones.contains(&tensor.name);
        let stream = stream(0, &tensor.name);
        if tensor.format == Format::F32 {
            let mut values = vec![bf16::ZERO; rows * columns];
            NORMALS[usize::from(is_scale)].fill(stream, 0, &mut values);
            let values = Elements(values.into_iter().map(bf16::to_f32).collect::<Vec<f32>>());
            return vec![WeightPart::in_place(Format::F32, Bytes::from_owner(values), columns, 0..rows, 0..columns)];
        }
        match &self.source {
            Source::Cut(blocks) => cut(&blocks[usize::from(is_scale)], stream, rows, columns),
            Source::Own => {
                let data = filled(&NORMALS[usize::from(is_scale)], stream, rows * columns);
                vec![WeightPart::new(data, columns, 0..rows, 0..columns)]
            }
        }
    }
}

/// As many pieces as it takes, each of at most half the block, so that they start at many places.
fn cut(block: &Bytes, stream: u64, rows: usize, columns: usize) -> Vec<WeightPart> {
    let half = block.len() / 4;
    let most = (half / columns).max(1);
    let piece = |(number, first): (usize, usize)| {
        let start = mix(stream ^ number as u64) as usize % (half / ALIGNMENT) * ALIGNMENT;
        WeightPart::new(block.slice(2 * start..), columns, 0..most.min(rows - first), 0..columns)
    };
    (0..rows).step_by(most).enumerate().map(piece).collect()
}

/// Values around zero and around one; to make their tables takes a while.
static NORMALS: LazyLock<[Normal; 2]> = LazyLock::new(|| [0.0, 1.0].map(|mean| Normal::new(mean, DEVIATION)));

fn filled(normal: &Normal, stream: u64, elements: usize) -> Bytes {
    let mut values = vec![bf16::ZERO; elements];
    normal.fill(stream, 0, &mut values);
    Bytes::from_owner(Elements(values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models;
    use crate::synthetic::Preset;

    #[test]
    fn both_sources_give_every_shape_with_values_around_the_right_mean() {
        let spec = models::read(&Preset::tiny()[1].config(Some(1)), None).expect("a known family");
        let scale = spec.final_norm.uses().next().expect("a norm has a weight").tensor.clone();
        for weights in [RandomWeights::cut(&spec), RandomWeights::own(&spec)] {
            let large = weights.parts(&[Tensor::matrix("large", 5000, 4096), Tensor::matrix("small", 3, 4096)]);
            assert_eq!((large.rows(), large.columns()), (5003, 4096));
            let mean = |row: &[bf16]| row.iter().map(|value| value.to_f64()).sum::<f64>() / row.len() as f64;
            assert!([0, 4999, 5002].iter().all(|&row| mean(large.row(row)).abs() < 0.003));
            assert_ne!(large.row(0), large.row(4999));
            assert!((mean(weights.parts(std::slice::from_ref(&scale)).row(0)) - 1.0).abs() < 0.02);
            let exact = weights.parts(&[scale.clone().exact()]);
            assert_eq!(exact.format(), Format::F32);
            assert!((exact.to_f32().iter().sum::<f32>() / exact.columns() as f32 - 1.0).abs() < 0.02);
        }
    }
}
