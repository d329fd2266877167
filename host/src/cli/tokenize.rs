//! `nemotron tokenize`: a text's token ids and what each adds to the text.
use std::io::{Write, stdout};

use clap::Args;
use serde_json::json;

use super::failure::Failure;
use super::prompt::{FormArguments, TextArguments};
use crate::session::Texts;

/// Show the token ids of a text
#[derive(Args, Debug)]
pub struct Arguments {
    /// Model directory, or org/name or org/name@revision of a model in Hugging Face's cache; its weights are not needed
    #[arg(long, short, env = "NEMOTRON_MODEL", value_name = "DIR")]
    model: String,

    #[command(flatten)]
    text: TextArguments,

    #[command(flatten)]
    form: FormArguments,

    /// A Jinja file with the chat template, instead of the checkpoint's own
    #[arg(long, value_name = "FILE", requires = "chat")]
    chat_template: Option<std::path::PathBuf>,

    /// Print one JSON object: count, ids, pieces
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let texts = Texts::of_model(&arguments.model, arguments.chat_template.as_deref())?;
    let ids = texts.encode(&arguments.form.prompt(&arguments.text.read()?))?;
    let pieces = ids.iter().map(|&id| texts.tokenizer().token_text(id)).collect::<Result<Vec<_>, _>>()?;
    let mut out = stdout().lock();
    if arguments.json {
        writeln!(out, "{}", json!({ "count": ids.len(), "ids": ids, "pieces": pieces }))?;
    } else {
        for (id, piece) in ids.iter().zip(&pieces) {
            writeln!(out, "{id:>8}  {piece:?}")?;
        }
    }
    Ok(out.flush()?)
}
