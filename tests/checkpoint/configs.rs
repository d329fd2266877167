//! config.json files that are odd, short or say two things, against what transformers' AutoConfig makes of them.
use nemotron::models;
use nemotron::models::spec::{Attention, Block, ModelSpec, Norm, RopeScaling};
use serde_json::{Value, json};

use crate::fixture::Fixture;

fn rows() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("configs.json")).unwrap();
    file["rows"].as_array().unwrap().clone()
}

fn attention(spec: &ModelSpec) -> &Attention {
    let Block::Attention(attention) = &spec.blocks[0] else { panic!("attention comes first") };
    attention
}

/// The values that configs.py writes of a config, as this reader has them.
fn values(spec: &ModelSpec, activation: &Value) -> Value {
    let Attention { head_dim, kv_heads, rope, window, .. } = attention(spec);
    let (Norm::Rms { eps, .. } | Norm::LayerNorm1p { eps, .. }) = spec.final_norm;
    let mut values = json!({
        "head_dim": head_dim, "kv_heads": kv_heads, "context": spec.context_length, "window": window,
        "eps": eps, "tied": spec.head.parts[0] == spec.embedding, "activation": activation, "theta": rope.theta,
        "share": rope.dims as f64 / *head_dim as f64,
    });
    match rope.scaling {
        RopeScaling::None => values["rope"] = json!("default"),
        RopeScaling::Linear { factor } => (values["rope"], values["factor"]) = (json!("linear"), json!(factor)),
        RopeScaling::Llama3 { factor, original_context, .. } => {
            (values["rope"], values["factor"]) = (json!("llama3"), json!(factor));
            values["original"] = json!(original_context);
        }
    }
    values
}

/// Numbers as the f32 that they become.
fn rounded(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64().unwrap() as f32),
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), rounded(value))).collect(),
        other => other.clone(),
    }
}

#[test]
fn configs_are_read_as_transformers_reads_them() {
    assert!(rows().len() > 100);
    for row in rows() {
        let spec = models::read(&row["config"], None).unwrap_or_else(|error| panic!("{}: {error}", row["config"]));
        // Another activation than the family's is refused, so it is the one that transformers has.
        let found = values(&spec, &row["values"]["activation"]);
        let (found, expected) = (rounded(&found), rounded(&row["values"]));
        for (key, expected) in expected.as_object().unwrap() {
            // transformers reads no other key for eps; conversions of Nemotron write some, and mean them.
            let other_eps = key == "eps" && spec.family == "nemotron" && row["config"].get("norm_eps").is_none();
            // Nor `kv_channels`: NeMo's exporter writes it, where there is no `head_dim`.
            assert!(other_eps || found[key] == *expected, "{key}: {} for {}", found[key], row);
        }
    }
}

#[test]
fn what_was_ignored_is_said() {
    for (changes, note) in [
        (
            json!({"rope_scaling": {"rope_type": "default", "rope_theta": 500.0}}),
            "rope_theta 10000.0 is ignored: the one in rope_scaling 500.0 counts",
        ),
        (
            json!({"rope_scaling": {"rope_type": "linear", "factor": 2.0}, "rope_parameters": {"rope_theta": 5.0}}),
            "rope_parameters is ignored: rope_scaling is there and counts",
        ),
        (
            json!({"rope_scaling": {"rope_type": "default", "type": "linear", "factor": 2.0}}),
            "rope_scaling: type \"linear\" is ignored: rope_type \"default\" counts",
        ),
        (json!({"factor": 2.0}), "factor 2.0 is ignored"),
        (json!({"partial_rotary_factor": 0.5}), "partial_rotary_factor 0.5 is ignored"),
        (json!({"hidden_activation": "gelu"}), "hidden_activation \"gelu\" is ignored: hidden_act \"silu\" counts"),
        (json!({"kv_channels": 16}), "kv_channels 16 is ignored: head_dim 32 counts"),
        (json!({"layer_norm_eps": 1e-3}), "layer_norm_eps 0.001 is ignored: rms_norm_eps"),
        (json!({"num_query_groups": 2}), "num_query_groups 2 is ignored: num_key_value_heads 1 counts"),
        (json!({"rope_theta": null}), "rope_theta is missing: 10000 is taken, as transformers does"),
        (json!({"rms_norm_eps": null}), "rms_norm_eps is missing: 0.000001 is taken"),
        (json!({"max_position_embeddings": null}), "max_position_embeddings is missing: 2048 is taken"),
        (json!({"model_type": "mistral"}), "architectures LlamaForCausalLM is ignored: model_type mistral counts"),
    ] {
        let fixture = Fixture::new();
        let changes: Vec<_> = changes.as_object().unwrap().iter().map(|(key, value)| (&**key, value.clone())).collect();
        fixture.edit_config(&changes);
        let notes = fixture.reading().unwrap().notes;
        assert!(notes.iter().any(|found| found.contains(note)), "{note}: {notes:?}");
    }
    let fixture = Fixture::new();
    fixture.edit_config(&[("rope_theta", json!(1e4)), ("layer_norm_eps", json!(1e-5)), ("kv_channels", json!(32))]);
    assert!(fixture.reading().unwrap().notes.is_empty(), "nothing is said where both say the same");
}

#[test]
fn python_words_are_no_damage_and_no_numbers() {
    let fixture = Fixture::new();
    let text = String::from_utf8(fixture.read("config.json")).unwrap();
    let with = |addition: &str| format!("{}, {addition}}}", text.strip_suffix('}').unwrap());
    fixture.write("config.json", with("\"time_step_limit\": [0.0, Infinity], \"x\": NaN, \"y\": -Infinity"));
    fixture.write("generation_config.json", "{\"epsilon_cutoff\": NaN, \"eos_token_id\": 3}");
    assert!(fixture.load().is_ok());
    fixture.write("config.json", with("\"rope_theta\": Infinity"));
    fixture.refused("Unexpected value in config", &["rope_theta", "found \"Infinity\""]);
    fixture.write("config.json", with("\"rope_theta\": 1e999"));
    fixture.refused("Unexpected value in config", &["rope_theta", "found \"Infinity\""]);
}
