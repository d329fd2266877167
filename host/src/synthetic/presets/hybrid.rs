//! The sizes of published hybrids (Nemotron-H), a row each.
use serde_json::{Value, json};

/// Sizes of a hybrid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hybrid {
    /// The layers' mixers: M for Mamba-2, * for attention, - for an MLP, E for experts.
    pub pattern: &'static str,
    pub hidden: usize,
    /// Heads, key and value heads, width of a head.
    pub attention: [usize; 3],
    /// Width of the MLPs.
    pub intermediate: usize,
    /// Heads, channels of a head, width of a state.
    pub mamba: [usize; 3],
    pub experts: Option<Experts>,
    pub context: usize,
}

/// Sizes of layers with experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Experts {
    pub count: usize,
    pub top_k: usize,
    /// Width of an expert, and of the one that every token goes to.
    pub widths: [usize; 2],
    /// Width in which the experts work, where that is not the model's.
    pub latent: Option<usize>,
    /// Tenths of what the experts' weights are multiplied by.
    pub scale_tenths: u32,
}

const A3B: Experts = Experts { count: 128, top_k: 6, widths: [1856, 3712], latent: None, scale_tenths: 25 };
const A12B: Experts = Experts { count: 512, top_k: 22, widths: [2688, 5376], latent: Some(1024), scale_tenths: 50 };

/// Names and sizes: https://huggingface.co/nvidia, the config.json of each.
pub const HYBRIDS: [(&str, Hybrid); 6] = [
    (
        "nemotron-h-8b",
        Hybrid {
            pattern: "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-",
            hidden: 4096,
            attention: [32, 8, 128],
            intermediate: 21_504,
            mamba: [128, 64, 128],
            experts: None,
            context: 8192,
        },
    ),
    (
        "nano-9b-v2",
        Hybrid {
            pattern: "M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-",
            hidden: 4480,
            attention: [40, 8, 128],
            intermediate: 15_680,
            mamba: [128, 80, 128],
            experts: None,
            context: 131_072,
        },
    ),
    (
        "nano-12b-v2",
        Hybrid {
            pattern: "M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M-",
            hidden: 5120,
            attention: [40, 8, 128],
            intermediate: 20_480,
            mamba: [128, 80, 128],
            experts: None,
            context: 131_072,
        },
    ),
    (
        "3-nano-4b",
        Hybrid {
            pattern: "M-M-M-MM-M-M*-M-M*-M-M-M*-M-M-MM*-MMM-M-M-",
            hidden: 3136,
            attention: [40, 8, 128],
            intermediate: 12_544,
            mamba: [96, 80, 128],
            experts: None,
            context: 262_144,
        },
    ),
    (
        "3-nano-30b-a3b",
        Hybrid {
            pattern: "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
            hidden: 2688,
            attention: [32, 2, 128],
            intermediate: 1856,
            mamba: [64, 64, 128],
            experts: Some(A3B),
            context: 262_144,
        },
    ),
    (
        "3-super-120b-a12b",
        Hybrid {
            pattern: "MEMEMEM*EMEMEMEM*EMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*EMEMEMEM*EMEMEMEME",
            hidden: 4096,
            attention: [32, 2, 128],
            intermediate: 2688,
            mamba: [128, 64, 128],
            experts: Some(A12B),
            context: 262_144,
        },
    ),
];

impl Hybrid {
    /// config.json, with the first `layers` layers where a number is given; the pattern is repeated as far as it takes.
    pub fn config(&self, layers: Option<usize>) -> Value {
        let pattern: String = self.pattern.chars().cycle().take(layers.unwrap_or(self.pattern.len())).collect();
        let [heads, kv_heads, head_dim] = self.attention;
        let [mamba_heads, mamba_dim, state] = self.mamba;
        let mut config = json!({
            "architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h", "num_hidden_layers": pattern.len(),
            "hybrid_override_pattern": pattern, "hidden_size": self.hidden, "vocab_size": 131_072,
            "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head_dim,
            "intermediate_size": self.intermediate, "max_position_embeddings": self.context,
            "mamba_num_heads": mamba_heads, "mamba_head_dim": mamba_dim, "ssm_state_size": state, "n_groups": 8,
            "conv_kernel": 4, "use_conv_bias": true, "use_bias": false, "mamba_proj_bias": false,
            "attention_bias": false, "mlp_bias": false, "mlp_hidden_act": "relu2", "mamba_hidden_act": "silu",
            "layer_norm_epsilon": 1e-5, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
            "bos_token_id": 1, "eos_token_id": [2, 11], "pad_token_id": 0, "initializer_range": 0.02,
        });
        if let Some(experts) = &self.experts {
            let fields = experts.config();
            config.as_object_mut().expect("a JSON object").extend(fields.as_object().expect("a JSON object").clone());
        }
        config
    }
}

impl Experts {
    fn config(&self) -> Value {
        json!({
            "n_routed_experts": self.count, "num_experts_per_tok": self.top_k, "moe_intermediate_size": self.widths[0],
            "moe_shared_expert_intermediate_size": self.widths[1], "n_shared_experts": 1,
            "moe_latent_size": self.latent, "n_group": 1, "topk_group": 1, "norm_topk_prob": true,
            "routed_scaling_factor": f64::from(self.scale_tenths) / 10.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models;

    /// Tensors and parameters of the published checkpoints, without drafting heads (mtp.*).
    #[test]
    fn published_counts_are_met() {
        for (name, tensors, parameters) in [
            ("nemotron-h-8b", 311, 8_100_852_736),
            ("nano-9b-v2", 341, 8_888_227_328),
            ("nano-12b-v2", 369, 12_310_001_152),
            ("3-nano-4b", 263, 3_973_556_832),
            ("3-nano-30b-a3b", 6243, 31_577_940_288),
        ] {
            let (_, hybrid) = HYBRIDS.iter().find(|(known, _)| *known == name).expect("a preset");
            let spec = models::read(&hybrid.config(None), None).expect("a known family");
            let uses = spec.uses();
            let counted: u64 = uses.iter().map(|used| used.tensor.elements()).sum();
            assert_eq!((uses.len(), counted), (tensors, parameters), "{name}");
        }
    }
}
