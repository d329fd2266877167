//! The options that every command with a model has.
use clap::Args;

use super::console::Loudness;
use super::progress;
use crate::session::{DeviceChoice, LoadOptions, Model, Note};

#[derive(Args, Debug)]
pub struct ModelArguments {
    /// Model directory, or org/name or org/name@revision of a model in Hugging Face's cache
    #[arg(long, env = "NEMOTRON_MODEL", value_name = "DIR")]
    pub model: String,

    /// A GPU's number, cpu, or auto: the first GPU, else the CPU
    #[arg(long, env = "NEMOTRON_DEVICE", value_name = "N|cpu|auto", default_value = "auto")]
    pub device: DeviceChoice,

    /// Tokens of prompt and answer together [default: the smaller of the model's length and 4096]
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,

    /// Share of the GPU's memory that may be in use, other programs' included, above 0 up to 1; it bounds the keys and values
    /// of prompts that run together [default: 0.9]
    #[arg(long, value_name = "F", value_parser = share)]
    gpu_memory_utilization: Option<f64>,

    /// Say more: unused tensors, steps, launches, where the load time went
    #[arg(long, short, conflicts_with = "quiet")]
    verbose: bool,

    /// Print the result alone
    #[arg(long, short)]
    quiet: bool,
}

impl ModelArguments {
    /// What to load, for one sequence at a time.
    pub fn load_options(&self) -> LoadOptions {
        let progress = progress::copying(self.loudness());
        LoadOptions {
            device: self.device,
            context: self.context,
            gpu_memory_utilization: self.gpu_memory_utilization,
            progress,
            ..LoadOptions::new(&self.model)
        }
    }

    /// How much is said beside the result.
    pub fn loudness(&self) -> Loudness {
        match (self.quiet, self.verbose) {
            (true, _) => Loudness::Quiet,
            (_, true) => Loudness::Verbose,
            _ => Loudness::Normal,
        }
    }
}

/// A part of a whole.
fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| "expected a number above 0, up to 1".into())
}

/// Says where the load time went.
pub fn note_stages(model: &Model, loudness: Loudness) {
    for stage in model.stages() {
        let milliseconds = stage.time.as_secs_f64() * 1e3;
        loudness.note(&Note::Detail(format!("Load: {} {milliseconds:.1} ms", stage.stage)));
    }
}
