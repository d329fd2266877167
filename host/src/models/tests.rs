//! Spellings of config.json that must be read alike, and values that must be refused.
use serde_json::{Value, json};

use super::read;
use super::spec::{Attention, Block, ModelSpec, Norm, Product, RopeScaling};
use crate::error::Result;

fn nemotron() -> Value {
    json!({
        "architectures": ["NemotronForCausalLM"], "hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 32, "intermediate_size": 128, "vocab_size": 33,
        "max_position_embeddings": 512, "norm_eps": 1e-5, "hidden_act": "relu2", "eos_token_id": 3
    })
}

fn llama() -> Value {
    let mut config = nemotron();
    config["architectures"] = json!(["LlamaForCausalLM"]);
    config["hidden_act"] = json!("silu");
    config["rms_norm_eps"] = json!(1e-6);
    config
}

/// `base` with `changes` in it; null takes a key away.
fn with(mut base: Value, changes: Value) -> Value {
    let fields = base.as_object_mut().unwrap();
    for (key, value) in changes.as_object().unwrap() {
        if value.is_null() {
            fields.remove(key)
        } else {
            fields.insert(key.clone(), value.clone())
        };
    }
    base
}

fn spec(config: &Value) -> Result<ModelSpec> {
    read(config, None)
}

fn attention(spec: &ModelSpec) -> &Attention {
    match &spec.blocks[0] {
        Block::Attention(attention) => attention,
        _ => panic!("attention comes first"),
    }
}

/// The error as it is printed; it must have details and a hint.
fn refusal(config: &Value) -> String {
    let error = spec(config).expect_err("config is refused").to_string();
    assert!(!error.contains("Details: \n") && !error.ends_with("Hint: "), "{error}");
    error
}

#[test]
fn all_spellings_of_a_head_size_are_read() {
    let expected = spec(&nemotron()).unwrap();
    let exporter = with(nemotron(), json!({"head_dim": null, "kv_channels": 32}));
    assert_eq!(spec(&exporter).unwrap(), expected);
    let even = with(nemotron(), json!({"head_dim": null, "num_attention_heads": 3, "num_key_value_heads": 1}));
    assert_eq!(attention(&spec(&even).unwrap()).head_dim, 32);
}

#[test]
fn missing_kv_heads_are_as_many_as_heads() {
    let spec = spec(&with(nemotron(), json!({"num_key_value_heads": null}))).unwrap();
    assert_eq!((attention(&spec).kv_heads, attention(&spec).qkv.rows()), (4, 3 * 4 * 32));
}

#[test]
fn all_spellings_of_the_rotary_share_are_read() {
    for (changes, dims) in [
        (json!({}), 16),
        (json!({"partial_rotary_factor": 0.25}), 8),
        (json!({"rope_percent": 0.25}), 8),
        (json!({"rope_percentage": 0.25}), 8),
        (json!({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.25}}), 8),
        (json!({"rope_percent": 0.25, "rope_percentage": 0.5, "partial_rotary_factor": 1.0}), 32),
        (json!({"rope_percent": 0.25, "rope_percentage": 0.5}), 8),
        (json!({"partial_rotary_factor": 1}), 32),
    ] {
        assert_eq!(attention(&spec(&with(nemotron(), changes.clone())).unwrap()).rope.dims, dims, "{changes}");
    }
    assert_eq!(attention(&spec(&llama()).unwrap()).rope.dims, 32);
}

#[test]
fn flat_and_nested_rope_keys_are_read_alike() {
    let scaling = json!({
        "factor": 8, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192
    });
    let flat = |key: &str| {
        let section = with(scaling.clone(), json!({ key: "llama3" }));
        with(llama(), json!({"rope_theta": 500_000.0, "rope_scaling": section}))
    };
    let nested = with(scaling.clone(), json!({"rope_type": "llama3", "rope_theta": 500_000}));
    let nested = spec(&with(llama(), json!({"rope_parameters": nested}))).unwrap();
    let expected = RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original_context: 8192 };
    assert_eq!((attention(&nested).rope.theta, &attention(&nested).rope.scaling), (500_000.0, &expected));
    assert_eq!(spec(&flat("rope_type")).unwrap(), nested);
    assert_eq!(spec(&flat("type")).unwrap(), nested);
}

