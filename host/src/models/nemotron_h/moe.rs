//! The layers with experts of Nemotron-H.
use gpu_kernels::moe_route::{MAX_EXPERTS, MAX_GROUPS, MAX_TOP_K};

use super::Family;
use crate::error::Result;
use crate::models::config::Config;
use crate::models::spec::{InputChange, Moe, Product, Router, SharedExpert, Tensor};

/// What the kernels' weights of experts are divisible by.
const WIDTH_STEP: usize = 16;

impl Family<'_> {
    /// The configuration of layer `layer`: what `block_configs` says of it goes before what the file says of all.
    pub(super) fn layer_config(&self, layer: usize) -> Config<'_> {
        let own = self.config.value("block_configs").and_then(|blocks| blocks.get(layer));
        own.map_or(*self.config, |own| self.config.overridden_by(own))
    }

    /// Layer `layer`, experts.
    ///
    /// # Errors
    /// A size is missing, or sizes do not go together.
    pub(super) fn moe(&self, layer: usize) -> Result<Moe> {
        let config = self.layer_config(layer);
        let hidden = self.sizes.hidden;
        let latent = config.optional_size(&["moe_latent_size"])?;
        let (width, intermediate) = (latent.unwrap_or(hidden), config.size("moe_intermediate_size")?);
        divisible(&config, "moe_intermediate_size", intermediate)?;
        divisible(&config, if latent.is_some() { "moe_latent_size" } else { "hidden_size" }, width)?;
        let router = self.router(&config, layer)?;
        let matrix = |name: &str, rows, columns| Product::of(Tensor::matrix(self.mixer(layer, name), rows, columns));
        let stacked = |name: &str, rows, columns| Product {
            parts: (0..router.experts)
                .map(|expert| {
                    Tensor::matrix(self.mixer(layer, &format!("experts.{expert}.{name}.weight")), rows, columns)
                })
                .collect(),
            biases: Vec::new(),
            input: InputChange::default(),
        };
        Ok(Moe {
            norm: self.layer_norm(layer),
            up: stacked("up_proj", intermediate, width),
            down: stacked("down_proj", width, intermediate),
            latent: latent.map(|latent| {
                [matrix("fc1_latent_proj.weight", latent, hidden), matrix("fc2_latent_proj.weight", hidden, latent)]
            }),
            shared: self.shared_expert(&config, layer)?,
            router,
            intermediate,
            width,
        })
    }

    fn router(&self, config: &Config, layer: usize) -> Result<Router> {
        let (experts, top_k) = (config.size("n_routed_experts")?, config.size("num_experts_per_tok")?);
        let groups = config.optional_size(&["n_group"])?.unwrap_or(1);
        let top_groups = config.optional_size(&["topk_group"])?.unwrap_or(1);
        let at_most = |key: &str, size: usize, most: usize| {
            if size <= most { Ok(()) } else { Err(config.unexpected(key, format_args!("at most {most}"), size)) }
        };
        at_most("n_routed_experts", experts, MAX_EXPERTS as usize)?;
        at_most("n_group", groups, MAX_GROUPS as usize)?;
        at_most("topk_group", top_groups, groups)?;
        if !experts.is_multiple_of(groups) || (groups > 1 && experts / groups < 2) {
            return Err(config.unexpected("n_group", format_args!("groups of 2 or more of {experts} experts"), groups));
        }
        at_most("num_experts_per_tok", top_k, (MAX_TOP_K as usize).min(experts / groups * top_groups))?;
        let gate = |name: &str| self.mixer(layer, &format!("gate.{name}"));
        Ok(Router {
            weight: Tensor::matrix(gate("weight"), experts, self.sizes.hidden).exact(),
            bias: Tensor::vector(gate("e_score_correction_bias"), experts).exact(),
            experts,
            top_k,
            groups,
            top_groups,
            normalize: config.value("norm_topk_prob").is_none() || config.flag("norm_topk_prob")?,
            scale: config.optional_positive(&["routed_scaling_factor"])?.unwrap_or(1.0) as f32,
        })
    }

    /// The expert that every token goes to; none where there are none.
    fn shared_expert(&self, config: &Config, layer: usize) -> Result<Option<SharedExpert>> {
        let none = config.value("n_shared_experts").and_then(serde_json::Value::as_u64) == Some(0);
        if none {
            return Ok(None);
        }
        let count = config.optional_size(&["n_shared_experts"])?.unwrap_or(1);
        let width = config.size("moe_shared_expert_intermediate_size")? * count;
        divisible(config, "moe_shared_expert_intermediate_size", width)?;
        let hidden = self.sizes.hidden;
        let matrix = |name: &str, rows, columns| {
            Product::of(Tensor::matrix(self.mixer(layer, &format!("shared_experts.{name}.weight")), rows, columns))
        };
        Ok(Some(SharedExpert { up: matrix("up_proj", width, hidden), down: matrix("down_proj", hidden, width), width }))
    }
}

fn divisible(config: &Config, key: &str, size: usize) -> Result<()> {
    if size.is_multiple_of(WIDTH_STEP) {
        return Ok(());
    }
    Err(config.unexpected(key, format_args!("a multiple of {WIDTH_STEP}"), size))
}
