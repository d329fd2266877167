//! `Shards`: the files of weights, a few pieces of a tensor in memory at a time.
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::layout::Rows;
use super::plan::{CodedMatrix, ExportPlan, Item};
use crate::checkpoint::StoredTensor;
use crate::checkpoint::writing::{self, TensorEntry};
use crate::device::WeightPart;
use crate::error::Result;
use crate::models::spec::Tensor;
use crate::quantized;
use crate::weights::Weights;

/// Bytes that are copied at a time.
const PIECE: usize = 1 << 24;
/// Elements of rows that one task makes codes of, and tasks whose results are written together.
const TASK: usize = 1 << 20;
const TASKS: usize = 16;

/// What each file holds.
pub struct Shards<'a> {
    shards: Vec<Vec<&'a Item>>,
    /// Bytes of all tensors.
    pub total: u64,
}

impl<'a> Shards<'a> {
    /// Shards of at most `most` bytes, or of one item; the scales of a matrix are where its codes are.
    pub fn of(plan: &'a ExportPlan, most: u64) -> Shards<'a> {
        let (mut shards, mut size, mut total) = (vec![Vec::new()], 0, 0);
        for item in &plan.items {
            let bytes: u64 = item.entries().iter().map(TensorEntry::bytes).sum();
            if size > 0 && size + bytes > most {
                shards.push(Vec::new());
                size = 0;
            }
            size += bytes;
            total += bytes;
            shards.last_mut().expect("there is a shard").push(item);
        }
        Shards { shards, total }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.shards.len()
    }

    /// Writes all, and their index where there are several; false where `interrupt` was set before the end.
    ///
    /// # Errors
    /// A weight can not be read, or a file not written.
    pub fn write(
        &self,
        weights: &Weights,
        directory: &Path,
        interrupt: &AtomicBool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<bool> {
        let (mut index, mut done) = (BTreeMap::new(), 0);
        for (number, items) in self.shards.iter().enumerate() {
            let name = writing::shard_name(number, self.count());
            let path = directory.join(&name);
            let mut written = |bytes: u64| {
                done += bytes;
                progress(done, self.total);
                !interrupt.load(Ordering::Relaxed)
            };
            let entries = ordered(items);
            let whole = writing::whole(&path, |file| {
                let mut shard = Shard::new(file, &path, &entries, weights, &mut written)?;
                items.iter().try_fold(true, |go_on, item| if go_on { shard.item(item) } else { Ok(false) })
            })?;
            if !whole {
                return Ok(false);
            }
            index.extend(entries.into_iter().map(|entry| (entry.name, name.clone())));
        }
        if self.count() > 1 {
            writing::index(directory, &index, self.total)?;
        }
        Ok(true)
    }
}

/// The tensors of a shard, those of large elements first: so all are aligned in the file, as its readers like them.
fn ordered(items: &[&Item]) -> Vec<TensorEntry> {
    let mut entries: Vec<TensorEntry> = items.iter().flat_map(|item| item.entries()).collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.dtype.bitsize()));
    entries
}

/// A file that is being written.
struct Shard<'a> {
    file: &'a mut File,
    path: &'a Path,
    /// Where each tensor starts.
    places: BTreeMap<String, u64>,
    weights: &'a Weights,
    /// Is told how many bytes were written, and says whether to go on.
    written: &'a mut dyn FnMut(u64) -> bool,
}

impl<'a> Shard<'a> {
    fn new(
        file: &'a mut File,
        path: &'a Path,
        entries: &[TensorEntry],
        weights: &'a Weights,
        written: &'a mut dyn FnMut(u64) -> bool,
    ) -> Result<Shard<'a>> {
        let header = writing::header(entries);
        file.write_all(&header).map_err(|error| writing::io_error(path, &error))?;
        let mut at = header.len() as u64;
        let mut places = BTreeMap::new();
        for entry in entries {
            places.insert(entry.name.clone(), at);
            at += entry.bytes();
        }
        Ok(Shard { file, path, places, weights, written })
    }

    /// Writes at a place of the file; false where it is not to go on.
    fn put(&mut self, at: &mut u64, bytes: &[u8]) -> Result<bool> {
        let seek = self.file.seek(SeekFrom::Start(*at));
        let written = seek.and_then(|_| self.file.write_all(bytes));
        written.map_err(|error| writing::io_error(self.path, &error))?;
        *at += bytes.len() as u64;
        Ok((self.written)(bytes.len() as u64))
    }

    fn item(&mut self, item: &Item) -> Result<bool> {
        match item {
            Item::Kept { name, stored } => self.kept(name, stored),
            Item::Coded(matrices) => {
                let tensors: Vec<Tensor> = matrices.iter().map(|matrix| matrix.tensor.clone()).collect();
                let weight = self.weights.parts(&tensors)?;
                let mut both = matrices.iter().zip(weight.parts());
                both.try_fold(true, |go_on, (matrix, part)| if go_on { self.matrix(matrix, part) } else { Ok(false) })
            }
        }
    }

    fn kept(&mut self, name: &str, stored: &StoredTensor) -> Result<bool> {
        let range = quantized::range(stored);
        let (bytes, mut at) = (stored.bytes() as usize, self.places[name]);
        let mut piece = vec![0; PIECE.min(bytes)];
        for first in (0..bytes).step_by(PIECE) {
            let piece = &mut piece[..PIECE.min(bytes - first)];
            range.read(first as u64, piece)?;
            if !self.put(&mut at, piece)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn matrix(&mut self, matrix: &CodedMatrix, part: &WeightPart) -> Result<bool> {
        let entries = matrix.layout.entries(&matrix.module);
        let mut places: Vec<u64> = entries.iter().map(|entry| self.places[&entry.name]).collect();
        let together = (TASK / part.columns()).max(1);
        let firsts: Vec<usize> = (0..part.rows()).step_by(together).collect();
        for firsts in firsts.chunks(TASKS) {
            let rows = |first: &usize| rows(matrix, part, *first, part.rows().min(first + together));
            let made: Vec<Rows> = firsts.par_iter().map(rows).collect::<Result<_>>()?;
            for Rows { codes, scales } in made {
                let mut go_on = self.put(&mut places[0], &codes)?;
                if matrix.layout.has_row_scales() {
                    go_on &= self.put(&mut places[1], &scales)?;
                }
                if !go_on {
                    return Ok(false);
                }
            }
        }
        let rest = matrix.layout.rest(first_scale(part)?);
        let by_row = places.len() - rest.len();
        for (place, bytes) in places[by_row..].iter_mut().zip(rest) {
            self.put(place, &bytes)?;
        }
        Ok(true)
    }
}

/// Rows `first` to `end` of a matrix, as its tensors have them.
fn rows(matrix: &CodedMatrix, part: &WeightPart, first: usize, end: usize) -> Result<Rows> {
    let copied = |part: &WeightPart| {
        let mut bytes = vec![0; (end - first) * part.copied_bytes_of_row()];
        part.copy_rows(first..end, &mut bytes).map(|()| bytes)
    };
    let scales = part.scales().map(copied).transpose()?.unwrap_or_default();
    Ok(matrix.layout.split(part.format(), &copied(part)?, &scales))
}

/// The scale beside the codes of the first row; 1 where there is none.
fn first_scale(part: &WeightPart) -> Result<f32> {
    let Some(scales) = part.scales() else { return Ok(1.0) };
    let mut bytes = [0; 4];
    scales.copy_rows(0..1, &mut bytes)?;
    Ok(f32::from_le_bytes(bytes))
}
