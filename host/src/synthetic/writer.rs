//! Writes safetensors shards from front to back: header, then tensors in pieces, no tensor held whole.
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::path::Path;

use half::bf16;
use serde_json::{Map, json};

use super::values::{Normal, stream};
use super::weights::{DEVIATION, ones};
use super::{Summary, io_error, whole, write_json};
use crate::error::Result;
use crate::models::spec::{ModelSpec, Tensor};

/// A shard is closed when it holds this many bytes.
const SHARD_BYTES: u64 = 5_000_000_000;
/// Elements made and written at a time.
const PIECE: usize = 1 << 24;

/// Writes every tensor of `spec` once, and the index where there are several shards.
pub fn write(spec: &ModelSpec, seed: u64, directory: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Summary> {
    let mut seen = HashSet::new();
    let tensors: Vec<&Tensor> = spec.tensors().into_iter().filter(|tensor| seen.insert(&tensor.name)).collect();
    let shards = shards(&tensors);
    let total: u64 = tensors.iter().map(|tensor| bytes(tensor)).sum();
    let mut writer = Writer { seed, ones: ones(spec), done: 0, total, progress };
    let mut index = BTreeMap::new();
    for (number, shard) in shards.iter().enumerate() {
        let name = match shards.len() {
            1 => "model.safetensors".to_string(),
            count => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
        };
        writer.shard(&directory.join(&name), shard)?;
        index.extend(shard.iter().map(|tensor| (tensor.name.clone(), name.clone())));
    }
    if shards.len() > 1 {
        let index = json!({ "metadata": { "total_size": total }, "weight_map": index });
        write_json(&directory.join("model.safetensors.index.json"), &index)?;
    }
    Ok(Summary { tensors: tensors.len(), bytes: total, shards: shards.len() })
}

fn bytes(tensor: &Tensor) -> u64 {
    tensor.shape.iter().map(|&size| size as u64).product::<u64>() * 2
}

fn shards<'a>(tensors: &[&'a Tensor]) -> Vec<Vec<&'a Tensor>> {
    let mut shards = vec![Vec::new()];
    let mut size = 0;
    for &tensor in tensors {
        if size > 0 && size + bytes(tensor) > SHARD_BYTES {
            shards.push(Vec::new());
            size = 0;
        }
        size += bytes(tensor);
        shards.last_mut().expect("there is a shard").push(tensor);
    }
    shards
}

struct Writer<'a> {
    seed: u64,
    ones: HashSet<String>,
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl Writer<'_> {
    fn shard(&mut self, path: &Path, tensors: &[&Tensor]) -> Result<()> {
        whole(path, |file| self.tensors(file, path, tensors))
    }

    fn tensors(&mut self, file: &mut File, path: &Path, tensors: &[&Tensor]) -> Result<()> {
        file.write_all(&header(tensors)).map_err(|error| io_error(path, &error))?;
        let (around_zero, around_one) = (Normal::new(0.0, DEVIATION), Normal::new(1.0, DEVIATION));
        let mut piece = vec![bf16::ZERO; PIECE];
        for tensor in tensors {
            let normal = if self.ones.contains(&tensor.name) { &around_one } else { &around_zero };
            let stream = stream(self.seed, &tensor.name);
            let elements = (bytes(tensor) / 2) as usize;
            for first in (0..elements).step_by(PIECE) {
                let values = &mut piece[..PIECE.min(elements - first)];
                normal.fill(stream, first, values);
                file.write_all(bytemuck::cast_slice(values)).map_err(|error| io_error(path, &error))?;
                self.done += values.len() as u64 * 2;
                (self.progress)(self.done, self.total);
            }
        }
        Ok(())
    }
}

/// Length and JSON of the header, padded so that the tensors start at a multiple of 8 bytes.
fn header(tensors: &[&Tensor]) -> Vec<u8> {
    let mut entries = Map::new();
    let mut offset = 0;
    for tensor in tensors {
        let end = offset + bytes(tensor);
        entries.insert(
            tensor.name.clone(),
            json!({ "dtype": "BF16", "shape": tensor.shape, "data_offsets": [offset, end] }),
        );
        offset = end;
    }
    let mut json = serde_json::to_vec(&entries).expect("a JSON value has a text");
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend(json);
    header
}
