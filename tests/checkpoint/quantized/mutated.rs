//! Random damage to the header and the configurations of a quantized checkpoint: an error of three lines or a model, never a
//! panic.
use nemotron::checkpoint::Dtype;
use nemotron::error::Result;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::encode::{Integers, fp8, gptq8, int8, nvfp4};
use super::random::Random;
use super::store::{DOWN, GATE, HEAD, K, O, Q, Store, UP, V, open};
use crate::fixture::{Fixture, WEIGHTS};
use crate::mutations::{damage, edits, header_bytes, odd_value, replace};

/// Every layout in one file.
fn fixture() -> Fixture {
    let random = &mut Random::new(61);
    let four = |module: super::store::Module, random: &mut Random| Integers::new(module.1, 32, true, random);
    let mut store = Store::new()
        .with(Q.0, fp8(Q, Dtype::F32, &[], Q.1, random).0)
        .with(K.0, fp8(K, Dtype::BF16, &[1, 1], [128, 128], random).0)
        .with(V.0, int8(V, Dtype::F32, 32, random).0)
        .with(O.0, nvfp4(O, true, random).0)
        .with(GATE.0, four(GATE, random).packed(GATE.0, Dtype::BF16, true))
        .with(UP.0, four(UP, random).awq(UP.0))
        .with(DOWN.0, four(DOWN, random).reordered(random).gptq(DOWN.0, 1))
        .with(HEAD.0, gptq8(HEAD, 64, random).0);
    store.config["quantization_config"] = json!({
        "quant_method": "compressed-tensors", "bits": 4, "checkpoint_format": "gptq", "quant_algo": "MIXED_PRECISION",
        "ignore": ["re:.*embed.*"], "quantized_layers": {Q.0: {"quant_algo": "FP8"}}, "kv_cache_scheme": {"num_bits": 8},
        "config_groups": {"group_0": {"targets": [Q.0], "weights": {"num_bits": 8, "type": "float"}}},
    });
    store.write()
}

/// Opens the checkpoint and reads all of it.
fn read_everything(fixture: &Fixture) {
    let read = || -> Result<usize> {
        let (spec, weights) = open(fixture)?;
        let mut bytes = 0;
        for tensor in spec.tensors() {
            let weight = weights.parts(std::slice::from_ref(tensor))?;
            for part in [weight.scales(), weight.factors(), weight.order(), Some(weight)].into_iter().flatten() {
                let part = part.in_memory()?;
                bytes += (0..part.rows()).map(|row| part.row_bytes(row).len()).sum::<usize>();
            }
        }
        weights.unused(&spec);
        Ok(bytes)
    };
    if let Err(error) = read() {
        let printed = error.to_string();
        let starts: Vec<_> = printed.lines().map(|line| line.split(' ').next().unwrap_or_default()).collect();
        assert_eq!(starts, ["[ERROR]", "Details:", "Hint:"], "{printed}");
    }
}

#[test]
fn the_undamaged_one_is_read() {
    assert!(open(&fixture()).is_ok());
    read_everything(&fixture());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_headers_never_panic(edits in edits()) {
        let fixture = fixture();
        let file = fixture.read(WEIGHTS);
        let within = header_bytes(&file);
        fixture.write(WEIGHTS, damage(file, within, &edits));
        read_everything(&fixture);
    }

    #[test]
    fn odd_values_in_headers_never_panic(replacements in prop::collection::vec((any::<usize>(), odd_value()), 1..4)) {
        let fixture = fixture();
        fixture.edit_header(|header| {
            let replaced = replace(Value::Object(header.clone()).to_string().as_bytes(), &replacements);
            *header = serde_json::from_slice(&replaced).unwrap_or_default();
        });
        read_everything(&fixture);
    }

    /// Shapes whose bytes are still those of the tensor.
    #[test]
    fn reshaped_tensors_never_panic(at in any::<usize>(), factor in 1..9usize) {
        let fixture = fixture();
        fixture.edit_header(|header| {
            let name = header.keys().filter(|name| *name != "__metadata__").nth(at % (header.len() - 1)).cloned();
            let shape = &mut header[&name.expect("a tensor")]["shape"];
            let elements: u64 = shape.as_array().unwrap().iter().map(|size| size.as_u64().unwrap()).product();
            let factor = factor as u64;
            if elements.is_multiple_of(factor) {
                *shape = json!([factor, elements / factor]);
            }
        });
        read_everything(&fixture);
    }

    #[test]
    fn odd_values_in_configs_never_panic(replacements in prop::collection::vec((any::<usize>(), odd_value()), 1..4)) {
        let fixture = fixture();
        fixture.write("config.json", replace(&fixture.read("config.json"), &replacements));
        read_everything(&fixture);
    }

    #[test]
    fn odd_values_beside_the_config_never_panic(
        replacements in prop::collection::vec((any::<usize>(), odd_value()), 1..4),
        name in prop::sample::select(vec!["hf_quant_config.json", "quantize_config.json", "quant_config.json"]),
    ) {
        let fixture = fixture();
        let section: Value = serde_json::from_slice(&fixture.read("config.json")).unwrap();
        let file = json!({"quantization": section["quantization_config"].clone(), "bits": 4, "checkpoint_format": "gptq"});
        fixture.write(name, replace(file.to_string().as_bytes(), &replacements));
        read_everything(&fixture);
    }
}