#[test]
fn linear_scaling_takes_its_factor_from_either_place() {
    for changes in [
        json!({"rope_scaling": {"type": "linear", "factor": 2.0}}),
        json!({"rope_scaling": {"type": "linear"}, "factor": 2.0}),
        json!({"rope_parameters": {"rope_type": "linear", "factor": 2.0}}),
    ] {
        let spec = spec(&with(nemotron(), changes.clone())).unwrap();
        assert_eq!(attention(&spec).rope.scaling, RopeScaling::Linear { factor: 2.0 }, "{changes}");
    }
}

#[test]
fn all_spellings_of_eps_are_read() {
    for key in ["norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"] {
        let spec = spec(&with(with(nemotron(), json!({"norm_eps": null})), json!({ key: 2e-5 }))).unwrap();
        assert!(matches!(spec.final_norm, Norm::LayerNorm1p { eps: 2e-5, .. }), "{key}");
    }
    assert!(matches!(spec(&llama()).unwrap().final_norm, Norm::Rms { eps: 1e-6, .. }));
}

#[test]
fn a_tied_head_is_the_embedding() {
    let tied = spec(&with(llama(), json!({"tie_word_embeddings": true}))).unwrap();
    assert_eq!(tied.head, Product::of(tied.embedding.clone()));
    assert_eq!(spec(&llama()).unwrap().head.parts[0].name, "lm_head.weight");
}

#[test]
fn biases_are_asked_for_where_the_config_has_them() {
    let names = |config: Value| -> Vec<String> {
        let spec = spec(&config).unwrap();
        let biases = spec.tensors().into_iter().filter(|t| t.name.contains("layers.0") && t.name.contains("proj.bias"));
        biases.map(|t| format!("{} {:?}", t.name.trim_start_matches("model.layers.0."), t.shape)).collect()
    };
    assert!(names(llama()).is_empty());
    let attention = ["q_proj.bias [128]", "k_proj.bias [64]", "v_proj.bias [64]", "o_proj.bias [96]"];
    let attention = attention.map(|name| format!("self_attn.{name}"));
    let mlp = ["gate_proj.bias [128]", "up_proj.bias [128]", "down_proj.bias [96]"].map(|name| format!("mlp.{name}"));
    assert_eq!(names(with(llama(), json!({"attention_bias": true}))), attention);
    assert_eq!(names(with(llama(), json!({"mlp_bias": true}))), mlp);
    let all = names(with(nemotron(), json!({"attention_bias": true, "mlp_bias": true})));
    assert_eq!(all, [&attention[..], &mlp[1..]].concat());
}

#[test]
fn stop_ids_of_both_files_are_united() {
    for (config, generation, expected) in [
        (json!(3), Some(json!({"eos_token_id": [7, 3]})), vec![3, 7]),
        (json!([9, 2]), None, vec![2, 9]),
        (json!([]), Some(json!({"eos_token_id": 5})), vec![5]),
        (Value::Null, Some(json!({})), vec![]),
    ] {
        let config = with(nemotron(), json!({ "eos_token_id": config }));
        assert_eq!(read(&config, generation.as_ref()).unwrap().eos, expected);
    }
}

#[test]
fn the_mistral_window_is_null_a_number_or_the_default() {
    let mut config = with(llama(), json!({"architectures": ["MistralForCausalLM"]}));
    assert_eq!(attention(&spec(&config).unwrap()).window, Some(4096));
    config["sliding_window"] = json!(128);
    assert_eq!(attention(&spec(&config).unwrap()).window, Some(128));
    config["sliding_window"] = Value::Null;
    assert_eq!(attention(&spec(&config).unwrap()).window, None);
    config["architectures"] = json!(["LlamaForCausalLM"]);
    config["sliding_window"] = json!(128);
    assert_eq!(attention(&spec(&config).unwrap()).window, None);
}

#[test]
fn the_model_type_decides_where_both_are_known() {
    let both = with(llama(), json!({"model_type": "mistral"}));
    assert_eq!(spec(&both).unwrap().family, "mistral");
    assert_eq!(spec(&with(llama(), json!({"model_type": "something"}))).unwrap().family, "llama");
}

#[test]
fn without_architectures_the_model_type_decides() {
    let config = with(llama(), json!({"architectures": null, "model_type": "llama"}));
    assert_eq!(spec(&config).unwrap().family, "llama");
    let other = with(llama(), json!({"architectures": ["GemmaForCausalLM"], "model_type": "llama"}));
    let error = refusal(&other);
    assert!(error.contains("Unknown architecture") && error.contains("GemmaForCausalLM"), "{error}");
    for known in
        ["NemotronForCausalLM", "LlamaForCausalLM", "MistralForCausalLM", "DeciLMForCausalLM", "NemotronHForCausalLM"]
    {
        assert!(error.contains(known), "{error}");
    }
    assert!(refusal(&json!({})).contains("found nothing"));
}

