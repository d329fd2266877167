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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models;
    use crate::synthetic::Preset;

    #[test]
    fn a_mix_has_a_format_for_each_kind_of_block() {
        let preset = Preset::named("3-nano-30b-a3b").expect("a published name");
        let mut spec = models::read(&preset.config(None), None).expect("a known family");
        let report = quantize_mixed(&mut spec);
        let formats =
            |block: &mut Block| block.products_mut().iter().map(|product| product.format()).collect::<Vec<_>>();
        for block in &mut spec.blocks {
            let wanted = match block {
                Block::Attention(_) => Format::Bf16,
                Block::Mamba2(_) => Format::Fp8 { group: 0 },
                _ => Format::Nvfp4,
            };
            assert!(formats(block).iter().all(|format| *format == wanted), "{block:?}");
        }
        assert_eq!((spec.head.format(), report.left), (Format::Nvfp4, 0));
    }
}
