//! What is written is what loading makes, to the bit, for every family and format.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;
use crate::device::{Weight, WeightPart};
use crate::models;
use crate::models::spec::{ModelSpec, Tensor};

const RECIPES: [Recipe; 4] = [Recipe::Fp8, Recipe::Int8, Recipe::Int4, Recipe::Nvfp4];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

fn open(path: &Path) -> (ModelSpec, Weights) {
    let checkpoint = Checkpoint::open(text(path)).unwrap_or_else(|error| panic!("{error}"));
    let spec = models::read_checkpoint(&checkpoint).unwrap_or_else(|error| panic!("{error}")).spec;
    (spec, Weights::new(checkpoint))
}

/// Writes `model` into a new directory.
fn written(model: &Path, options: ExportOptions) -> (tempfile::TempDir, PathBuf, Written) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let out = folder.path().join("out");
    let mut last = 0;
    let mut progress = |done, all| {
        assert!(done > last && done <= all);
        last = done;
    };
    let written = write(text(model), &out, options, &AtomicBool::new(false), &mut progress);
    let written = written.unwrap_or_else(|error| panic!("{}: {error}", model.display()));
    (folder, out, written.expect("nobody interrupts it"))
}

fn bytes(part: &WeightPart) -> Vec<u8> {
    let mut bytes = vec![0; part.rows() * part.copied_bytes_of_row()];
    part.copy_rows(0..part.rows(), &mut bytes).expect("the file is there");
    bytes
}

/// Codes and scales of every product, and the bytes of every other tensor.
fn everything(spec: &mut ModelSpec, weights: &Weights) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut add = |name: &str, weight: &Weight| {
        for part in weight.parts() {
            let scales = part.scales().map(bytes).unwrap_or_default();
            all.push((format!("{name} {:?}", part.format()), [bytes(part), scales].concat()));
        }
    };
    let products: Vec<Vec<Tensor>> = spec.products_mut().map(|product| product.parts.clone()).collect();
    let others = spec
        .tensors()
        .into_iter()
        .filter(|it| it.name != spec.embedding.name)
        .filter(|tensor| !products.iter().flatten().any(|part| part.name == tensor.name));
    for tensor in [&spec.embedding].into_iter().chain(others) {
        add("tensor", &weights.parts(std::slice::from_ref(tensor)).expect("it is there"));
    }
    for parts in products {
        add("product", &weights.parts(&parts).expect("they are there"));
    }
    all
}

/// Checks that `model`, written and read, is `model` quantized while it loads.
fn check(model: &Path, options: ExportOptions) -> (tempfile::TempDir, PathBuf, Written) {
    let (folder, out, written) = written(model, options);
    let (mut loaded, weights) = open(model);
    let report = models::quantize(&mut loaded, options.recipe, options.head);
    let (mut read, new_weights) = open(&out);
    let what = format!("{}, {}", model.display(), options.recipe);
    assert_eq!((report.matrices, report.left), (written.matrices, written.left), "{what}");
    let [wanted, found] = [everything(&mut loaded, &weights), everything(&mut read, &new_weights)];
    assert_eq!(wanted.len(), found.len(), "{what}");
    for (wanted, found) in wanted.iter().zip(&found) {
        assert!(wanted == found, "{what}: {} is not {}", found.0, wanted.0);
    }
    assert_eq!(new_weights.unused(&read), weights.unused(&loaded), "{what}");
    assert_eq!(new_weights.checkpoint().bytes(), written.bytes, "{what}");
    (folder, out, written)
}

#[test]
fn written_and_read_is_quantized_on_loading_to_the_bit() {
    // Dense with a gate and without, experts, latent experts, a state space, linear layers in place of blocks, biases.
    for name in ["llama", "nemotron", "nemotron_h_moe", "nemotron_h_latent", "deci", "llama_biases", "odd_vocab"] {
        for recipe in RECIPES {
            check(&golden(name), ExportOptions::new(recipe));
        }
    }
}

#[test]
fn a_head_has_codes_where_that_is_asked_for() {
    for recipe in RECIPES {
        for name in ["mistral", "nemotron_h"] {
            check(&golden(name), ExportOptions { head: true, ..ExportOptions::new(recipe) });
        }
    }
}