#[test]
fn unsupported_configs_say_what_was_found() {
    let scaling = |kind: &str| json!({"rope_scaling": {"rope_type": kind, "factor": 4.0}});
    for (changes, message, details) in [
        (
            json!({"num_attention_heads": 0}),
            "Unexpected value in config",
            "num_attention_heads: expected a whole number",
        ),
        (json!({"num_key_value_heads": 0}), "Unexpected value in config", "num_key_value_heads"),
        (json!({"num_key_value_heads": 3}), "Heads are not divisible by key-value heads", "num_attention_heads 4"),
        (json!({"num_key_value_heads": 8}), "Heads are not divisible by key-value heads", "num_key_value_heads 8"),
        (json!({"head_dim": 48}), "Unsupported head size", "found 48"),
        (json!({"hidden_size": 100}), "Unsupported width", "hidden_size: expected a multiple of 8, found 100"),
        (json!({"intermediate_size": 12}), "Unsupported width", "intermediate_size"),
        (json!({"hidden_size": null}), "Key missing in config", "hidden_size"),
        (json!({"norm_eps": "small"}), "Unexpected value in config", "found \"small\""),
        (json!({"vocab_size": 1.5}), "Unexpected value in config", "vocab_size"),
        (json!({"vocab_size": u64::MAX}), "Unexpected value in config", "vocab_size"),
        (json!({"num_hidden_layers": 1_000_000}), "Model is too large", "num_hidden_layers"),
        (json!({"hidden_size": 131_072}), "Model is too large", "hidden_size"),
        (json!({"num_attention_heads": 16_384}), "Model is too large", "num_attention_heads"),
        (json!({"hidden_act": "gelu"}), "Unsupported activation", "expected relu2, found gelu"),
        (json!({"mlp_bias": 1}), "Unexpected value in config", "expected true or false, found 1"),
        (scaling("yarn"), "Unsupported rope type", "expected default, linear or llama3, found yarn"),
        (scaling("dynamic"), "Unsupported rope type", "found dynamic"),
        (scaling("llama3"), "Key missing in config", "rope_scaling: low_freq_factor"),
        (json!({"rope_theta": -1}), "Unexpected value in config", "rope_theta"),
        (json!({"partial_rotary_factor": 0.1}), "Unexpected value in config", "32 dims of a head"),
        (json!({"partial_rotary_factor": 1.5}), "Unexpected value in config", "found 1.5"),
        (json!({"rope_theta": "Infinity"}), "Unexpected value in config", "found \"Infinity\""),
        (json!({"eos_token_id": -1}), "Unexpected value in config", "eos_token_id: expected a token id, found -1"),
    ] {
        let error = refusal(&with(nemotron(), changes.clone()));
        assert!(error.starts_with(&format!("[ERROR] Model: {message}\n")), "{changes}: {error}");
        assert!(error.contains(details), "{changes}: {error}");
    }
    let scaled = json!({"rope_scaling": {"type": "linear", "factor": 2.0}, "partial_rotary_factor": 0.5});
    assert!(refusal(&with(llama(), scaled)).contains("rotate whole heads, found 0.5"));
}

/// A DeciLM of one layer: `attention` and `ffn` of its block config.
fn deci(attention: Value, ffn: Value) -> Value {
    let config = with(llama(), json!({"num_key_value_heads": null, "intermediate_size": null, "num_hidden_layers": 1}));
    let blocks = json!([{"attention": attention, "ffn": ffn}]);
    with(config, json!({"architectures": ["DeciLMForCausalLM"], "block_configs": blocks}))
}

/// Block configs as published files have them, with all keys that are null or false there.
fn published(attention: Value, ffn: Value) -> Value {
    let nothing = json!({"no_op": false, "replace_with_linear": false, "sparsify": null});
    let sinks = json!({
        "num_sink_tokens": null, "unshifted_sink": false, "use_prefill_window_in_sink_attention": false,
        "window_length": null, "n_heads_in_group": null
    });
    let object = |base: &Value, more: &Value, own: Value| {
        let mut object = base.as_object().unwrap().clone();
        object.extend(more.as_object().unwrap().clone());
        object.extend(own.as_object().unwrap().clone());
        Value::Object(object)
    };
    deci(object(&nothing, &sinks, attention), object(&nothing, &json!({"ffn_mult": null}), ffn))
}

