//! A checkpoint's files: config, shards, and tensors by name, as their bytes or as bf16.
mod adapter;
pub mod destination;
mod environment;
mod header;
mod locate;
mod narrow;
mod shards;
pub mod shrunk;
pub mod writing;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
pub use narrow::Elements;
pub use safetensors::Dtype;
use serde_json::Value;

use narrow::Convert;
use shards::WeightFiles;

use crate::error::{Category, Error, Result};
use crate::files;

/// Files beside config.json that may say how the weights are quantized.
pub const QUANTIZATION_FILES: [&str; 3] = ["hf_quant_config.json", "quantize_config.json", "quant_config.json"];

/// An opened checkpoint: every header is read and checked; the tensors' bytes stay in the mapped files.
#[derive(Debug)]
pub struct Checkpoint {
    directory: PathBuf,
    config: Value,
    generation_config: Option<Value>,
    quantization_files: BTreeMap<&'static str, Value>,
    tensors: BTreeMap<String, Arc<StoredTensor>>,
    absent: BTreeMap<String, PathBuf>,
    notes: Vec<String>,
}

/// A tensor as it stands in its file.
#[derive(Debug)]
pub struct StoredTensor {
    /// The file, one for all tensors of a shard.
    pub file: Arc<Path>,
    /// Type of its elements on disk.
    pub dtype: Dtype,
    /// Its shape; shape and dtype account for exactly the bytes that the file has for it.
    pub shape: Vec<usize>,
    data: Bytes,
    /// The file again, to be read, and where in it the bytes start.
    place: (Arc<File>, u64),
    bf16: OnceLock<Bytes>,
}

/// The directory of `model`: that directory, or a snapshot of `org/name` in Hugging Face's cache.
///
/// # Errors
/// There is neither.
pub fn directory(model: &str) -> Result<PathBuf> {
    locate::directory(model, hub_cache().as_deref(), &mut Vec::new())
}

impl Checkpoint {
    /// Opens a directory, or `org/name` from Hugging Face's cache, or a revision of that as `org/name@revision`; a
    /// directory that holds a model wins.
    ///
    /// # Errors
    /// Nothing is there, config.json or weights are missing, or a file is not what it should be.
    pub fn open(model: &str) -> Result<Checkpoint> {
        Checkpoint::open_with_cache(model, hub_cache().as_deref())
    }

    /// As [`Checkpoint::open`], with Hugging Face's cache (the folder `hub`) at `cache`, or with none.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_with_cache(model: &str, cache: Option<&Path>) -> Result<Checkpoint> {
        let mut notes = Vec::new();
        let directory = locate::directory(model, cache, &mut notes)?;
        let adapter = adapter::find(&directory)?;
        let alone = |adapter: Option<&adapter::Adapter>| adapter.map(|adapter| adapter.alone(&directory));
        let Some(config) = files::json(&directory.join("config.json"))? else {
            return Err(alone(adapter.as_ref()).unwrap_or_else(|| no_config(&directory)));
        };
        let Some(weights) = shards::find(&directory, &mut notes)? else {
            return Err(alone(adapter.as_ref()).unwrap_or_else(|| shards::no_weights(&directory)));
        };
        notes.extend(adapter.map(|adapter| adapter.note()));
        let generation_config = files::json(&directory.join("generation_config.json"))?;
        let mut quantization_files = BTreeMap::new();
        for name in QUANTIZATION_FILES {
            quantization_files.extend(files::json(&directory.join(name))?.map(|file| (name, file)));
        }
        let mut tensors = BTreeMap::new();
        for file in &weights.files {
            add_file(&mut tensors, file, &weights)?;
        }
        let absent = weights.compare(&tensors, &mut notes);
        Ok(Checkpoint { directory, config, generation_config, quantization_files, tensors, absent, notes })
    }

    /// The directory that the files are in.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// config.json: a JSON object.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// generation_config.json, where there is one: a JSON object.
    pub fn generation_config(&self) -> Option<&Value> {
        self.generation_config.as_ref()
    }

    /// What was ignored, for the checkpoint's owner.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// A file beside config.json that may say how the weights are quantized: a JSON object.
    pub fn quantization_file(&self, name: &str) -> Option<&Value> {
        self.quantization_files.get(name)
    }

    /// The shard that the index names for a tensor that is in none.
    pub fn absent(&self, name: &str) -> Option<&Path> {
        self.absent.get(name).map(PathBuf::as_path)
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&Arc<StoredTensor>> {
        self.tensors.get(name)
    }

    /// All tensors, by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &StoredTensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), &**tensor))
    }

    /// Bytes of all tensors on disk.
    pub fn bytes(&self) -> u64 {
        self.tensors.values().map(|tensor| tensor.data.len() as u64).sum()
    }
}

