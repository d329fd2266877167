//! What config.json and hf_quant_config.json say of codes, in the words of ModelOpt and of compressed-tensors.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::plan::{Excluded, ExportPlan};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::writing;
use crate::error::{Category, Error, Result};
use crate::files;
use crate::quantized::Recipe;

/// What every checkpoint has.
pub const CONFIG: &str = "config.json";
const BESIDE: &str = "hf_quant_config.json";

/// Sections of older tools, which say nothing of the new weights.
const OLD_SECTIONS: [&str; 2] = ["compression_config", "quantization"];

/// Writes config.json, and for ModelOpt's formats hf_quant_config.json.
///
/// # Errors
/// The old config.json can not be read any more, or a file not written.
pub fn write(checkpoint: &Checkpoint, plan: &ExportPlan, directory: &Path) -> Result<()> {
    let path = checkpoint.directory().join(CONFIG);
    let bytes = files::read(&path)?.unwrap_or_default();
    let mut config = files::parse_to_write(&bytes).map_err(|error| changed(&path, &error))?;
    let object = config.as_object_mut().ok_or_else(|| changed(&path, &"it is no object any more"))?;
    OLD_SECTIONS.iter().for_each(|name| _ = object.shift_remove(*name));
    object.insert("quantization_config".to_owned(), section(plan));
    if plan.untied {
        object.insert("tie_word_embeddings".to_owned(), false.into());
    }
    let new = directory.join(CONFIG);
    fs::write(&new, files::text(&config)).map_err(|error| writing::io_error(&new, &error))?;
    match beside(plan) {
        Some(file) => writing::json(&directory.join(BESIDE), &file),
        None => Ok(()),
    }
}

fn changed(path: &Path, what: &dyn std::fmt::Display) -> Error {
    Error::new(Category::Model, "config.json has changed")
        .details(format_args!("{}: {what}", path.display()))
        .hint("do not change the checkpoint while it is read")
}

/// The section `quantization_config`.
fn section(plan: &ExportPlan) -> Value {
    let listed = |excluded: &Excluded| match excluded {
        Excluded::Tree(root) => tree(plan.recipe, root),
        Excluded::Module(name) => name.clone(),
    };
    let mut ignore: Vec<String> = plan.excluded.iter().map(listed).collect();
    if algorithm(plan.recipe).is_none() {
        ignore = folded(&ignore, &plan.coded().filter_map(|matrix| kin(&matrix.module)).collect());
    }
    match algorithm(plan.recipe) {
        Some(algorithm) => json!({
            "config_groups": { "group_0": modelopt_group(plan.recipe) },
            "ignore": ignore,
            "quant_algo": algorithm,
            "producer": producer(),
            "quant_method": "modelopt",
        }),
        None => compressed_tensors(plan, &ignore),
    }
}

/// All modules within a tree, as the readers of a format have patterns.
fn tree(recipe: Recipe, root: &str) -> String {
    if algorithm(recipe).is_some() { format!("{root}*") } else { format!("re:{root}.*") }
}

/// ModelOpt's word; none for what it does not write.
fn algorithm(recipe: Recipe) -> Option<&'static str> {
    match recipe {
        Recipe::Fp8 => Some("FP8"),
        Recipe::Nvfp4 => Some("W4A16_NVFP4"),
        Recipe::Int8 | Recipe::Int4 => None,
    }
}

/// The exporter that readers know these files by, in the version whose layout they have.
fn producer() -> Value {
    json!({ "name": "modelopt", "version": "0.47.0" })
}

fn modelopt_group(recipe: Recipe) -> Value {
    match recipe {
        Recipe::Nvfp4 => json!({
            "weights": { "dynamic": false, "num_bits": 4, "type": "float", "group_size": 16 },
            "targets": ["Linear"],
        }),
        _ => json!({
            "input_activations": { "dynamic": false, "num_bits": 8, "type": "float" },
            "weights": { "dynamic": false, "num_bits": 8, "type": "float" },
            "targets": ["Linear"],
        }),
    }
}