#[test]
fn deci_layers_have_their_own_parts() {
    let kinds = |attention, ffn| -> Vec<String> {
        let spec = spec(&published(attention, ffn)).unwrap();
        assert_eq!(spec.family, "deci");
        let kind = |block: &Block| match block {
            Block::Attention(attention) => format!("attention {}", attention.kv_heads),
            Block::Mlp(mlp) => format!("mlp {}", mlp.intermediate),
            Block::Linear(linear) => format!("linear {}", linear.product.parts[0].name),
            Block::Mamba2(_) | Block::Moe(_) => panic!("no kind of this family"),
        };
        spec.blocks.iter().map(kind).collect()
    };
    assert_eq!(kinds(json!({"n_heads_in_group": 4}), json!({"ffn_mult": 5.0})), ["attention 1", "mlp 512"]);
    assert_eq!(
        kinds(json!({"n_heads_in_group": 1}), json!({"intermediate_size": 40, "gated": true, "moe": null})),
        ["attention 4", "mlp 40"]
    );
    assert_eq!(
        kinds(json!({"replace_with_linear": true}), json!({"replace_with_linear": true})),
        ["linear model.layers.0.self_attn.linear_attn.weight", "linear model.layers.0.mlp.linear_mlp.weight"]
    );
    assert!(kinds(json!({"no_op": true}), json!({"no_op": true})).is_empty());
}

#[test]
fn deci_is_known_by_its_model_types_too() {
    for model_type in ["nemotron-nas", "deci"] {
        let config = published(json!({"no_op": true}), json!({"ffn_mult": 1.0}));
        let config = with(config, json!({"architectures": null, "model_type": model_type}));
        assert_eq!(spec(&config).unwrap().family, "deci");
    }
}

#[test]
fn what_a_deci_layer_cannot_be_is_said_with_its_place() {
    let attention = |changes: Value| published(with(json!({"n_heads_in_group": 2}), changes), json!({"ffn_mult": 1.0}));
    let ffn = |changes: Value| published(json!({"n_heads_in_group": 2}), with(json!({"ffn_mult": 1.0}), changes));
    let layers = |count: usize| with(attention(json!({})), json!({ "num_hidden_layers": count }));
    for (config, message, details) in [
        (attention(json!({"window_length": 512})), "Unsupported part of a layer", "[0].attention: window_length"),
        (attention(json!({"num_sink_tokens": 4})), "Unsupported part of a layer", "found 4"),
        (attention(json!({"n_heads_in_group": 3})), "Unexpected value in config", "a divisor of 4 heads, found 3"),
        (attention(json!({"n_heads_in_group": null})), "Key missing in config", "[0].attention: n_heads_in_group"),
        (attention(json!({"no_op": 1})), "Unexpected value in config", "[0].attention: no_op: expected true or false"),
        (ffn(json!({"moe": {"num_experts": 8}})), "Unsupported part of a layer", "[0].ffn: moe"),
        (ffn(json!({"gated": false})), "Unexpected value in config", "[0].ffn: gated: expected true"),
        (ffn(json!({"hidden_act": "gelu"})), "Unsupported activation", "found gelu"),
        (ffn(json!({"ffn_mult": 1e9})), "Unexpected value in config", "[0].ffn: ffn_mult"),
        (ffn(json!({"ffn_mult": null})), "Key missing in config", "[0].ffn: ffn_mult"),
        (ffn(json!({"intermediate_size": 12})), "Unsupported width", "intermediate_size"),
        (layers(2), "Unexpected value in config", "block_configs: expected a list of 2 layers, found 1 layers"),
        (with(layers(1), json!({"block_configs": null})), "Unexpected value in config", "found 0 layers"),
        (with(layers(1), json!({"block_configs": [3]})), "Unexpected value in config", "attention: expected an object"),
    ] {
        let error = refusal(&config);
        assert!(error.starts_with(&format!("[ERROR] Model: {message}\n")), "{error}");
        assert!(error.contains(details), "{details}: {error}");
    }
}

#[test]
fn the_largest_sizes_do_not_overflow() {
    let config = with(
        nemotron(),
        json!({
            "hidden_size": 65_536, "num_attention_heads": 4096, "num_key_value_heads": 4096, "head_dim": 256,
            "num_hidden_layers": 64, "intermediate_size": super::MAX_SIZE, "vocab_size": super::MAX_SIZE
        }),
    );
    let spec = spec(&config).unwrap();
    let elements: usize = spec.tensors().iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum();
    assert!(elements.checked_mul(4096).is_some());
}
