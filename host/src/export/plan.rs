//! `ExportPlan`: which tensors of a checkpoint become codes, which stay, and what they are called in the new one.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::layout::FileLayout;
use crate::checkpoint::writing::TensorEntry;
use crate::checkpoint::{Checkpoint, StoredTensor};
use crate::device::Format;
use crate::error::{Category, Error, Result};
use crate::models;
use crate::models::spec::{ModelSpec, Tensor};
use crate::quantized::{Recipe, is_one_module};

const WEIGHT: &str = ".weight";
/// The head of a model that is not tied.
const HEAD: &str = "lm_head";

/// What is written: each tensor of the checkpoint once, as it is or as codes.
pub struct ExportPlan {
    pub recipe: Recipe,
    /// In the order of the files.
    pub items: Vec<Item>,
    /// Modules that are not quantized and might be: patterns where a whole tree is not.
    pub excluded: Vec<Excluded>,
    /// Whether the head was the embedding and now has codes of its own.
    pub untied: bool,
    /// Matrices that become codes.
    pub matrices: usize,
    /// Matrices that the recipe's groups do not divide.
    pub left: usize,
    /// Elements of all tensors that are read.
    pub elements: u64,
    /// What the checkpoint's reader noted.
    pub notes: Vec<String>,
}

/// What is written together.
pub enum Item {
    /// A tensor as it is stored.
    Kept { name: String, stored: Arc<StoredTensor> },
    /// Matrices of one module that become codes.
    Coded(Vec<CodedMatrix>),
}

/// A matrix that becomes codes.
#[derive(Clone, Debug)]
pub struct CodedMatrix {
    /// What is read, in its format.
    pub tensor: Tensor,
    /// The name that its tensors begin with in the new file.
    pub module: String,
    /// Its tensors there.
    pub layout: FileLayout,
}

/// What a list of modules that are left alone names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Excluded {
    Module(String),
    /// All modules whose names begin so.
    Tree(String),
}

impl Item {
    /// Its tensors in the new file.
    pub fn entries(&self) -> Vec<TensorEntry> {
        match self {
            Item::Kept { name, stored } => {
                vec![TensorEntry { name: name.clone(), dtype: stored.dtype, shape: stored.shape.clone() }]
            }
            Item::Coded(matrices) => matrices.iter().flat_map(|matrix| matrix.layout.entries(&matrix.module)).collect(),
        }
    }

    fn name(&self) -> &str {
        match self {
            Item::Kept { name, .. } => name,
            Item::Coded(matrices) => &matrices[0].module,
        }
    }
}

impl ExportPlan {
    /// What becomes of `checkpoint`.
    ///
    /// # Errors
    /// The checkpoint can not be used, is quantized already, or has no product that the recipe divides.
    pub fn new(checkpoint: &Checkpoint, recipe: Recipe, head: bool) -> Result<ExportPlan> {
        let models::Reading { mut spec, notes, warnings, .. } = models::read_checkpoint(checkpoint)?;
        refuse_quantized(checkpoint, &mut spec)?;
        let report = models::quantize(&mut spec, recipe, head);
        if report.matrices == 0 {
            return Err(no_matrix(checkpoint, recipe));
        }
        let tied = spec.head.parts[0].name == spec.embedding.name;
        let untied = tied && spec.head.format().is_packed();
        let mut items = coded(&mut spec, recipe, untied);
        let kept = kept(checkpoint, &spec, &items, untied)?;
        let excluded = excluded(&kept, &items, &spec.embedding.name, tied && !untied);
        items.extend(kept.into_iter().map(|(name, stored)| Item::Kept { name, stored }));
        items.sort_by(|one, other| natural(one.name()).cmp(&natural(other.name())));
        let elements = checkpoint.tensors().map(|(_, tensor)| tensor.shape.iter().product::<usize>() as u64).sum();
        let notes = warnings.into_iter().chain(notes).collect();
        Ok(ExportPlan {
            recipe,
            items,
            excluded,
            untied,
            matrices: report.matrices,
            left: report.left,
            elements,
            notes,
        })
    }

    /// Matrices that become codes.
    pub fn coded(&self) -> impl Iterator<Item = &CodedMatrix> {
        let coded = self.items.iter().filter_map(|item| match item {
            Item::Coded(matrices) => Some(matrices),
            Item::Kept { .. } => None,
        });
        coded.flatten()
    }

    /// Bytes of the matrices that become codes, as bf16 and as codes with their scales.
    pub fn matrix_bytes(&self) -> [u64; 2] {
        let before = self.coded().map(|matrix| 2 * matrix.tensor.elements()).sum();
        let entries = self.coded().flat_map(|matrix| matrix.layout.entries(&matrix.module));
        [before, entries.map(|entry| entry.bytes()).sum()]
    }
}

