//! `Subject`: the model that is timed, and where its weights come from.
use std::str::FromStr;

use serde_json::Value;

use crate::checkpoint::Checkpoint;
use crate::device::Weight;
use crate::error::Result;
use crate::models;
use crate::models::spec::{ModelSpec, Tensor};
use crate::quantized::Recipe;
use crate::synthetic::{Preset, RandomWeights};
use crate::weights::Weights;

/// Whose shape is timed.
#[derive(Clone, Debug)]
pub enum Source {
    /// A checkpoint's directory, or `org/name` of Hugging Face's cache.
    Checkpoint(String),
    /// A published model's shape with random weights; with so many layers, or its own number.
    Random(Preset, Option<usize>),
}

/// What becomes of the weights that are bf16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formats {
    /// They stay.
    Bf16,
    /// Those of all products but the head become codes.
    All(Recipe),
    /// As [`models::quantize_mixed`] has it.
    Mixed,
}

impl Formats {
    /// The words for them.
    pub fn names() -> Vec<&'static str> {
        [Formats::BF16].into_iter().chain(Recipe::NAMES).chain([Formats::MIXED]).collect()
    }

    const BF16: &str = "bf16";
    const MIXED: &str = "mixed";
}

impl FromStr for Formats {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Formats, String> {
        match text {
            Formats::BF16 => Ok(Formats::Bf16),
            Formats::MIXED => Ok(Formats::Mixed),
            _ => text.parse().map(Formats::All).map_err(|_| format!("expected one of {}", Formats::names().join(", "))),
        }
    }
}

/// A model whose weights have not been read.
pub struct Subject {
    /// What the model is.
    pub spec: ModelSpec,
    /// Its config.json.
    pub config: Value,
    /// Directory or preset.
    pub name: String,
    weights: Option<Weights>,
}

impl Subject {
    /// Reads what the model is, with its weights in `formats`.
    ///
    /// # Errors
    /// The checkpoint can not be used.
    pub fn read(source: &Source, formats: Formats) -> Result<Subject> {
        let mut subject = Subject::plain(source)?;
        match formats {
            Formats::Bf16 => {}
            Formats::All(recipe) => {
                models::quantize(&mut subject.spec, recipe, false);
            }
            Formats::Mixed => {
                models::quantize_mixed(&mut subject.spec);
            }
        }
        Ok(subject)
    }

    fn plain(source: &Source) -> Result<Subject> {
        match source {
            Source::Checkpoint(directory) => {
                let checkpoint = Checkpoint::open(directory)?;
                let spec = models::read_checkpoint(&checkpoint)?.spec;
                let weights = Weights::new(checkpoint);
                weights.check_all(&spec)?;
                let config = weights.checkpoint().config().clone();
                Ok(Subject { spec, config, name: directory.clone(), weights: Some(weights) })
            }
            Source::Random(preset, layers) => {
                let config = preset.config(*layers);
                let spec = models::read(&config, None)?;
                Ok(Subject { spec, config, name: preset.name.to_owned(), weights: None })
            }
        }
    }

    /// Elements of all weights, tied ones once.
    pub fn parameters(&self) -> u64 {
        let mut tensors = self.spec.tensors();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        tensors.dedup_by(|a, b| a.name == b.name);
        tensors.iter().map(|tensor| tensor.shape.iter().product::<usize>() as u64).sum()
    }

    /// Bytes of its weights where they are random and each has memory of its own.
    pub(super) fn random_bytes(&self) -> u64 {
        if self.weights.is_some() { 0 } else { 2 * self.parameters() }
    }

    pub(super) fn parts(&self, tensors: &[Tensor], random: &RandomWeights) -> Result<Weight> {
        self.weights.as_ref().map_or_else(|| Ok(random.parts(tensors)), |weights| weights.parts(tensors))
    }
}
