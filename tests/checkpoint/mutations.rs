//! Random damage to the header, config.json and the index: an error of three lines or a model, never a panic.
use nemotron::error::Result;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fixture::{Fixture, INDEX, WEIGHTS};

/// One edit of a file's bytes; positions wrap at its length.
#[derive(Clone, Debug)]
pub enum Edit {
    Set(usize, u8),
    Flip(usize, u8),
    Insert(usize, u8),
    Remove(usize, usize),
    Truncate(usize),
}

/// A few edits.
pub fn edits() -> impl Strategy<Value = Vec<Edit>> {
    // Digits and the punctuation of JSON keep a file parsable more often than other bytes do.
    let byte = || prop_oneof![prop::sample::select(&b"0123456789-.eE{}[]\",: /\\"[..]), any::<u8>()];
    let edit = prop_oneof![
        4 => (any::<usize>(), byte()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        1 => (any::<usize>(), 0..8u8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        3 => (any::<usize>(), byte()).prop_map(|(at, byte)| Edit::Insert(at, byte)),
        2 => (any::<usize>(), 1..9usize).prop_map(|(at, count)| Edit::Remove(at, count)),
        1 => any::<usize>().prop_map(Edit::Truncate),
    ];
    prop::collection::vec(edit, 1..5)
}

/// Applies the edits to the first `within` bytes.
pub fn damage(mut bytes: Vec<u8>, within: usize, edits: &[Edit]) -> Vec<u8> {
    for edit in edits {
        let length = within.min(bytes.len());
        if length == 0 {
            break;
        }
        match *edit {
            Edit::Set(at, byte) => bytes[at % length] = byte,
            Edit::Flip(at, bit) => bytes[at % length] ^= 1 << bit,
            Edit::Insert(at, byte) => bytes.insert(at % length, byte),
            Edit::Remove(at, count) => _ = bytes.drain(at % length..(at % length + count).min(bytes.len())),
            Edit::Truncate(at) => bytes.truncate(at % length),
        }
    }
    bytes
}

/// A JSON value that a key does not expect.
pub fn odd_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (0..70_000u32).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![json!(1e308), json!(1e-320), json!(u64::MAX), json!(i64::MIN), json!(-0.0)]),
        "\\PC{0,8}".prop_map(Value::from),
        prop::collection::vec(any::<i32>(), 0..3).prop_map(Value::from),
        Just(json!({})),
    ]
}

/// Every scalar and list of a JSON value, by its path.
fn pointers(value: &Value, path: &str, found: &mut Vec<String>) {
    found.push(path.to_owned());
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                pointers(value, &format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(items) => {
            for (i, value) in items.iter().enumerate() {
                pointers(value, &format!("{path}/{i}"), found);
            }
        }
        _ => (),
    }
}

/// Replaces values of a JSON file.
pub fn replace(bytes: &[u8], replacements: &[(usize, Value)]) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(bytes).unwrap();
    for (at, replacement) in replacements {
        let mut paths = Vec::new();
        pointers(&value, "", &mut paths);
        *value.pointer_mut(&paths[at % paths.len()]).unwrap() = replacement.clone();
    }
    value.to_string().into_bytes()
}

/// Opens the checkpoint and reads all of every tensor; an error must have its three lines.
fn read_everything(fixture: &Fixture) {
    let read = || -> Result<f32> {
        let (spec, weights) = fixture.load()?;
        let mut sum = 0.0;
        for tensor in spec.tensors() {
            let parts = weights.parts(std::slice::from_ref(tensor))?.in_memory()?;
            sum += (0..parts.rows()).flat_map(|row| parts.row_bytes(row)).map(|byte| f32::from(*byte)).sum::<f32>();
        }
        weights.unused(&spec);
        Ok(sum)
    };
    if let Err(error) = read() {
        let printed = error.to_string();
        let starts: Vec<_> = printed.lines().map(|line| line.split(' ').next().unwrap_or_default()).collect();
        assert_eq!(starts, ["[ERROR]", "Details:", "Hint:"], "{printed}");
    }
}

/// The length of the header, with the number in front.
pub fn header_bytes(file: &[u8]) -> usize {
    8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize
}

/// The config with every key that is read somewhere.
pub fn full_config(fixture: &Fixture) {
    fixture.edit_config(&[
        ("rope_theta", json!(10_000.0)),
        (
            "rope_scaling",
            json!({
                "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64
            }),
        ),
        ("partial_rotary_factor", json!(1.0)),
        ("tie_word_embeddings", json!(false)),
        ("attention_bias", json!(false)),
        ("mlp_bias", json!(false)),
        ("sliding_window", json!(16)),
        ("model_type", json!("llama")),
    ]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_headers_never_panic(edits in edits()) {
        let fixture = Fixture::new();
        let file = fixture.read(WEIGHTS);
        let within = header_bytes(&file);
        fixture.write(WEIGHTS, damage(file, within, &edits));
        read_everything(&fixture);
    }

    #[test]
    fn odd_values_in_headers_never_panic(replacements in prop::collection::vec((any::<usize>(), odd_value()), 1..4)) {
        let fixture = Fixture::new();
        fixture.edit_header(|header| {
            let replaced = replace(Value::Object(header.clone()).to_string().as_bytes(), &replacements);
            *header = serde_json::from_slice(&replaced).unwrap_or_default();
        });
        read_everything(&fixture);
    }

    #[test]
    fn damaged_configs_never_panic(edits in edits()) {
        let fixture = Fixture::new();
        full_config(&fixture);
        let config = fixture.read("config.json");
        fixture.write("config.json", damage(config, usize::MAX, &edits));
        read_everything(&fixture);
    }

    #[test]
    fn odd_values_in_configs_never_panic(
        replacements in prop::collection::vec((any::<usize>(), odd_value()), 1..4),
        architecture in prop::sample::select(vec!["NemotronForCausalLM", "LlamaForCausalLM", "MistralForCausalLM"]),
    ) {
        let fixture = Fixture::new();
        full_config(&fixture);
        fixture.edit_config(&[("architectures", json!([architecture])), ("norm_eps", json!(1e-5))]);
        fixture.write("config.json", replace(&fixture.read("config.json"), &replacements));
        read_everything(&fixture);
    }

    #[test]
    fn damaged_indexes_never_panic(edits in edits()) {
        let fixture = Fixture::new();
        fixture.shard(|name| name.contains("mlp"));
        fixture.write(INDEX, damage(fixture.read(INDEX), usize::MAX, &edits));
        read_everything(&fixture);
    }

    #[test]
    fn odd_values_in_indexes_never_panic(replacements in prop::collection::vec((any::<usize>(), odd_value()), 1..4)) {
        let fixture = Fixture::new();
        fixture.shard(|name| name.contains("mlp"));
        fixture.write(INDEX, replace(&fixture.read(INDEX), &replacements));
        read_everything(&fixture);
    }
}
