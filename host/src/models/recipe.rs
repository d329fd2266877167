//! Which matrices of a model become codes where the user asks for that.
use gpu_kernels::Format;

use super::spec::{Block, InputChange, ModelSpec, Product};
use crate::quantized::Recipe;

/// What was done to a model's matrices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuantizeReport {
    /// Matrices that became codes.
    pub matrices: usize,
    /// Their bytes before, in bf16, and after.
    pub bytes: [u64; 2],
    /// Matrices of products whose columns the recipe's groups do not divide.
    pub left: usize,
}

/// Gives all products of `spec` that are bf16 the format of `recipe`, but for the head unless `head` says so. Embedding,
/// norms, convolutions and routers are no products, and stay.
pub fn quantize(spec: &mut ModelSpec, recipe: Recipe, head: bool) -> QuantizeReport {
    let mut done = QuantizeReport::default();
    let is_head = spec.head.clone();
    spec.products_mut().filter(|product| head || **product != is_head).for_each(|product| done.give(product, recipe));
    done
}

/// The mix of formats of NVIDIA's NVFP4 checkpoints of hybrids: NVFP4 for experts, feed-forwards and the head, FP8 for Mamba,
/// and bf16 for attention.
pub fn quantize_mixed(spec: &mut ModelSpec) -> QuantizeReport {
    let mut done = QuantizeReport::default();
    for block in &mut spec.blocks {
        let recipe = match block {
            Block::Attention(_) => continue,
            Block::Mamba2(_) => Recipe::Fp8,
            Block::Mlp(_) | Block::Linear(_) | Block::Moe(_) => Recipe::Nvfp4,
        };
        block.products_mut().into_iter().for_each(|product| done.give(product, recipe));
    }
    done.give(&mut spec.head, Recipe::Nvfp4);
    done
}

/// Has the inputs of the products with FP8 weights and a scale for each row become FP8 too, where they have many rows; returns how
/// many products these are. Products of experts take bf16, and the head few rows.
pub fn quantize_inputs(spec: &mut ModelSpec) -> usize {
    let takes = |product: &&mut Product| {
        product.format() == Format::Fp8 { group: 0 }
            && [product.rows(), product.columns()].iter().all(|size| size % 16 == 0)
    };
    let products = spec.blocks.iter_mut().flat_map(|block| match block {
        Block::Moe(moe) => moe.dense_products_mut(),
        block => block.products_mut(),
    });
    products.filter(takes).map(|product| product.input.quantized = true).count()
}

impl QuantizeReport {
    /// Gives a product the format of `recipe`, if it is bf16.
    fn give(&mut self, product: &mut Product, recipe: Recipe) {
        if product.format() != Format::Bf16 || product.input != InputChange::default() {
            return;
        }
        let Some(format) = recipe.format(product.columns()) else {
            self.left += product.parts.len();
            return;
        };
        for part in &mut product.parts {
            self.bytes[0] += part.bytes();
            part.format = format;
            self.bytes[1] += part.bytes();
            self.matrices += 1;
        }
    }
}
