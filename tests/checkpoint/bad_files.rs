//! Bad input: each is refused with its message, and with details that name the file and what is wrong in it.
use nemotron::checkpoint::Checkpoint;
use serde_json::{Value, json};

use crate::fixture::{Fixture, INDEX, SHARDS, WEIGHTS, check_refusal, config, serialize, values, with_header};

const QUERY: &str = "model.layers.0.self_attn.q_proj.weight";

#[test]
fn no_such_directory() {
    let fixture = Fixture::new();
    let missing = fixture.file("missing");
    let missing = missing.to_str().unwrap();
    let error = Checkpoint::open_with_cache(missing, None).unwrap_err();
    check_refusal(&error, "Model directory does not exist", &[missing]);
    let error = Checkpoint::open_with_cache("nvidia/missing", Some(fixture.path())).unwrap_err();
    check_refusal(&error, "Model directory does not exist", &["nvidia/missing", "models--nvidia--missing"]);
    let file = fixture.file(WEIGHTS);
    let error = Checkpoint::open_with_cache(file.to_str().unwrap(), None).unwrap_err();
    check_refusal(&error, "Model is not a directory", &[WEIGHTS]);
}

#[test]
fn config_missing_or_no_json_object() {
    let fixture = Fixture::new();
    fixture.remove("config.json");
    fixture.refused("config.json not found", &[fixture.path().to_str().unwrap()]);
    for bytes in [&b"{\"hidden_size\": "[..], b"", b"\xff\xfe", b"{\"a\": \"\xff\"}"] {
        fixture.write("config.json", bytes);
        fixture.refused("config.json is not valid JSON", &["config.json", "line 1"]);
    }
    fixture.write("config.json", "[1]");
    fixture.refused("config.json is not a JSON object", &["config.json", "found an array"]);
}

#[test]
fn generation_config_must_be_json_where_it_is() {
    let fixture = Fixture::new();
    fixture.write("generation_config.json", "eos: 3");
    fixture.refused("generation_config.json is not valid JSON", &["generation_config.json"]);
    fixture.write("generation_config.json", json!({"eos_token_id": "</s>"}).to_string());
    fixture.refused("Unexpected value in config", &["generation_config.json: eos_token_id", "</s>"]);
}

#[test]
fn a_quantization_beside_the_config_is_noticed() {
    let fixture = Fixture::new();
    let of = |quantization: serde_json::Value| json!({"producer": {"name": "modelopt"}, "quantization": quantization});
    let write = |content: serde_json::Value| fixture.write("hf_quant_config.json", content.to_string());
    write(of(json!({"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"})));
    let message = "Configuration and weights contradict each other";
    fixture.refused(message, &["hf_quant_config.json", "floats of 8 bits", "plain numbers"]);
    for free in [of(json!({"quant_algo": "MIXED_PRECISION", "quantized_layers": {}})), json!({})] {
        write(free);
        let notes = fixture.reading().unwrap().notes;
        assert!(notes[0].contains("hf_quant_config.json is ignored"), "{notes:?}");
    }
    fixture.write("hf_quant_config.json", "FP8");
    fixture.refused("hf_quant_config.json is not valid JSON", &["hf_quant_config.json"]);
    write(of(json!({"quant_algo": null, "kv_cache_quant_algo": "FP8"})));
    assert!(fixture.load().is_ok(), "a quantized cache leaves the weights as they are");
}

#[test]
fn configs_that_no_model_can_have() {
    for (changes, message, details) in [
        (vec![("num_attention_heads", json!(0))], "Unexpected value in config", "num_attention_heads"),
        (
            vec![("num_key_value_heads", json!(3))],
            "Heads are not divisible by key-value heads",
            "num_key_value_heads 3",
        ),
        (vec![("architectures", json!(["GPT2LMHeadModel"]))], "Unknown architecture", "GPT2LMHeadModel"),
        (
            vec![("quantization_config", json!({"quant_method": "modelopt", "quant_algo": "FP8"}))],
            "Configuration and weights contradict each other",
            "config.json: quantization_config",
        ),
    ] {
        let fixture = Fixture::new();
        fixture.edit_config(&changes);
        fixture.refused(message, &["config.json", details]);
    }
}

#[test]
fn no_weights_says_what_is_there_instead() {
    let fixture = Fixture::new();
    fixture.remove(WEIGHTS);
    fixture.refused("Model weights not found", &[fixture.path().to_str().unwrap(), "found nothing of the kind"]);
    for name in ["pytorch_model.bin", "model-q4_k_m.gguf", "model-00001-of-00002.safetensors"] {
        fixture.write(name, "weights");
        fixture.refused("Model weights not found", &["expected model.safetensors", &format!("found only {name}")]);
    }
}

