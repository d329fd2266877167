//! Scales of keys and values: every place where exporters put them, and what they may not be.
use gpu_kernels::KvFormat;
use half::{bf16, f16};
use nemotron::checkpoint::Dtype;
use nemotron::error::Error;
use nemotron::models::spec::{Block, ModelSpec};
use nemotron::models::{self, Reading};

use super::store::{Raw, Store, open};
use crate::fixture::check_refusal;

const ATTENTION: &str = "model.layers.0.self_attn";
/// What ModelOpt writes, compressed-tensors, and vLLM's own name for it.
const PLACES: [[&str; 2]; 3] =
    [["k_proj.k_scale", "v_proj.v_scale"], ["k_scale", "v_scale"], ["attn.k_scale", "attn.v_scale"]];

fn scale(name: &str, value: f32) -> Raw {
    Raw::new(format!("{ATTENTION}.{name}"), Dtype::F32, &[], value.to_le_bytes().to_vec())
}

fn with(tensors: impl IntoIterator<Item = Raw>) -> Store {
    let mut store = Store::new();
    store.tensors.extend(tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)));
    store
}

fn stored(spec: &ModelSpec) -> Option<[f32; 2]> {
    let Block::Attention(attention) = &spec.blocks[0] else { panic!("attention comes first") };
    attention.cache.stored
}

#[test]
fn scales_are_found_wherever_exporters_put_them() {
    for [k, v] in PLACES {
        let store = with([scale(k, 0.25), scale(v, 3.0)]);
        for fixture in [store.write(), store.write_shards()] {
            let (spec, weights) = open(&fixture).unwrap();
            assert_eq!(stored(&spec), Some([0.25, 3.0]), "{k}");
            assert!(weights.unused(&spec).is_empty(), "{k}: {:?}", weights.unused(&spec));
            let notes = fixture.reading().unwrap().notes;
            assert!(notes.iter().any(|note| note.contains("--kv-cache fp8")), "{notes:?}");
        }
    }
    assert_eq!(stored(&open(&Store::new().write()).unwrap().0), None);
}

#[test]
fn scales_of_any_type_and_of_one_element() {
    let [k, v] = PLACES[0];
    for (dtype, bytes) in [
        (Dtype::BF16, bf16::from_f32(0.5).to_le_bytes().to_vec()),
        (Dtype::F16, f16::from_f32(0.5).to_le_bytes().to_vec()),
        (Dtype::F32, 0.5f32.to_le_bytes().to_vec()),
    ] {
        let one = Raw::new(format!("{ATTENTION}.{k}"), dtype, &[1], bytes);
        assert_eq!(stored(&open(&with([one, scale(v, 1.0)]).write()).unwrap().0), Some([0.5, 1.0]), "{dtype}");
    }
}

/// What keeps a file's keys and values from being kept in 8 bits; in 16 bits it does not matter.
fn fault(store: &Store) -> Error {
    let Reading { mut spec, notes, cache_fault, .. } = store.write().reading().expect("it can be read");
    assert!(notes.iter().any(|note| note.contains("not used without --kv-cache fp8")), "{notes:?}");
    assert!(models::keep_cache(&mut spec, KvFormat::Act, None).is_ok());
    models::keep_cache(&mut spec, KvFormat::Fp8, cache_fault).expect_err("the scales cannot be used")
}

#[test]
fn scales_that_cannot_be_are_named() {
    let [k, v] = PLACES[0];
    for (value, said) in [(f32::NAN, "NaN"), (0.0, "found 0"), (-0.5, "found -0.5"), (f32::INFINITY, "inf")] {
        let error = fault(&with([scale(k, 1.0), scale(v, value)]));
        let details = [said, "v_proj.v_scale", "model.safetensors"];
        check_refusal(&error, "A scale of keys or values cannot be used", &details);
    }
    let heads = Raw::new(format!("{ATTENTION}.{k}"), Dtype::F32, &[2], [1f32.to_le_bytes(); 2].concat());
    let integer = Raw::new(format!("{ATTENTION}.{k}"), Dtype::I32, &[], 1i32.to_le_bytes().to_vec());
    for (tensor, said) in [(heads, "[2]"), (integer, "I32")] {
        let error = fault(&with([tensor, scale(v, 1.0)]));
        check_refusal(&error, "A scale of keys or values is not one number", &["k_proj.k_scale", said]);
    }
    for (there, missing) in [(k, v), (v, k)] {
        let error = fault(&with([scale(there, 1.0)]));
        check_refusal(&error, "The scales of keys and values are incomplete", &[there, missing]);
    }
}