/// The products that have a packed format by now, module by module.
fn coded(spec: &mut ModelSpec, recipe: Recipe, untied: bool) -> Vec<Item> {
    let head = spec.head.parts[0].name.clone();
    let matrix = |tensor: &Tensor| {
        let [rows, columns] = tensor.matrix_shape();
        let own = tensor.name.trim_end_matches(WEIGHT);
        let module = if untied && tensor.name == head { HEAD } else { own };
        CodedMatrix {
            tensor: tensor.clone(),
            module: module.to_owned(),
            layout: FileLayout::new(recipe, rows, columns),
        }
    };
    let packed = spec.products_mut().filter(|product| product.format().is_packed());
    let modules = packed.flat_map(|product| {
        let modules = product.parts.chunk_by(|one, next| is_one_module(&one.name, &next.name));
        modules.map(|parts| Item::Coded(parts.iter().map(matrix).collect())).collect::<Vec<_>>()
    });
    modules.collect()
}

/// All other tensors, by their new names. The embedding stays where the head that it was gets codes of its own.
fn kept(
    checkpoint: &Checkpoint,
    spec: &ModelSpec,
    coded: &[Item],
    untied: bool,
) -> Result<BTreeMap<String, Arc<StoredTensor>>> {
    let embedding = &spec.embedding.name;
    let head = format!("{HEAD}{WEIGHT}");
    let gone: BTreeSet<&str> = coded
        .iter()
        .flat_map(|item| match item {
            Item::Coded(matrices) => matrices.as_slice(),
            Item::Kept { .. } => &[],
        })
        .map(|matrix| matrix.tensor.name.as_str())
        .filter(|name| !untied || name != embedding)
        .collect();
    let mut kept = BTreeMap::new();
    for (name, _) in checkpoint.tensors() {
        let Some(stored) = checkpoint.tensor(name).filter(|_| !gone.contains(name)) else { continue };
        // Of two tied tensors the file may have the head alone, or both.
        if untied && name == head && *embedding != head {
            continue;
        }
        let name = if untied && name == head {
            models::read(checkpoint.config(), None)?.embedding.name
        } else {
            name.to_owned()
        };
        kept.insert(name, stored.clone());
    }
    Ok(kept)
}

/// Modules of two and more dimensions that stay, but for the embedding; what is a tree of such has its root named.
fn excluded(kept: &BTreeMap<String, Arc<StoredTensor>>, coded: &[Item], embedding: &str, tied: bool) -> Vec<Excluded> {
    let root = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    let quantized: BTreeSet<String> = coded.iter().map(|item| root(item.name())).collect();
    let matrices = kept.iter().filter(|(name, stored)| *name != embedding && stored.shape.len() > 1);
    let modules = matrices.filter_map(|(name, _)| name.strip_suffix(WEIGHT));
    let head = tied.then_some(HEAD);
    let mut excluded: Vec<Excluded> = modules
        .chain(head)
        .map(|module| match root(module) {
            root if root != module && !quantized.contains(&root) => Excluded::Tree(root),
            _ => Excluded::Module(module.to_owned()),
        })
        .collect();
    excluded.sort_by(|one, other| natural(one.name()).cmp(&natural(other.name())));
    excluded.dedup();
    excluded
}

impl Excluded {
    /// The name, or what the names begin with.
    pub fn name(&self) -> &str {
        match self {
            Excluded::Module(name) | Excluded::Tree(name) => name,
        }
    }
}

/// A key by which layer 2 comes before layer 10.
fn natural(name: &str) -> Vec<(Option<u64>, &str)> {
    name.split('.').map(|part| (part.parse().ok(), part)).collect()
}

fn refuse_quantized(checkpoint: &Checkpoint, spec: &mut ModelSpec) -> Result<()> {
    let embedding = spec.embedding.clone();
    let parts = spec.products_mut().flat_map(|product| &product.parts).chain([&embedding]);
    let Some(found) = parts.into_iter().find(|part| part.format != Format::Bf16) else { return Ok(()) };
    Err(Error::new(Category::Model, "The checkpoint is quantized already")
        .details(format_args!(
            "{}: {}: expected BF16, found {}",
            checkpoint.directory().display(),
            found.name.trim_end_matches(WEIGHT),
            found.format.name()
        ))
        .hint("name the model's BF16 checkpoint: codes made of codes would lose twice"))
}

fn no_matrix(checkpoint: &Checkpoint, recipe: Recipe) -> Error {
    Error::new(Category::Model, "No weight can be quantized")
        .details(format_args!(
            "{}: no product has a number of columns that the groups of {recipe} divide",
            checkpoint.directory().display()
        ))
        .hint("choose another --format: fp8 and int8 have no groups")
}