/// hf_quant_config.json.
fn beside(plan: &ExportPlan) -> Option<Value> {
    let section = section(plan);
    let mut quantization = json!({ "quant_algo": algorithm(plan.recipe)?, "kv_cache_quant_algo": null });
    if plan.recipe == Recipe::Nvfp4 {
        quantization["group_size"] = 16.into();
    }
    quantization["exclude_modules"] = section["ignore"].clone();
    Some(json!({ "producer": producer(), "quantization": quantization }))
}

fn compressed_tensors(plan: &ExportPlan, ignore: &[String]) -> Value {
    let (format, groups) = match plan.recipe {
        Recipe::Int8 => ("int-quantized", vec![integers(8, None, vec!["Linear".to_owned()])]),
        _ => ("pack-quantized", four_bits(plan)),
    };
    let named = groups.into_iter().enumerate().map(|(number, mut group)| {
        group["format"] = format.into();
        (format!("group_{number}"), group)
    });
    json!({
        "config_groups": named.collect::<serde_json::Map<_, _>>(),
        "format": format,
        "global_compression_ratio": null,
        "ignore": ignore,
        "kv_cache_scheme": null,
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
        "sparsity_config": {},
        "transform_config": {},
        "version": "0.20.1",
    })
}

/// The pattern of the modules that have a module's place in every layer, whatever the tree of layers is called: transformers calls
/// a hybrid's `model` that files call `backbone`. None of what is in no tree.
fn kin(module: &str) -> Option<String> {
    let (_, path) = module.split_once('.').filter(|_| !module.starts_with("re:"))?;
    let part = |part: &str| if part.parse::<usize>().is_ok() { r"\d+".to_owned() } else { part.to_owned() };
    let parts: Vec<String> = path.split('.').map(part).collect();
    Some(format!(r"re:.*\.{}$", parts.join(r"\.")))
}

/// Names, and one pattern in place of all that it stands for where none of `others` is among those.
fn folded(modules: &[String], others: &BTreeSet<String>) -> Vec<String> {
    let (mut listed, mut seen) = (Vec::new(), BTreeSet::new());
    for module in modules {
        let name = kin(module).filter(|kin| !others.contains(kin)).unwrap_or_else(|| module.clone());
        if seen.insert(name.clone()) {
            listed.push(name);
        }
    }
    listed
}

/// A group for each size of groups: the one that most matrices have stands for all, and comes last; others name theirs.
fn four_bits(plan: &ExportPlan) -> Vec<Value> {
    let mut sizes: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for matrix in plan.coded() {
        sizes.entry(matrix.layout.group()).or_default().push(matrix.module.clone());
    }
    let mut sizes: Vec<_> = sizes.into_iter().collect();
    sizes.sort_by_key(|(_, modules)| modules.len());
    let kins = |number: usize| {
        let others = sizes.iter().enumerate().filter(move |(other, _)| *other != number);
        others.flat_map(|(_, (_, modules))| modules).filter_map(|module| kin(module)).collect()
    };
    let target = |(number, (size, modules)): (usize, &(usize, Vec<String>))| {
        let named = if number + 1 == sizes.len() { vec!["Linear".to_owned()] } else { folded(modules, &kins(number)) };
        integers(4, Some(*size), named)
    };
    sizes.iter().enumerate().map(target).collect()
}

/// What a group says: of 4 bits that inputs stay, of 8 that they become codes token by token, as in every such file.
fn integers(bits: u64, group: Option<usize>, targets: Vec<String>) -> Value {
    let arguments = |dynamic: bool, strategy: &str| {
        json!({
            "actorder": null, "block_structure": null, "dynamic": dynamic, "group_size": group, "num_bits": bits,
            "observer": if dynamic { Value::Null } else { "minmax".into() }, "observer_kwargs": {},
            "strategy": strategy, "symmetric": true, "type": "int",
        })
    };
    let inputs = if bits == 8 { arguments(true, "token") } else { Value::Null };
    json!({
        "input_activations": inputs,
        "output_activations": null,
        "targets": targets,
        "weights": arguments(false, if group.is_some() { "group" } else { "channel" }),
    })
}
