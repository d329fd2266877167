//! What stands beside config.json, or in the weights, and says that the model is another than it seems.
use half::bf16;
use nemotron::checkpoint::Dtype;
use serde_json::{Value, json};

use crate::fixture::{Fixture, INDEX, SHARDS, Values, WEIGHTS, config, serialize, values};

const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";
const QUERY: &str = "model.layers.0.self_attn.q_proj.weight";

fn tensor<'a>(tensors: &'a mut [Values], name: &str) -> &'a mut Values {
    tensors.iter_mut().find(|tensor| tensor.0 == name).unwrap()
}

/// A checkpoint whose config ties head and embedding.
fn tied(edit: impl FnOnce(&mut Vec<Values>)) -> Fixture {
    let fixture = Fixture::new();
    fixture.edit_config(&[("tie_word_embeddings", json!(true))]);
    fixture.edit_tensors(edit);
    fixture
}

#[test]
fn a_head_that_differs_from_the_embedding_is_not_tied() {
    let reading = tied(|_| ()).reading().unwrap();
    assert_eq!((&*reading.spec.embedding.name, &*reading.spec.head.parts[0].name), (EMBEDDING, HEAD));
    assert!(
        reading.notes.iter().any(|note| note.contains("tie_word_embeddings true is ignored")),
        "{:?}",
        reading.notes
    );
}

#[test]
fn a_head_that_equals_the_embedding_is_tied() {
    let fixture = tied(|tensors| {
        let embedding = tensor(tensors, EMBEDDING).2.clone();
        tensor(tensors, HEAD).2 = embedding;
    });
    let reading = fixture.reading().unwrap();
    assert_eq!((&*reading.spec.head.parts[0].name, reading.notes.len()), (EMBEDDING, 0));
}

#[test]
fn either_of_two_tied_tensors_stands_for_both() {
    for (missing, stored) in [(HEAD, EMBEDDING), (EMBEDDING, HEAD)] {
        let fixture = tied(|tensors| tensors.retain(|tensor| tensor.0 != missing));
        let (spec, weights) = fixture.load().unwrap();
        assert_eq!((&*spec.embedding.name, &*spec.head.parts[0].name), (stored, stored));
        let parts = weights.parts(&spec.head.parts).unwrap().in_memory().unwrap();
        let values = values(&config()).into_iter().find(|tensor| tensor.0 == stored).unwrap().2;
        assert_eq!(parts.row(0)[0], bf16::from_f32(values[0]));
    }
}

#[test]
fn without_a_head_the_flag_is_named() {
    let fixture = Fixture::new();
    fixture.edit_tensors(|tensors| tensors.retain(|tensor| tensor.0 != HEAD));
    fixture.refused("Tensor not found", &[HEAD, "[11, 24]", "config.json does not tie it"]);
    assert!(fixture.load().unwrap_err().to_string().contains("tie_word_embeddings"));
}

/// The fixture in two shards, with changes to its index.
fn sharded(edit: impl FnOnce(&mut Value)) -> Fixture {
    let fixture = Fixture::new();
    fixture.shard(|name| name.contains("mlp"));
    let mut index = serde_json::from_slice(&fixture.read(INDEX)).unwrap();
    edit(&mut index);
    fixture.write(INDEX, index.to_string());
    fixture
}

#[test]
fn the_index_may_name_what_nobody_needs() {
    let fixture = sharded(|index| {
        for name in ["model.layers.0.self_attn.rotary_emb.inv_freq", "something.else"] {
            index["weight_map"][name] = json!(SHARDS[1]);
        }
    });
    assert!(fixture.reading().unwrap().notes.is_empty());
    let fixture = sharded(|index| index["weight_map"][HEAD] = json!(SHARDS[1]));
    fixture.edit_config(&[("tie_word_embeddings", json!(true))]);
    let rest: Vec<_> = values(&config()).into_iter().filter(|it| it.0 != HEAD && !it.0.contains("mlp")).collect();
    fixture.write(SHARDS[0], serialize(&rest, Dtype::BF16));
    assert!(fixture.load().is_ok(), "the tied head is in no shard");
}

#[test]
fn the_index_decides_between_two_shards() {
    let fixture = sharded(|_| ());
    let mut all = values(&config());
    for tensor in &mut all {
        tensor.2.iter_mut().for_each(|value| *value = 7.0);
    }
    all.retain(|tensor| tensor.0.contains("mlp"));
    let first = values(&config()).into_iter().filter(|tensor| !tensor.0.contains("mlp"));
    all.extend(first);
    fixture.write(SHARDS[0], serialize(&all, Dtype::BF16));
    let (_, weights) = fixture.load().unwrap();
    let up = weights.checkpoint().tensor("model.layers.0.mlp.up_proj.weight").unwrap();
    assert_eq!(up.file.file_name().unwrap(), SHARDS[1]);
}

#[test]
fn a_tensor_in_another_shard_than_the_index_says_is_taken_and_said() {
    let fixture = sharded(|index| index["weight_map"][QUERY] = json!(SHARDS[1]));
    assert!(fixture.load().is_ok());
    let notes = fixture.reading().unwrap().notes;
    assert!(notes.len() == 1 && notes[0].contains(QUERY) && notes[0].contains(SHARDS[1]), "{notes:?}");
    let fixture = Fixture::new();
    fixture.write(INDEX, "{}");
    assert!(fixture.reading().unwrap().notes[0].contains("model.safetensors.index.json is ignored"));
}

#[test]
fn layers_that_the_config_does_not_count_are_counted() {
    assert!(Fixture::new().reading().unwrap().warnings.is_empty());
    let fixture = Fixture::new();
    fixture.edit_tensors(|tensors| {
        for layer in [1, 2, 12] {
            tensors.push((format!("model.layers.{layer}.input_layernorm.weight"), vec![24], vec![1.0; 24]));
        }
        tensors.push(("model.layers.40.self_attn.rotary_emb.inv_freq".to_owned(), vec![1], vec![1.0]));
    });
    let warnings = fixture.reading().unwrap().warnings;
    let expected =
        "3 layers of the file are not used: config.json: num_hidden_layers is 1, the file has layers up to 12";
    assert_eq!(warnings, [expected]);
}

const ADAPTER: &str = r#"{"peft_type": "LORA", "base_model_name_or_path": "some/base", "r": 1}"#;

#[test]
fn an_adapter_alone_is_no_model() {
    let fixture = Fixture::new();
    fixture.remove(WEIGHTS);
    fixture.write("adapter_model.safetensors", serialize(&[], Dtype::F32));
    fixture.refused("A LoRA adapter is not a model", &["a base model that it does not name"]);
    fixture.write("adapter_config.json", ADAPTER);
    fixture.refused("A LoRA adapter is not a model", &["some/base", fixture.path().to_str().unwrap()]);
    fixture.remove("config.json");
    fixture.refused("A LoRA adapter is not a model", &["some/base"]);
    assert!(fixture.load().unwrap_err().to_string().contains("merge_and_unload"));
}

#[test]
fn an_adapter_beside_weights_is_said_not_to_count() {
    let fixture = Fixture::new();
    fixture.write("adapter_config.json", ADAPTER);
    let notes = fixture.reading().unwrap().notes;
    assert!(notes.len() == 1 && notes[0].contains("LoRA adapter beside the weights is not applied"), "{notes:?}");
}
