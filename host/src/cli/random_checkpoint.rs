//! `nemotron random-checkpoint`: weights of chance in the shape of a published model.
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::console::Verbosity;
use super::failure::Failure;
use super::numbers::{self, LAYERS};
use super::progress::Tenths;
use super::signals::interrupt_or_end;
use crate::error::size;
use crate::session::Note;
use crate::synthetic::{self, Preset};

/// Write a checkpoint of random weights in the shape of a published model, to test and to measure with
#[derive(Args, Debug)]
pub struct Arguments {
    /// Which model's shape
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(Preset::names()))]
    preset: String,

    /// Layers, instead of the model's own number
    #[arg(long, value_name = "N", value_parser = numbers::count(LAYERS))]
    layers: Option<NonZeroUsize>,

    /// The same seed gives the same bytes
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,

    /// A directory that does not exist, or is empty
    directory: PathBuf,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let preset = Preset::named(&arguments.preset).expect("the command line knows the names");
    let layers = arguments.layers.map(NonZeroUsize::get);
    let (interrupt, started, mut tenths) =
        (interrupt_or_end(Verbosity::Normal)?, Instant::now(), Tenths::new(Verbosity::Normal));
    let mut progress = |done, all| tenths.written(done, all);
    let (seed, out) = (arguments.seed, &arguments.directory);
    let written = synthetic::write(&preset, layers, seed, out, &interrupt, &mut progress)?;
    let Some(summary) = written else { return Err(Failure::Interrupted) };
    let seconds = started.elapsed().as_secs_f64();
    Verbosity::Normal.note(&Note::Info(format!(
        "{}: {} tensors, {} in {} shards, {:.2} GB/s",
        arguments.directory.display(),
        summary.tensors,
        size(summary.bytes),
        summary.shards,
        summary.bytes as f64 / 1e9 / seconds
    )));
    Ok(())
}
