//! Checkpoints in all the forms in which they are found: unaligned, narrowed, sharded.
use std::collections::BTreeMap;

use half::{bf16, f16};
use nemotron::checkpoint::Dtype;
use nemotron::device::Format;
use nemotron::models::spec::{ModelSpec, Tensor};
use nemotron::weights::Weights;
use serde_json::json;

use crate::fixture::{Fixture, SHARDS, WEIGHTS, config, serialize, values, with_header};

/// Checks that each tensor has the values that `narrow` makes of the fixture's.
fn check_values(spec: &ModelSpec, weights: &Weights, narrow: impl Fn(f32) -> bf16) {
    let expected: BTreeMap<_, _> = values(&config()).into_iter().map(|(name, _, values)| (name, values)).collect();
    for tensor in spec.tensors() {
        let parts = weights.parts(std::slice::from_ref(tensor)).unwrap().in_memory().unwrap();
        let found: Vec<bf16> = (0..parts.rows()).flat_map(|row| parts.row(row).to_vec()).collect();
        let expected: Vec<bf16> = expected[&tensor.name].iter().map(|&value| narrow(value)).collect();
        assert_eq!(found, expected, "{}", tensor.name);
    }
}

/// What a device gets that copies weights in pieces.
fn check_copies(spec: &ModelSpec, weights: &Weights, narrow: impl Fn(f32) -> bf16) {
    let expected: BTreeMap<_, _> = values(&config()).into_iter().map(|(name, _, values)| (name, values)).collect();
    for tensor in spec.tensors() {
        let parts = weights.parts(std::slice::from_ref(tensor)).unwrap();
        let part = &parts.parts()[0];
        let mut found = vec![bf16::ZERO; part.rows() * part.columns()];
        for (piece, target) in found.chunks_mut(7).enumerate() {
            part.copy_adjacent(14 * piece, bytemuck::cast_slice_mut(target)).unwrap();
        }
        let expected: Vec<bf16> = expected[&tensor.name].iter().map(|&value| narrow(value)).collect();
        assert_eq!(found, expected, "{}", tensor.name);
    }
}

/// Where the tensor's first byte is in memory, and where the first of its bf16 view.
fn addresses(weights: &Weights, name: &str) -> usize {
    weights.checkpoint().tensor(name).unwrap().bf16().unwrap().as_ptr().addr()
}

#[test]
fn unaligned_data_is_copied_once() {
    let fixture = Fixture::new();
    let bytes = fixture.read(WEIGHTS);
    let data = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    for pad in 0..4 {
        let header = format!("{}{}", str::from_utf8(&bytes[8..data]).unwrap(), " ".repeat(pad));
        fixture.write(WEIGHTS, with_header(&header, &bytes[data..]));
        let (spec, weights) = fixture.load().unwrap();
        check_values(&spec, &weights, bf16::from_f32);
        assert_eq!(addresses(&weights, &spec.embedding.name), addresses(&weights, &spec.embedding.name), "{pad}");
        assert!(weights.narrowed(&spec).is_empty());
        assert_eq!(weights.checkpoint().bytes(), (bytes.len() - data) as u64);
    }
}

#[test]
fn f32_and_f16_are_narrowed_and_it_is_known() {
    let fixture = Fixture::new();
    let through_f16 = |value: f32| bf16::from_f32(f16::from_f32(value).to_f32());
    let narrowings: [(Dtype, &dyn Fn(f32) -> bf16); 2] = [(Dtype::F32, &bf16::from_f32), (Dtype::F16, &through_f16)];
    for (dtype, narrow) in narrowings {
        fixture.write(WEIGHTS, serialize(&values(&config()), dtype));
        let (spec, weights) = fixture.load().unwrap();
        check_values(&spec, &weights, narrow);
        check_copies(&spec, &weights, narrow);
        assert_eq!(weights.narrowed(&spec), BTreeMap::from([(dtype, spec.tensors().len())]));
    }
}