#[test]
fn weights_that_cannot_be_read() {
    let fixture = Fixture::new();
    fixture.remove(WEIGHTS);
    fixture.write("model.safetensors/nothing", "");
    fixture.refused("Model file is not a regular file", &[WEIGHTS, "found a directory"]);
    #[cfg(unix)]
    {
        let fixture = Fixture::new();
        fixture.remove(WEIGHTS);
        std::os::unix::fs::symlink("../../blobs/missing", fixture.file(WEIGHTS)).unwrap();
        fixture.refused("Model file cannot be read", &[WEIGHTS]);
    }
}

#[test]
fn truncated_files() {
    let fixture = Fixture::new();
    let whole = fixture.read(WEIGHTS);
    for length in [0, 1, 7] {
        fixture.write(WEIGHTS, &whole[..length]);
        fixture.refused("Safetensors file is truncated", &[WEIGHTS, &format!("{length} bytes")]);
    }
    fixture.write(WEIGHTS, &whole[..whole.len() - 1]);
    fixture.refused("Safetensors file is truncated", &[WEIGHTS, "past the end"]);
    fixture.write(WEIGHTS, &whole[..100]);
    fixture.refused("Safetensors header is longer than the file", &[WEIGHTS, "in a file of 100 bytes"]);
    fixture.write(WEIGHTS, [&whole[..], b"x"].concat());
    fixture.refused("Safetensors file is longer than its tensors", &[WEIGHTS]);
}

#[test]
fn headers_longer_than_the_file() {
    let fixture = Fixture::new();
    let whole = fixture.read(WEIGHTS);
    for length in [whole.len() as u64 - 7, 100_000_001, u64::MAX - 7, u64::MAX] {
        fixture.write(WEIGHTS, [&length.to_le_bytes(), &whole[8..]].concat());
        fixture.refused("Safetensors header is longer than the file", &[WEIGHTS, &length.to_string()]);
    }
}

#[test]
fn headers_that_are_not_json() {
    let fixture = Fixture::new();
    for header in ["", "{", "[]", "null", "{\"a\": 1", "\u{0}\u{0}", "not json"] {
        fixture.write(WEIGHTS, with_header(header, &[]));
        fixture.refused("Safetensors header is not valid JSON", &[WEIGHTS]);
    }
    fixture.write(WEIGHTS, with_header(&"[".repeat(100_000), &[]));
    fixture.refused("Safetensors header is not valid JSON", &[WEIGHTS]);
}

#[test]
fn tensors_that_are_not_described_as_they_should_be() {
    for entry in [
        json!(1),
        json!({}),
        json!({"dtype": "BF16", "shape": [1]}),
        json!({"dtype": "BF16", "shape": [1.5], "data_offsets": [0, 2]}),
        json!({"dtype": "BF16", "shape": [-1], "data_offsets": [0, 2]}),
        json!({"dtype": "BF16", "shape": [1], "data_offsets": [0]}),
        json!({"dtype": "Q4_K", "shape": [1], "data_offsets": [0, 2]}),
    ] {
        let fixture = Fixture::new();
        fixture.edit_header(|header| header[QUERY] = entry);
        fixture.refused("Tensor is not described as expected", &[WEIGHTS, QUERY]);
    }
}

#[test]
fn names_with_control_characters_stay_on_their_line() {
    let fixture = Fixture::new();
    fixture.edit_header(|header| _ = header.insert("a\nb\u{1b}[2J".to_owned(), json!(1)));
    fixture.refused("Tensor is not described as expected", &["a\\nb\\u{1b}[2J"]);
}

#[test]
fn offsets_that_overlap_or_run_past_the_end() {
    let offsets = |change: fn(u64, u64) -> [u64; 2], message: &str| {
        let fixture = Fixture::new();
        fixture.edit_header(|header| {
            let range = header[QUERY]["data_offsets"].as_array().unwrap();
            header[QUERY]["data_offsets"] = json!(change(range[0].as_u64().unwrap(), range[1].as_u64().unwrap()));
        });
        fixture.refused(message, &[WEIGHTS, QUERY]);
    };
    offsets(|start, end| [start - 2, end - 2], "Tensor offsets overlap");
    offsets(|start, end| [start, end + 2], "Tensor size does not match its shape");
    offsets(|start, end| [end, start], "Tensor offsets run backwards");
    offsets(|start, _| [start, u64::MAX], "Safetensors file is truncated");
    offsets(|start, end| [start + (1 << 40), end + (1 << 40)], "Safetensors file is truncated");
}

