//! Writes safetensors shards from front to back: header, then tensors in pieces, no tensor held whole.
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Summary;
use super::values::{Normal, stream};
use super::weights::{DEVIATION, ones};
use crate::checkpoint::Dtype;
use crate::checkpoint::writing::{self, SHARD_BYTES, TensorEntry, io_error, whole};
use crate::error::Result;
use crate::models::spec::{ModelSpec, Tensor};
use half::bf16;

/// Elements made and written at a time.
const PIECE: usize = 1 << 24;

/// Writes every tensor of `spec` once, and the index where there are several shards; none where `interrupt` was set before
/// the end.
pub fn write(
    spec: &ModelSpec,
    seed: u64,
    directory: &Path,
    interrupt: &AtomicBool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Option<Summary>> {
    let mut seen = HashSet::new();
    let tensors: Vec<&Tensor> = spec.tensors().into_iter().filter(|tensor| seen.insert(&tensor.name)).collect();
    let shards = shards(&tensors);
    let total: u64 = tensors.iter().map(|tensor| bytes(tensor)).sum();
    let mut writer = Writer { seed, ones: ones(spec), done: 0, total, interrupt, progress };
    let mut index = BTreeMap::new();
    for (number, shard) in shards.iter().enumerate() {
        let name = writing::shard_name(number, shards.len());
        if !writer.shard(&directory.join(&name), shard)? {
            return Ok(None);
        }
        index.extend(shard.iter().map(|tensor| (tensor.name.clone(), name.clone())));
    }
    if shards.len() > 1 {
        writing::index(directory, &index, total)?;
    }
    Ok(Some(Summary { tensors: tensors.len(), bytes: total, shards: shards.len() }))
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
    interrupt: &'a AtomicBool,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl Writer<'_> {
    /// Whether nobody interrupted it.
    fn shard(&mut self, path: &Path, tensors: &[&Tensor]) -> Result<bool> {
        whole(path, |file| self.tensors(file, path, tensors))
    }

    fn tensors(&mut self, file: &mut File, path: &Path, tensors: &[&Tensor]) -> Result<bool> {
        let entry = |tensor: &&Tensor| TensorEntry {
            name: tensor.name.clone(),
            dtype: Dtype::BF16,
            shape: tensor.shape.clone(),
        };
        let entries: Vec<TensorEntry> = tensors.iter().map(entry).collect();
        file.write_all(&writing::header(&entries)).map_err(|error| io_error(path, &error))?;
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
                if self.interrupt.load(Ordering::Relaxed) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}