#[test]
fn exact_tensors_stay_f32_whatever_they_are_on_disk() {
    let fixture = Fixture::new();
    let through_f16 = |value: f32| f16::from_f32(value).to_f32();
    let through_bf16 = |value: f32| bf16::from_f32(value).to_f32();
    let types: [(Dtype, &dyn Fn(f32) -> f32); 3] =
        [(Dtype::F32, &|value| value), (Dtype::F16, &through_f16), (Dtype::BF16, &through_bf16)];
    for (dtype, stored) in types {
        fixture.write(WEIGHTS, serialize(&values(&config()), dtype));
        let (_, weights) = fixture.load().unwrap();
        for (name, shape, expected) in values(&config()) {
            let tensor = Tensor { name: name.clone(), shape, cut: None, format: Format::F32 };
            let weight = weights.parts(std::slice::from_ref(&tensor)).unwrap();
            let expected: Vec<f32> = expected.into_iter().map(stored).collect();
            assert_eq!(weight.format(), Format::F32);
            let mut copied = vec![0f32; expected.len()];
            weight.parts()[0].copy_adjacent(0, bytemuck::cast_slice_mut(&mut copied)).unwrap();
            assert_eq!(copied, expected, "{name}, {dtype:?}, copied");
            assert_eq!(weight.in_memory().unwrap().to_f32(), expected, "{name}, {dtype:?}");
        }
    }
}

#[test]
fn a_file_that_has_shrunk_since_it_was_opened_is_an_error() {
    let fixture = Fixture::new();
    let (spec, weights) = fixture.load().unwrap();
    let weight = weights.parts(std::slice::from_ref(&spec.head.parts[0])).unwrap();
    let part = &weight.parts()[0];
    let mut target = vec![0u8; 2 * part.rows() * part.columns()];
    part.copy_adjacent(0, &mut target).unwrap();
    std::fs::OpenOptions::new().write(true).open(fixture.file(WEIGHTS)).unwrap().set_len(64).unwrap();
    let error = part.copy_adjacent(0, &mut target).unwrap_err().to_string();
    assert!(error.contains("A weight could not be read") && error.contains(WEIGHTS), "{error}");
}

#[test]
fn a_tied_embedding_is_narrowed_once() {
    let fixture = Fixture::new();
    fixture.edit_config(&[("tie_word_embeddings", json!(true))]);
    let mut tensors = values(&config());
    tensors.retain(|tensor| tensor.0 != "lm_head.weight");
    fixture.write(WEIGHTS, serialize(&tensors, Dtype::F32));
    let (spec, weights) = fixture.load().unwrap();
    let embedding = weights.parts(std::slice::from_ref(&spec.embedding)).unwrap().in_memory().unwrap();
    let head = weights.parts(&spec.head.parts).unwrap().in_memory().unwrap();
    assert_eq!(embedding.row(0).as_ptr(), head.row(0).as_ptr());
    assert_eq!(weights.narrowed(&spec), BTreeMap::from([(Dtype::F32, spec.tensors().len() - 1)]));
    assert!(weights.unused(&spec).is_empty());
}

#[test]
fn shards_are_read_as_one() {
    let fixture = Fixture::new();
    let bytes = fixture.load().unwrap().1.checkpoint().bytes();
    fixture.shard(|name| name.contains("_proj"));
    let (spec, weights) = fixture.load().unwrap();
    check_values(&spec, &weights, bf16::from_f32);
    assert_eq!(weights.checkpoint().bytes(), bytes);
    let file = |name: &str| weights.checkpoint().tensor(name).unwrap().file.file_name().unwrap().to_owned();
    assert_eq!(file("model.norm.weight"), SHARDS[0]);
    assert_eq!(file("model.layers.0.mlp.up_proj.weight"), SHARDS[1]);
}

#[test]
fn tensors_that_nobody_asks_for_are_listed() {
    let fixture = Fixture::new();
    let mut tensors = values(&config());
    for name in ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.1.extra.weight", "a.bias"] {
        tensors.push((name.to_owned(), vec![2], vec![0.5, 0.25]));
    }
    fixture.write(WEIGHTS, serialize(&tensors, Dtype::BF16));
    let (spec, weights) = fixture.load().unwrap();
    assert_eq!(weights.unused(&spec), ["a.bias", "model.layers.1.extra.weight"]);
}

#[test]
fn vectors_are_one_row_and_products_are_stacked() {
    let (_, weights) = Fixture::new().load().unwrap();
    let norm = weights.parts(&[Tensor::vector("model.norm.weight", 24)]).unwrap();
    assert_eq!((norm.rows(), norm.columns()), (1, 24));
    let gate = Tensor::matrix("model.layers.0.mlp.gate_proj.weight", 40, 24);
    let up = Tensor::matrix("model.layers.0.mlp.up_proj.weight", 40, 24);
    let both = weights.parts(&[gate, up.clone()]).unwrap();
    assert_eq!((both.rows(), both.columns()), (80, 24));
    assert_eq!(both.row(41), weights.parts(&[up]).unwrap().row(1));
}
