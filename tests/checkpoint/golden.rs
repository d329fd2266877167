//! The checkpoints of this repository: each tensor is asked for exactly once, with the shape that it has.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nemotron::checkpoint::Checkpoint;
use nemotron::models;
use nemotron::models::spec::{Block, RopeScaling};
use nemotron::weights::Weights;

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn load(directory: &str) -> (models::spec::ModelSpec, Weights) {
    let checkpoint = Checkpoint::open(root().join(directory).to_str().unwrap()).unwrap();
    let spec = models::read(checkpoint.config(), checkpoint.generation_config()).unwrap();
    (spec, Weights::new(checkpoint))
}

#[test]
fn every_tensor_is_used_exactly_once() {
    let golden = ["nemotron", "llama", "mistral", "llama_biases", "nemotron_biases", "sharded", "odd_vocab", "deci"];
    let golden = golden.map(|name| format!("tests/golden/{name}"));
    for directory in golden.iter().map(String::as_str).chain(["models/storyteller"]) {
        let (spec, weights) = load(directory);
        weights.check_all(&spec).unwrap();
        assert!(weights.unused(&spec).is_empty(), "{directory}");
        let names: Vec<_> = spec.tensors().into_iter().map(|tensor| tensor.name.as_str()).collect();
        let distinct: BTreeSet<_> = names.iter().collect();
        assert_eq!(names.len(), distinct.len(), "{directory}");
        assert_eq!(names.len(), weights.checkpoint().tensors().count(), "{directory}");
        assert_eq!(spec.eos, [3], "{directory}");
        let bytes: usize = spec.tensors().iter().map(|tensor| tensor.shape.iter().product::<usize>() * 2).sum();
        assert_eq!(bytes as u64, weights.checkpoint().bytes(), "{directory}");
    }
}

#[test]
fn bf16_parts_lie_in_the_mapped_file() {
    let (spec, weights) = load("models/storyteller");
    assert_eq!(weights.checkpoint().bytes() / 1_000_000, 9);
    for block in &spec.blocks {
        let Block::Attention(attention) = block else { continue };
        let parts = weights.parts(&attention.qkv.parts).unwrap();
        assert_eq!((parts.rows(), parts.columns()), ((4 + 2 * 2) * 64, 256));
        let key = weights.checkpoint().tensor(&attention.qkv.parts[1].name).unwrap();
        assert_eq!(parts.parts()[1].row_bytes(0).as_ptr().cast(), key.bf16().unwrap().as_ptr());
        assert_eq!(parts.row_bytes(4 * 64).as_ptr(), parts.parts()[1].row_bytes(0).as_ptr());
    }
    assert!(weights.narrowed(&spec).is_empty());
}

#[test]
fn llama3_scaling_and_the_mistral_window_are_read() {
    let (llama, _) = load("tests/golden/llama");
    let Block::Attention(attention) = &llama.blocks[0] else { panic!("attention comes first") };
    let scaling = RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original_context: 64 };
    assert_eq!((&attention.rope.scaling, attention.rope.dims, attention.window), (&scaling, 32, None));
    let (mistral, _) = load("tests/golden/mistral");
    let Block::Attention(attention) = &mistral.blocks[0] else { panic!("attention comes first") };
    assert_eq!((attention.rope.theta, attention.window), (1e6, None));
    assert_eq!((attention.qkv.rows(), attention.out.columns(), mistral.hidden), ((4 + 2 * 2) * 64, 256, 160));
}