#[test]
fn a_tied_head_gets_codes_of_its_own_or_stays() {
    for absent in ["lm_head.weight", "model.embed_tokens.weight"] {
        let model = tied(absent);
        for recipe in RECIPES {
            let (_folder, out, _) = check(model.path(), ExportOptions::new(recipe));
            assert_eq!(config_of(&out)["tie_word_embeddings"], true);
            let (_folder, out, written) =
                check(model.path(), ExportOptions { head: true, ..ExportOptions::new(recipe) });
            assert_eq!(config_of(&out)["tie_word_embeddings"], false);
            let (spec, weights) = open(&out);
            assert_eq!(
                (&*spec.embedding.name, &*spec.head.parts[0].name),
                ("model.embed_tokens.weight", "lm_head.weight")
            );
            assert!(weights.checkpoint().notes().is_empty() && written.notes.len() <= 1, "{:?}", written.notes);
        }
    }
}

/// A model whose head is the embedding, which is not stored by the name `absent`.
fn tied(absent: &str) -> tempfile::TempDir {
    let (folder, model) = (tempfile::tempdir().expect("a temporary directory"), golden("llama"));
    let mut config = config_of(&model);
    config["tie_word_embeddings"] = true.into();
    fs::write(folder.path().join("config.json"), config.to_string()).expect("it can be written");
    let file = fs::read(model.join("model.safetensors")).expect("it is there");
    let tensors = safetensors::SafeTensors::deserialize(&file).expect("a valid file");
    let kept = tensors.iter().filter(|(tensor, _)| *tensor != absent);
    let bytes = safetensors::serialize(kept, None).expect("they can be written");
    fs::write(folder.path().join("model.safetensors"), bytes).expect("it can be written");
    folder
}

fn config_of(directory: &Path) -> Value {
    serde_json::from_slice(&fs::read(directory.join("config.json")).expect("it is there")).expect("it is JSON")
}

/// Numbers of the file itself, read by the safetensors library alone.
fn stored(out: &Path, name: &str) -> (String, Vec<usize>, Vec<u8>) {
    let file = fs::read(out.join("model.safetensors")).expect("it is there");
    let tensors = safetensors::SafeTensors::deserialize(&file).expect("a valid file");
    let tensor = tensors.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    (tensor.dtype().to_string(), tensor.shape().to_vec(), tensor.data().to_vec())
}

fn scalar(out: &Path, name: &str) -> f32 {
    let (dtype, shape, data) = stored(out, name);
    assert_eq!((&*dtype, &*shape), ("F32", &[][..]), "{name}");
    f32::from_le_bytes(data.try_into().expect("one number"))
}

/// The largest magnitude of a BF16 tensor.
fn largest(model: &Path, name: &str) -> f32 {
    let (_, _, data) = stored(model, name);
    let values = data.as_chunks::<2>().0.iter().map(|bytes| half::bf16::from_le_bytes(*bytes).to_f32().abs());
    values.fold(0.0, f32::max)
}

#[test]
fn scales_are_those_of_modelopt() {
    let model = golden("llama");
    let layer = "model.layers.0";
    let (_folder, out, _) = written(&model, ExportOptions::new(Recipe::Fp8));
    for module in ["self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj"] {
        let name = format!("{layer}.{module}.weight");
        assert_eq!(scalar(&out, &format!("{name}_scale")), largest(&model, &name) / 448.0, "{name}");
        assert_eq!(scalar(&out, &format!("{layer}.{module}.input_scale")), 1.0);
    }
    let (_folder, out, _) = written(&model, ExportOptions::new(Recipe::Nvfp4));
    for group in [&["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"][..], &["mlp.gate_proj", "mlp.up_proj"]]
    {
        let names: Vec<String> = group.iter().map(|module| format!("{layer}.{module}.weight")).collect();
        let shared = names.iter().map(|name| largest(&model, name)).fold(0.0, f32::max);
        for name in &names {
            assert_eq!(scalar(&out, &format!("{name}_scale_2")), shared / 2688.0, "{name}");
        }
    }
    let (dtype, shape, _) = stored(&out, "model.layers.0.mlp.down_proj.weight_scale");
    assert_eq!((&*dtype, &*shape), ("F8_E4M3", &[128, 20][..]));
}

