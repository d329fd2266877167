//! Random weights in the shapes of published models, seeded: as checkpoints on disk, and in memory for benchmarks.
mod presets;
mod tokenizer;
mod values;
mod weights;
mod writer;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde_json::json;

pub use presets::Preset;
pub use weights::RandomWeights;

use crate::checkpoint::destination::Destination;
use crate::checkpoint::writing::json as write_json;
use crate::error::Result;
use crate::models;

/// What a written checkpoint holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Tensors written.
    pub tensors: usize,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// Files that hold them.
    pub shards: usize,
}

/// Writes config, generation config, tokenizer and safetensors shards of `preset` to the new directory `out`; none where
/// `interrupt` was set before it was done. Whatever goes wrong, nothing is left in `out`.
///
/// `layers` replaces the preset's number of layers. The same seed gives the same bytes. `progress(done, all)` is told the
/// bytes written so far.
///
/// # Errors
/// The directory is not empty or can not be written.
pub fn write(
    preset: &Preset,
    layers: Option<usize>,
    seed: u64,
    out: &Path,
    interrupt: &AtomicBool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Option<Summary>> {
    let destination = Destination::new(out, None)?;
    let directory = destination.directory();
    let config = preset.config(layers);
    let spec = models::read(&config, None)?;
    let Some(summary) = writer::write(&spec, seed, directory, interrupt, progress)? else { return Ok(None) };
    let generation = json!({ "bos_token_id": config["bos_token_id"], "eos_token_id": config["eos_token_id"] });
    write_json(&directory.join("generation_config.json"), &generation)?;
    write_json(&directory.join("tokenizer.json"), &tokenizer::byte_level(spec.vocab))?;
    // Without this file a directory is no model: what was killed does not look whole.
    write_json(&directory.join("config.json"), &config)?;
    destination.finish()?;
    Ok(Some(summary))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::text::Tokenizer;
    use crate::weights::Weights;

    fn written(preset: &Preset, seed: u64) -> (tempfile::TempDir, Summary) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let go_on = AtomicBool::new(false);
        let summary = write(preset, Some(2), seed, directory.path(), &go_on, &mut |done, all| assert!(done <= all));
        (directory, summary.expect("the checkpoint is written").expect("nobody interrupts"))
    }

    #[test]
    fn what_is_interrupted_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let names = || -> Vec<String> {
            let entries = fs::read_dir(folder.path()).expect("it is a directory").map(|entry| entry.expect("an entry"));
            entries.map(|entry| entry.file_name().into_string().expect("UTF-8")).collect()
        };
        let (interrupt, out) = (AtomicBool::new(false), folder.path().join("out"));
        let mut seen = 0;
        let written = write(&Preset::tiny()[0], Some(1), 1, &out, &interrupt, &mut |_, _| {
            seen += 1;
            assert_eq!(names(), ["out.partial"]);
            interrupt.store(true, Ordering::Relaxed);
        });
        assert_eq!((written.expect("nothing fails"), seen, names()), (None, 1, Vec::new()));
        // So it can be begun again.
        interrupt.store(false, Ordering::Relaxed);
        let written = write(&Preset::tiny()[0], Some(1), 1, &out, &interrupt, &mut |_, _| {});
        assert!(written.expect("nothing fails").is_some() && names() == ["out"]);
    }

    #[test]
    fn what_is_written_loads_whole_and_repeats() {
        for preset in Preset::tiny() {
            let (directory, summary) = written(&preset, 1);
            let path = directory.path();
            let checkpoint = Checkpoint::open(path.to_str().expect("a UTF-8 path")).expect("it loads");
            let spec = models::read_checkpoint(&checkpoint).expect("a known family").spec;
            assert_eq!((summary.bytes, summary.shards), (checkpoint.bytes(), 1));
            let weights = Weights::new(checkpoint);
            weights.check_all(&spec).expect("every tensor is there");
            assert!(weights.unused(&spec).is_empty());
            let tokenizer = Tokenizer::open(path).expect("a tokenizer");
            let ids = tokenizer.encode("\u{1F98A}!", true).expect("any text is bytes");
            assert_eq!(tokenizer.decode(&ids).expect("known ids"), "\u{1F98A}!");
            let bytes = |directory: &tempfile::TempDir| fs::read(directory.path().join("model.safetensors"));
            assert!(bytes(&written(&preset, 1).0).unwrap() == bytes(&directory).unwrap());
            assert!(bytes(&written(&preset, 2).0).unwrap() != bytes(&directory).unwrap());
        }
    }
}
