//! `nemotron quantize`: writes a BF16 checkpoint's weights as codes of 8 or 4 bits.
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::console::Verbosity;
use super::failure::Failure;
use super::numbers::{self, THREADS};
use super::progress::Tenths;
use super::signals::interrupt_or_end;
use crate::error::size;
use crate::export::{self, ExportOptions, Written};
use crate::quantized::Recipe;
use crate::session::Note;

/// Write a BF16 checkpoint with codes of 8 or 4 bits for weights, as --quantize makes them on loading: fp8 and nvfp4 as
/// ModelOpt's files have them, int8 and int4 as those of compressed-tensors
#[derive(Args, Debug)]
pub struct Arguments {
    /// Model directory, or org/name or org/name@revision of a model in Hugging Face's cache
    #[arg(value_name = "IN")]
    model: String,

    /// A directory that does not exist, or is empty
    #[arg(value_name = "OUT")]
    out: PathBuf,

    /// What the weights of all products but the head become
    #[arg(long, value_name = "FORMAT", value_parser = numbers::recipe())]
    format: Recipe,

    /// Make codes of the head too
    #[arg(long)]
    quantize_lm_head: bool,

    /// Threads of the CPU [default: one for each core that this process may use]
    #[arg(long, short, value_name = "N", value_parser = numbers::count(THREADS))]
    pub threads: Option<NonZeroUsize>,

    /// Say nothing but errors
    #[arg(long, short, overrides_with = "quiet")]
    quiet: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let verbosity = if arguments.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let options = ExportOptions { head: arguments.quantize_lm_head, ..ExportOptions::new(arguments.format) };
    let (interrupt, started, mut tenths) = (interrupt_or_end(verbosity)?, Instant::now(), Tenths::new(verbosity));
    let mut progress = |done, all| tenths.written(done, all);
    let written = export::write(&arguments.model, &arguments.out, options, &interrupt, &mut progress)?;
    let Some(written) = written else { return Err(Failure::Interrupted) };
    let lines = lines(arguments, &written, started.elapsed().as_secs_f64());
    lines.into_iter().for_each(|line| verbosity.note(&Note::Info(line)));
    Ok(())
}

/// What was done.
fn lines(arguments: &Arguments, written: &Written, seconds: f64) -> Vec<String> {
    let [before, after] = written.matrix_bytes.map(size);
    let mut lines = written.notes.clone();
    let stay = match written.left {
        0 => String::new(),
        left => format!("; {left} stay, since its groups do not divide them"),
    };
    lines.push(format!("{} matrices became {}: {before} became {after}{stay}", written.matrices, arguments.format));
    lines.push(format!(
        "{}: {} in {} {}, {:.2} bits per weight, {:.2} GB/s",
        arguments.out.display(),
        size(written.bytes),
        written.shards,
        if written.shards == 1 { "file" } else { "shards" },
        written.bits_per_weight(),
        written.bytes as f64 / 1e9 / seconds
    ));
    lines
}
