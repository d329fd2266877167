//! `nemotron detokenize`: the text of token ids.
use std::io::{Read, Write, stdin, stdout};

use clap::Args;

use super::failure::Failure;
use crate::error::{Category, Error, Result};
use crate::session::Texts;

/// Show the text of token ids
#[derive(Args, Debug)]
pub struct Arguments {
    /// Model directory, or org/name or org/name@revision of a model in Hugging Face's cache; its weights are not needed
    #[arg(long, short, env = "NEMOTRON_MODEL", value_name = "DIR")]
    model: String,

    /// Token ids, apart by spaces, commas or lines, in brackets or not [default: what stdin has]
    #[arg(value_name = "ID")]
    ids: Vec<String>,

    /// Print special tokens too, by their names
    #[arg(long)]
    special: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> std::result::Result<(), Failure> {
    let texts = Texts::of_model(&arguments.model, None)?;
    let tokenizer = texts.tokenizer();
    let ids = parse(&if arguments.ids.is_empty() { read_stdin()? } else { arguments.ids.join(" ") })?;
    if let Some(id) = ids.iter().find(|id| tokenizer.id_to_token(**id).is_none()) {
        return Err(Error::new(Category::Input, "The tokenizer does not know a token id")
            .details(format!("found {id}; tokenizer.json has {} tokens", tokenizer.size()))
            .hint("give ids of this model, such as `nemotron tokenize` prints")
            .into());
    }
    let text = if arguments.special { tokenizer.decode_with_special(&ids)? } else { tokenizer.decode(&ids)? };
    let mut out = stdout().lock();
    Ok(writeln!(out, "{text}").and_then(|()| out.flush())?)
}

fn read_stdin() -> Result<String> {
    let mut text = String::new();
    stdin().read_to_string(&mut text).map_err(|error| {
        Error::new(Category::Io, "The token ids cannot be read")
            .details(format!("stdin: {error}"))
            .hint("give the ids as arguments, or as text on stdin")
    })?;
    Ok(text)
}

fn parse(text: &str) -> Result<Vec<u32>> {
    let apart = |c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']');
    let id = |word: &str| {
        word.parse().map_err(|_| {
            Error::new(Category::Input, "A token id is no whole number")
                .details(format!("expected a number from 0 to {}, found {word}", u32::MAX))
                .hint("give ids as in 1 42 7, or as in [1, 42, 7]")
        })
    };
    text.split(apart).filter(|word| !word.is_empty()).map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_in_any_usual_form() {
        for text in ["1 42 7", "[1, 42, 7]\n", "1,42,7", "1\n42\n7\n"] {
            assert_eq!(parse(text).unwrap(), [1, 42, 7]);
        }
        assert_eq!(parse(" []").unwrap(), [0; 0]);
        assert!(["1.5", "-1", "x", "4294967296"].iter().all(|wrong| parse(wrong).is_err()));
    }
}