#[test]
fn configurations_say_what_the_exporters_say() {
    let said = |recipe| {
        let (_folder, out, _) = written(&golden("llama"), ExportOptions::new(recipe));
        let beside = fs::read(out.join("hf_quant_config.json")).ok();
        (config_of(&out)["quantization_config"].clone(), beside.map(|it| serde_json::from_slice::<Value>(&it).unwrap()))
    };
    let of_golden = |name: &str| config_of(&golden(name))["quantization_config"].clone();
    let (section, beside) = said(Recipe::Fp8);
    assert_eq!(section, of_golden("nemotron_fp8"));
    let fp8 = fs::read(golden("nemotron_fp8").join("hf_quant_config.json")).unwrap();
    assert_eq!(beside, Some(serde_json::from_slice(&fp8).unwrap()));
    let (section, beside) = said(Recipe::Nvfp4);
    assert_eq!((&section["quant_algo"], &section["ignore"]), (&json!("W4A16_NVFP4"), &json!(["lm_head"])));
    assert_eq!(beside.unwrap()["quantization"]["group_size"], 16);
    for (recipe, format) in [(Recipe::Int8, "int-quantized"), (Recipe::Int4, "pack-quantized")] {
        let (section, beside) = said(recipe);
        assert_eq!((&section["quant_method"], &section["format"]), (&json!("compressed-tensors"), &json!(format)));
        assert_eq!((&section["ignore"], beside), (&json!(["lm_head"]), None));
    }
}

#[test]
fn modules_that_stay_are_named_and_trees_by_their_root() {
    let (_folder, out, _) = written(&golden("nemotron_h_latent"), ExportOptions::new(Recipe::Nvfp4));
    let ignore: Vec<String> = serde_json::from_value(config_of(&out)["quantization_config"]["ignore"].clone()).unwrap();
    for name in ["backbone.layers.0.mixer.conv1d", "backbone.layers.1.mixer.gate", "lm_head", "mtp*"] {
        assert!(ignore.iter().any(|it| it == name), "{name} is not in {ignore:?}");
    }
    assert!(
        !ignore.iter().any(|it| it.contains("in_proj") || it.contains("embed") || it.starts_with("mtp.")),
        "{ignore:?}"
    );
}

#[test]
fn shards_are_bounded_and_indexed() {
    let options = ExportOptions { shard_bytes: 200_000, ..ExportOptions::new(Recipe::Int4) };
    let (_folder, out, written) = check(&golden("nemotron_h_moe"), options);
    assert!(written.shards > 2);
    let index: Value = serde_json::from_slice(&fs::read(out.join("model.safetensors.index.json")).unwrap()).unwrap();
    let map: BTreeMap<String, String> = serde_json::from_value(index["weight_map"].clone()).unwrap();
    for (name, shard) in &map {
        let scale = name.replace(".weight_packed", ".weight_scale");
        assert_eq!(&map[&scale], shard, "scales lie where codes are");
    }
    let sizes = map.values().map(|shard| fs::metadata(out.join(shard)).unwrap().len());
    assert!(sizes.max().unwrap() < 230_000 && index["metadata"]["total_size"] == written.bytes);
}

#[test]
fn what_is_interrupted_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (interrupt, mut seen) = (AtomicBool::new(false), false);
    let mut progress = |_, _| {
        // Here a run of another process would be refused.
        seen |= folder.path().join("out.partial").is_dir() && !folder.path().join("out").exists();
        interrupt.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    let model = golden("nemotron_h_moe");
    let options = ExportOptions::new(Recipe::Nvfp4);
    let written = write(text(&model), &folder.path().join("out"), options, &interrupt, &mut progress);
    assert!(written.expect("no error").is_none() && seen);
    assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 0);
}

/// Names count before classes wherever the group stands, but readers may go by the order; transformers' modules of a hybrid begin with `model`.
#[test]
fn groups_of_another_size_are_named_by_patterns_and_come_first() {
    let (_folder, out, _) = written(&golden("nemotron_h_latent"), ExportOptions::new(Recipe::Int4));
    let section = config_of(&out)["quantization_config"].clone();
    let groups: Vec<&Value> = section["config_groups"].as_object().unwrap().values().collect();
    let targets: Vec<&Value> = groups.iter().map(|group| &group["targets"]).collect();
    assert_eq!(targets.last(), Some(&&json!(["Linear"])), "{targets:?}");
    let list = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap() };
    assert!(list(targets[0]).iter().any(|it| it == r"re:.*\.layers\.\d+\.mixer\.q_proj$"), "{targets:?}");
    let ignore = list(&section["ignore"]);
    for name in
        [r"re:.*\.layers\.\d+\.mixer\.fc2_latent_proj$", r"re:.*\.layers\.\d+\.mixer\.gate$", "lm_head", "re:mtp.*"]
    {
        assert!(ignore.iter().any(|it| it == name), "{name} is not in {ignore:?}");
    }
}
