//! Which matrices of a model become codes where the user asks for that.
use gpu_kernels::Format;

use super::spec::{InputChange, ModelSpec, Product};
use crate::quantized::Recipe;

/// What was done to a model's matrices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantized {
    /// Matrices that became codes.
    pub matrices: usize,
    /// Their bytes before, in bf16, and after.
    pub bytes: [u64; 2],
    /// Matrices of products whose columns the recipe's groups do not divide.
    pub left: usize,
}

/// Gives all products of `spec` that are bf16 the format of `recipe`, but for the head unless `head` says so. Embedding,
/// norms, convolutions and routers are no products, and stay.
pub fn quantize(spec: &mut ModelSpec, recipe: Recipe, head: bool) -> Quantized {
    let mut done = Quantized::default();
    let is_head = spec.head.clone();
    let plain = |product: &&mut Product| product.format() == Format::Bf16 && product.input == InputChange::default();
    for product in spec.products_mut().filter(plain).filter(|product| head || **product != is_head) {
        let Some(format) = recipe.format(product.columns()) else {
            done.left += product.parts.len();
            continue;
        };
        for part in &mut product.parts {
            done.bytes[0] += part.bytes();
            part.format = format;
            done.bytes[1] += part.bytes();
            done.matrices += 1;
        }
    }
    done
}