impl StoredTensor {
    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.data.len() as u64
    }

    /// The bytes on disk.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The bytes on disk, to be kept.
    pub fn bytes_of_data(&self) -> Bytes {
        self.data.clone()
    }

    /// Whether its elements are plain numbers that become bf16.
    pub fn is_plain(&self) -> bool {
        matches!(self.dtype, Dtype::BF16 | Dtype::F16 | Dtype::F32)
    }

    /// The open file, and where in it the bytes start.
    pub fn place(&self) -> (Arc<File>, u64) {
        self.place.clone()
    }

    /// The elements, as they become bf16; none where the type on disk is not BF16, F16 or F32.
    pub fn elements(&self) -> Option<StoredElements> {
        let (element_bytes, convert): (usize, Convert) = match self.dtype {
            Dtype::BF16 if self.data.as_ptr().cast::<u16>().is_aligned() => {
                return Some(StoredElements::InPlace(self.data.clone()));
            }
            Dtype::BF16 => (2, narrow::aligned),
            Dtype::F16 => (2, narrow::from_f16),
            Dtype::F32 => (4, narrow::from_f32),
            _ => return None,
        };
        Some(StoredElements::Converted { data: self.data.clone(), element_bytes, convert })
    }

    /// The elements, as they become f32 without a change of value; none as for [`StoredTensor::elements`].
    pub fn exact_elements(&self) -> Option<StoredElements> {
        let (element_bytes, convert): (usize, Convert) = match self.dtype {
            Dtype::F32 if self.data.as_ptr().cast::<f32>().is_aligned() => {
                return Some(StoredElements::InPlace(self.data.clone()));
            }
            Dtype::F32 => (4, narrow::aligned),
            Dtype::F16 => (2, narrow::widen_f16),
            Dtype::BF16 => (2, narrow::widen_bf16),
            _ => return None,
        };
        Some(StoredElements::Converted { data: self.data.clone(), element_bytes, convert })
    }

    /// The elements as bf16, aligned to 2 bytes; none where the type on disk is not BF16, F16 or F32.
    ///
    /// Aligned BF16 stays where it is, in the mapped file. Anything else is converted the first time it is asked for
    /// and kept for the next, such as the head that is tied to the embedding.
    pub fn bf16(&self) -> Option<Bytes> {
        Some(match self.elements()? {
            StoredElements::InPlace(data) => data,
            StoredElements::Converted { data, element_bytes, convert } => {
                self.bf16.get_or_init(|| narrow::whole::<half::bf16>(&data, element_bytes, convert)).clone()
            }
        })
    }

    /// The elements as f32, aligned to 4 bytes, without a change of value; none where the type on disk is not BF16, F16 or F32.
    pub fn f32(&self) -> Option<Bytes> {
        Some(match self.exact_elements()? {
            StoredElements::InPlace(data) => data,
            StoredElements::Converted { data, element_bytes, convert } => {
                narrow::whole::<f32>(&data, element_bytes, convert)
            }
        })
    }
}

/// Elements on disk.
pub enum StoredElements {
    /// Of the wanted type, aligned.
    InPlace(Bytes),
    /// What is converted or moved to become that.
    Converted {
        /// The elements' bytes.
        data: Bytes,
        /// Bytes of one.
        element_bytes: usize,
        /// Makes elements of the wanted type of the bytes of as many.
        convert: Convert,
    },
}

/// Hugging Face's cache of whoever runs this program.
fn hub_cache() -> Option<PathBuf> {
    environment::hub_cache(|name| std::env::var_os(name), environment::home_of)
}

fn no_config(directory: &Path) -> Error {
    Error::new(Category::Model, "config.json not found")
        .details(format_args!("{} has no config.json", directory.display()))
        .hint("name the directory that holds the model's config.json, model.safetensors and tokenizer.json")
}

fn add_file(tensors: &mut BTreeMap<String, Arc<StoredTensor>>, path: &Path, weights: &WeightFiles) -> Result<()> {
    let (open, bytes) = header::map(path)?;
    let (open, file): (Arc<File>, Arc<Path>) = (open.into(), path.into());
    for (name, info) in header::read(path, &bytes)? {
        let (start, end) = info.data_offsets;
        let (data, place, bf16) = (bytes.slice(start..end), (open.clone(), start as u64), OnceLock::new());
        let tensor = StoredTensor { file: file.clone(), dtype: info.dtype, shape: info.shape, data, place, bf16 };
        match tensors.entry(name) {
            Entry::Vacant(entry) => _ = entry.insert(Arc::new(tensor)),
            Entry::Occupied(mut entry) => {
                if weights.choose(entry.key(), &entry.get().file, path)? == path {
                    entry.insert(Arc::new(tensor));
                }
            }
        }
    }
    Ok(())
}
