//! What `--quantize` makes on loading, written as a checkpoint that other engines load too: ModelOpt's FP8 and NVFP4, and the
//! INT8 and INT4 of compressed-tensors.
//!
//! * `plan`: which tensors become codes, which stay, and what they are called
//! * `layout`: the tensors that a matrix of codes has in a file
//! * `config`: what config.json and hf_quant_config.json say of them
//! * `companions`: the other files of a checkpoint
//! * `shards`: the files of weights
mod companions;
mod config;
mod layout;
mod plan;
mod shards;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::destination::Destination;
use crate::checkpoint::writing::SHARD_BYTES;
use crate::error::Result;
use crate::quantized::Recipe;
use crate::weights::Weights;

use plan::ExportPlan;
use shards::Shards;

/// What is written.
#[derive(Clone, Copy, Debug)]
pub struct ExportOptions {
    /// How weights become codes.
    pub recipe: Recipe,
    /// Whether the head's do too.
    pub head: bool,
    /// A shard is closed when it holds this many bytes.
    pub shard_bytes: u64,
}

impl ExportOptions {
    /// All products but the head, in shards of the usual size.
    pub fn new(recipe: Recipe) -> ExportOptions {
        ExportOptions { recipe, head: false, shard_bytes: SHARD_BYTES }
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// Matrices that became codes.
    pub matrices: usize,
    /// Their bytes in the files, before and after.
    pub matrix_bytes: [u64; 2],
    /// Matrices that stay, since the groups of the recipe do not divide their columns.
    pub left: usize,
    /// Elements of all tensors of the checkpoint that was read.
    pub elements: u64,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// Files that hold them.
    pub shards: usize,
    /// What the user should know.
    pub notes: Vec<String>,
}

impl Written {
    /// Bits in the files for each element, with its scales.
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.bytes as f64 / self.elements as f64
    }
}

/// Writes the checkpoint `model` with codes for weights to the new directory `out`; none where `interrupt` was set before
/// it was done. `progress(done, all)` is told the bytes written so far. A few pieces of a tensor are in memory at a time.
/// Whatever goes wrong, nothing is left in `out`.
///
/// # Errors
/// The checkpoint can not be read, is quantized already, or has no product that the recipe divides; `out` has files, lies in
/// the checkpoint's own directory, or can not be written.
pub fn write(
    model: &str,
    out: &Path,
    options: ExportOptions,
    interrupt: &AtomicBool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Option<Written>> {
    let checkpoint = Checkpoint::open(model)?;
    let plan = ExportPlan::new(&checkpoint, options.recipe, options.head)?;
    let destination = Destination::new(out, Some(checkpoint.directory()))?;
    let directory = destination.directory();
    let left_out = companions::copy(&checkpoint, directory)?;
    config::write(&checkpoint, &plan, directory)?;
    let shards = Shards::of(&plan, options.shard_bytes);
    let weights = Weights::new(checkpoint);
    if !shards.write(&weights, directory, interrupt, progress)? {
        return Ok(None);
    }
    destination.finish()?;
    let mut notes = plan.notes.clone();
    notes.extend(left_out);
    if options.recipe == Recipe::Fp8 {
        notes.push(
            "input_scale is 1 everywhere: no activations were measured, and engines that quantize them clip at 448"
                .to_owned(),
        );
    }
    Ok(Some(Written {
        matrices: plan.matrices,
        matrix_bytes: plan.matrix_bytes(),
        left: plan.left,
        elements: plan.elements,
        bytes: shards.total,
        shards: shards.count(),
        notes,
    }))
}

#[cfg(test)]
mod tests;
