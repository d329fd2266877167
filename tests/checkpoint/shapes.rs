//! The published dense shapes, from their config values alone: tensor count and parameter total.
use nemotron::models;
use serde_json::{Value, json};

/// One published shape: its config, and what its checkpoint holds.
struct Published {
    name: &'static str,
    config: Value,
    tensors: usize,
    parameters: u64,
}

fn nemotron(sizes: [usize; 6]) -> Value {
    let [hidden, layers, heads, kv_heads, head_dim, intermediate] = sizes;
    json!({
        "architectures": ["NemotronForCausalLM"], "hidden_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head_dim,
        "intermediate_size": intermediate, "vocab_size": 256_000, "max_position_embeddings": 4096, "norm_eps": 1e-5,
        "hidden_act": "relu2", "rope_theta": 10_000, "partial_rotary_factor": 0.5
    })
}

fn llama(sizes: [usize; 5]) -> Value {
    let [hidden, layers, heads, head_dim, intermediate] = sizes;
    json!({
        "architectures": ["LlamaForCausalLM"], "hidden_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": 8, "head_dim": head_dim,
        "intermediate_size": intermediate, "vocab_size": 128_256, "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-5, "rope_theta": 500_000.0, "eos_token_id": [128_001, 128_008, 128_009],
        "rope_scaling": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192
        }
    })
}

fn mistral() -> Value {
    json!({
        "architectures": ["MistralForCausalLM"], "hidden_size": 4096, "num_hidden_layers": 40,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 11_520,
        "vocab_size": 131_072, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 1e6,
        "sliding_window": null
    })
}

/// The exporter of NeMo writes the head size as `kv_channels`.
fn exported(mut config: Value) -> Value {
    let head_dim = config.as_object_mut().unwrap().remove("head_dim").unwrap();
    config["kv_channels"] = head_dim;
    config
}

fn published() -> Vec<Published> {
    let row = |name, config, tensors, parameters| Published { name, config, tensors, parameters };
    let nemo_8b = [4096, 32, 48, 8, 128, 16_384];
    vec![
        row("Minitron-4B-Base", nemotron([3072, 32, 24, 8, 128, 9216]), 324, 4_190_509_056),
        row("Minitron-8B-Base", nemotron(nemo_8b), 324, 8_271_699_968),
        row("Minitron-8B-Base, exported", exported(nemotron(nemo_8b)), 324, 8_271_699_968),
        row("Nemotron-3-8B", nemotron([4096, 32, 32, 32, 128, 16_384]), 324, 8_540_135_424),
        row("Nemotron-4-15B", nemotron([6144, 32, 48, 8, 128, 24_576]), 324, 15_628_775_424),
        row("Nemotron-4-340B", nemotron([18_432, 96, 96, 8, 192, 73_728]), 964, 341_029_195_776),
        row("Mistral-NeMo-Minitron-8B", mistral(), 363, 8_414_105_600),
        row("Llama-3.1-Nemotron-Nano-8B-v1", llama([4096, 32, 32, 128, 14_336]), 291, 8_030_261_248),
        row("Llama-3.1-Nemotron-Nano-4B-v1.1", llama([3072, 32, 32, 128, 9216]), 291, 4_512_746_496),
        row("Llama-3.1-Nemotron-70B-Instruct", llama([8192, 80, 64, 128, 28_672]), 723, 70_553_706_496),
    ]
}

#[test]
fn counts_equal_those_of_the_published_checkpoints() {
    for row in published() {
        let spec = models::read(&row.config, None).unwrap();
        let parameters: u64 = spec.tensors().iter().map(|t| t.shape.iter().product::<usize>() as u64).sum();
        assert_eq!((spec.tensors().len(), parameters), (row.tensors, row.parameters), "{}", row.name);
    }
}
