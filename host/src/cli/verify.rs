//! `nemotron verify`: a checkpoint's logits and greedy tokens against those of a reference.
use std::io::{Write, stdout};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::failure::Failure;
use super::model::{ModelArguments, note_stages};
use crate::error::{Category, Error};
use crate::session::Model;
use crate::session::expected::Expected;
use crate::session::verify::{PromptReport, verify};

/// Sequences that run at the same time; more prompts wait.
const BATCH: usize = 8;

/// Compare a model with a reference's logits and greedy tokens
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub model: ModelArguments,

    /// Safetensors file with ids_L, logits_f32_L, logits_bf16_L and greedy_f32_L for prompts of L tokens
    #[arg(long, value_name = "FILE")]
    expected: PathBuf,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command; an error if a prompt is outside its bounds.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let verbosity = arguments.model.verbosity();
    let mut options = arguments.model.load_options();
    options.max_sequences = BATCH;
    let expected = Expected::read(&arguments.expected)?;
    let model = Model::load(&options, &mut |note| verbosity.note(&note), |_| Ok(()))?;
    note_stages(&model, verbosity);
    let reports = verify(&model, &expected)?;
    let text = if arguments.json { json_object(&model, &reports) } else { table(&model, &reports) };
    let mut out = stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())?;
    let failed: Vec<&PromptReport> = reports.iter().filter(|report| !report.passed).collect();
    if failed.is_empty() { Ok(()) } else { Err(outside(&failed).into()) }
}

fn table(model: &Model, reports: &[PromptReport]) -> String {
    let mut text = format!(
        "{} with {} activations\n{:>6}  {:>9}  {:>9}  {:>14}  {:>7}  result\n",
        model.spec().family,
        model.activations(),
        "prompt",
        "error",
        "bound",
        "reference bf16",
        "greedy"
    );
    for report in reports {
        text += &format!(
            "{:>6}  {:>9.2e}  {:>9.2e}  {:>14.2e}  {:>7}  {}\n",
            report.tokens,
            report.error,
            report.bound,
            report.reference_bf16_error,
            format!("{}/{}", report.greedy_agreeing, report.greedy_expected),
            if report.passed { "ok" } else { "OUTSIDE" }
        );
    }
    text
}

fn json_object(model: &Model, reports: &[PromptReport]) -> String {
    let prompts = reports.iter().map(|report| {
        json!({
            "tokens": report.tokens,
            "error": report.error,
            "bound": report.bound,
            "reference_bf16_error": report.reference_bf16_error,
            "greedy_agreeing": report.greedy_agreeing,
            "greedy_expected": report.greedy_expected,
            "passed": report.passed,
        })
    });
    let object = json!({
        "family": model.spec().family,
        "activations": model.activations().to_string(),
        "prompts": prompts.collect::<Vec<_>>(),
        "passed": reports.iter().all(|report| report.passed),
    });
    format!("{object}\n")
}

fn outside(failed: &[&PromptReport]) -> Error {
    let describe = |report: &&PromptReport| {
        format!(
            "prompt of {} tokens: error {:.2e}, bound {:.2e}, greedy {} of {}",
            report.tokens, report.error, report.bound, report.greedy_agreeing, report.greedy_expected
        )
    };
    let prompts = failed.iter().map(describe).collect::<Vec<_>>().join("; ");
    Error::new(Category::Verification, "The model is outside the bounds")
        .details(prompts)
        .hint("try --device cpu --activations f32: what is outside there too is not rounding, and the weights or the expected file are of another revision")
}
