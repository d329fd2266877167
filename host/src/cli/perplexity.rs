//! `nemotron perplexity`: how well a model foresees a text.
use std::io::{Write, stdout};
use std::num::NonZeroUsize;

use clap::Args;
use serde_json::json;

use super::console::Verbosity;
use super::failure::Failure;
use super::model::{ModelArguments, note_stages};
use super::numbers::{self, CONTEXT};
use super::prompt::TextArguments;
use crate::session::Note;
use crate::session::perplexity::{Perplexity, PerplexityOptions, perplexity, scored_ids};
use crate::session::{Model, Texts};

/// Measure how well a model foresees a text: the mean negative log-likelihood of its tokens, and e to that
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub model: ModelArguments,

    #[command(flatten)]
    text: TextArguments,

    /// Leave out what the tokenizer puts in front of a text, such as <s>
    #[arg(long)]
    raw: bool,

    /// Tokens from one window of --context tokens to the next; as many are scored at the end of each [default: windows
    /// follow each other, the second half of each is scored]
    #[arg(long, value_name = "N", value_parser = numbers::count(CONTEXT))]
    stride: Option<NonZeroUsize>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let verbosity = arguments.model.verbosity();
    let text = arguments.text.read()?;
    let options = arguments.model.load_options();
    let mut texts = None;
    let model = Model::load(&options, &mut |note| verbosity.note(&note), |directory| {
        texts = Some(Texts::open(directory, None)?);
        Ok(())
    })?;
    note_stages(&model, verbosity);
    let texts = texts.expect("a loaded model has read its files");
    let (mut ids, mut first) = scored_ids(&texts, &text)?;
    if arguments.raw && first.take().is_some() {
        ids.remove(0);
    }
    let options = PerplexityOptions { stride: arguments.stride.map(NonZeroUsize::get), first };
    let mut shown = 0;
    let found = perplexity(&model, &ids, options, &mut |so_far, windows| {
        let tenth = so_far.windows * 10 / windows;
        if tenth > shown {
            shown = tenth;
            tell(so_far, windows, verbosity);
        }
    })?;
    let mut out = stdout().lock();
    write!(out, "{}", if arguments.json { json_object(&found, ids.len()) } else { table(&found, ids.len()) })?;
    Ok(out.flush()?)
}

fn tell(so_far: &Perplexity, windows: usize, verbosity: Verbosity) {
    let text = format!("Window {} of {windows}: perplexity {:.4} so far", so_far.windows, so_far.value());
    verbosity.note(&Note::Info(text));
}

fn table(found: &Perplexity, tokens: usize) -> String {
    let error = found.error().map_or(String::new(), |error| format!(" +/- {error:.5}"));
    let Perplexity { windows, scored, .. } = found;
    format!(
        "tokens      {tokens}, {scored} scored in {windows} window{}\nmean NLL    {:.6}\nperplexity  {:.4}{error}\n",
        if *windows == 1 { "" } else { "s" },
        found.mean(),
        found.value()
    )
}

fn json_object(found: &Perplexity, tokens: usize) -> String {
    let object = json!({
        "tokens": tokens, "scored": found.scored, "windows": found.windows, "mean_nll": found.mean(),
        "perplexity": found.value(), "error": found.error(),
    });
    format!("{object}\n")
}
