//! config.json of Nemotron-H in the spellings in which it is published, and what is refused.
use serde_json::{Value, json};

use crate::error::Result;
use crate::models::read;
use crate::models::spec::{Block, ModelSpec};

/// The sizes of a small hybrid, changed by `changes`; null takes a key away.
fn spec(changes: &Value) -> Result<ModelSpec> {
    let mut config = json!({
        "architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h", "hybrid_override_pattern": "M-*E",
        "num_hidden_layers": 4, "hidden_size": 64, "vocab_size": 96, "max_position_embeddings": 512,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "intermediate_size": 96,
        "mamba_num_heads": 8, "mamba_head_dim": 16, "ssm_state_size": 32, "n_groups": 2, "conv_kernel": 4,
        "layer_norm_epsilon": 1e-5, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
        "moe_shared_expert_intermediate_size": 48, "n_shared_experts": 1, "routed_scaling_factor": 2.5,
    });
    for (key, value) in changes.as_object().expect("changes are an object") {
        config[key] = value.clone();
    }
    read(&config, None)
}

fn refusal(changes: &Value) -> String {
    spec(changes).expect_err("config is refused").to_string()
}

#[test]
fn a_schedule_is_a_pattern_or_a_list_of_words() {
    let expected = spec(&json!({})).unwrap();
    for changes in [
        json!({"hybrid_override_pattern": null, "layers_block_type": ["mamba", "mlp", "attention", "moe"]}),
        json!({"layers_block_type": ["linear_attention", "mlp", "full_attention", "moe"]}),
        json!({"hybrid_override_pattern": "MMMM", "layers_block_type": ["mamba", "mlp", "attention", "moe"]}),
        json!({"num_hidden_layers": null}),
        json!({"time_step_limit": [0.0, 1e30]}),
        json!({"time_step_limit": [0.0, {"__float__": "Infinity"}]}),
        json!({"moe_latent_size": null, "rope_theta": 10_000, "partial_rotary_factor": 1.0, "expand": 2}),
        json!({"head_dim": null, "attention_head_dim": 32}),
        json!({"ssm_state_size": null, "mamba_state_dim": 32, "n_groups": null, "mamba_num_groups": 2}),
        json!({"layer_norm_epsilon": null, "norm_eps": 1e-5}),
        json!({"intermediate_size": [96]}),
    ] {
        assert_eq!(spec(&changes).unwrap(), expected, "{changes}");
    }
}

#[test]
fn what_contradicts_itself_or_is_not_known_is_named() {
    for (changes, words) in [
        (json!({"num_hidden_layers": 5}), "num_hidden_layers: expected 4, as the schedule has, found 5"),
        (json!({"hybrid_override_pattern": "M?"}), "hybrid_override_pattern, layer 1"),
        (json!({"layers_block_type": ["mamba", "conv"]}), "layers_block_type[1]"),
        (json!({"hybrid_override_pattern": null}), "or layers_block_type, found neither"),
        (json!({"intermediate_size": [96, 64]}), "intermediate_size"),
        (json!({"mamba_num_heads": 9}), "mamba_num_heads: expected a multiple of 2 groups"),
        (json!({"mamba_head_dim": 24}), "mamba_head_dim: expected a multiple of 16"),
        (json!({"ssm_state_size": 40}), "ssm_state_size: expected a multiple of 16"),
        (json!({"conv_kernel": 3}), "conv_kernel: expected 4, found 3"),
        (json!({"use_conv_bias": false}), "use_conv_bias"),
        (json!({"time_step_limit": [0.0, 0.1]}), "time_step_limit"),
        (json!({"mamba_hidden_act": "gelu"}), "mamba_hidden_act: expected silu, found gelu"),
        (json!({"mlp_hidden_act": "silu"}), "mlp_hidden_act: expected relu2"),
        (json!({"num_experts_per_tok": 5}), "num_experts_per_tok: expected at most 4"),
        (json!({"n_group": 3}), "n_group"),
        (json!({"moe_intermediate_size": 40}), "moe_intermediate_size: expected a multiple of 16"),
    ] {
        let error = refusal(&changes);
        assert!(error.contains(words), "{changes}: {error}");
    }
}

#[test]
fn layers_of_a_searched_architecture_differ() {
    let blocks = json!([
        {"block_type": "mamba", "ssm_state_size": 48}, {"block_type": "moe", "num_experts_per_tok": 3},
        {"block_type": "moe", "moe_intermediate_size": 64, "moe_latent_size": 16},
    ]);
    let changes = json!({"hybrid_override_pattern": null, "num_hidden_layers": null, "block_configs": blocks,
        "architectures": ["NemotronHPuzzleForCausalLM"], "intermediate_size": 21_504});
    let spec = spec(&changes).unwrap();
    let [Block::Mamba2(mamba), Block::Moe(first), Block::Moe(second)] = &spec.blocks[..] else { panic!("{spec:?}") };
    assert_eq!((mamba.state_size, first.router.top_k, first.intermediate), (48, 3, 32));
    assert_eq!((second.router.top_k, second.intermediate, second.width), (2, 64, 16));
}

#[test]
fn the_text_part_of_a_wrapper_is_read() {
    let mut text = json!({"hybrid_override_pattern": "M", "num_hidden_layers": 1, "hidden_size": 64, "vocab_size": 96,
        "max_position_embeddings": 512, "num_attention_heads": 4, "head_dim": 32, "mamba_num_heads": 8,
        "mamba_head_dim": 16, "ssm_state_size": 32, "n_groups": 2, "layer_norm_epsilon": 1e-5});
    for key in ["text_config", "llm_config"] {
        let spec = read(&json!({"architectures": ["NemotronH_Nano_VL_V2"], key: text}), None).unwrap();
        assert_eq!(spec.embedding.name, "language_model.backbone.embeddings.weight");
        assert_eq!(spec.head.parts[0].name, "language_model.lm_head.weight");
        text["num_key_value_heads"] = 4.into();
    }
    let error = read(&json!({"architectures": ["NemotronH_Nano_VL_V2"]}), None).unwrap_err().to_string();
    assert!(error.contains("llm_config, found neither"), "{error}");
}