#[test]
fn shapes_that_do_not_match_their_bytes() {
    // Modulo 2⁶⁴ the last one has the right number of elements.
    for shape in [json!([64, 23]), json!([]), json!([0]), json!([u64::MAX, 2]), json!([2, (1_u64 << 63) + 64 * 12])] {
        let fixture = Fixture::new();
        fixture.edit_header(|header| header[QUERY]["shape"] = shape);
        fixture.refused("Tensor size does not match its shape", &[WEIGHTS, QUERY, "BF16"]);
    }
}

#[test]
fn tensors_missing_or_not_as_the_config_says() {
    let fixture = Fixture::new();
    fixture.edit_header(|header| {
        let query = header.remove(QUERY).unwrap();
        header.insert("model.layers.0.self_attn.query.weight".to_owned(), query);
    });
    fixture.refused("Tensor not found", &[fixture.path().to_str().unwrap(), QUERY, "[64, 24]"]);

    let fixture = Fixture::new();
    fixture.edit_header(|header| header[QUERY]["shape"] = json!([24, 64]));
    fixture.refused("Tensor has the wrong shape", &[WEIGHTS, QUERY, "expected [64, 24], found [24, 64]"]);

    for (dtype, shape) in [("I16", [64, 24]), ("I32", [32, 24]), ("F64", [8, 48])] {
        let fixture = Fixture::new();
        fixture.edit_header(|header| {
            header[QUERY]["dtype"] = json!(dtype);
            header[QUERY]["shape"] = json!(shape);
        });
        fixture.refused("Tensor has an unsupported type", &[WEIGHTS, QUERY, &format!("found {dtype}")]);
    }
}

#[test]
fn shards_that_are_missing() {
    for missing in SHARDS {
        let fixture = Fixture::new();
        fixture.shard(|name| name.contains("mlp"));
        fixture.remove(missing);
        fixture.refused("Weights shard not found", &[missing, INDEX]);
    }
}

#[test]
fn shard_names_that_are_paths() {
    for name in ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "..", ".", "", "a\\b", "C:model", "a\0b"] {
        let fixture = Fixture::new();
        fixture.remove(WEIGHTS);
        fixture.write(INDEX, json!({"weight_map": {"lm_head.weight": name}}).to_string());
        fixture.refused("Shard name is a path", &[INDEX, "lm_head.weight", &format!("{name:?}")]);
    }
}

#[test]
fn indexes_that_are_not_what_they_should_be() {
    let refused = |index: &str, message: &str, details: &[&str]| {
        let fixture = Fixture::new();
        fixture.remove(WEIGHTS);
        fixture.write(INDEX, index);
        fixture.refused(message, details);
    };
    refused("{\"weight_map\": ", "model.safetensors.index.json is not valid JSON", &[INDEX]);
    refused("[]", "model.safetensors.index.json is not a JSON object", &[INDEX]);
    refused("{}", "Weights index is not valid", &[INDEX, "weight_map"]);
    refused("{\"weight_map\": [1]}", "Weights index is not valid", &[INDEX, "weight_map"]);
    refused("{\"weight_map\": {\"a\": 1}}", "Weights index is not valid", &[INDEX, "weight_map: a", "found 1"]);
}

#[test]
fn a_tensor_in_two_shards_is_refused_where_the_index_names_neither() {
    let fixture = Fixture::new();
    fixture.shard(|name| name.contains("mlp"));
    fixture.write(SHARDS[0], serialize(&values(&config()), nemotron::checkpoint::Dtype::BF16));
    let mut index: Value = serde_json::from_slice(&fixture.read(INDEX)).unwrap();
    let map = index["weight_map"].as_object_mut().unwrap();
    assert!(map.remove("model.layers.0.mlp.up_proj.weight").is_some());
    fixture.write(INDEX, index.to_string());
    fixture.refused("Tensor is in two shards", &["up_proj", SHARDS[0], SHARDS[1]]);
}

#[test]
fn a_tensor_that_the_model_needs_must_be_in_a_shard() {
    let fixture = Fixture::new();
    fixture.shard(|name| name.contains("mlp"));
    let without: Vec<_> = values(&config()).into_iter().filter(|tensor| tensor.0 != QUERY).collect();
    fixture.write(SHARDS[0], serialize(&without, nemotron::checkpoint::Dtype::BF16));
    fixture.write(SHARDS[1], serialize(&[], nemotron::checkpoint::Dtype::BF16));
    fixture.refused("Tensor is not in its shard", &[QUERY, SHARDS[0], INDEX]);
}
