//! `--batch`: a prompt per line, or an object per line with parameters of its own; a JSON object per line comes out.
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write, stdin};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::failure::Failure;
use super::sampling::{Bias, SamplingArguments};
use crate::error::{Category, Error};
use crate::session::{BatchRequest, Finish, GenerateOptions, Generation, Session};

/// A line of a file of JSON lines.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    prompt: String,
    max_tokens: Option<usize>,
    temperature: Option<f32>,
    top_k: Option<usize>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    repeat_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    seed: Option<u64>,
    #[serde(default)]
    logit_bias: BTreeMap<u32, f32>,
}

/// Continues every line of `path`, `-` for stdin, and writes the results in the order of the lines.
pub fn run(
    session: &mut Session,
    path: &Path,
    defaults: &GenerateOptions,
    out: &mut impl Write,
) -> std::result::Result<(), Failure> {
    let name = if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() };
    let reader: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(BufReader::new(stdin()))
    } else {
        Box::new(BufReader::new(File::open(path).map_err(|error| unreadable(&name, &error))?))
    };
    let mut json_lines = None;
    let requests = reader.split(b'\n').zip(1_u64..).map(|(line, number)| {
        let line = line.map_err(|error| unreadable(&name, &error))?;
        let line = String::from_utf8(line).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            bad_line(&name, number, format_args!("byte {at} of the line starts no character"))
        })?;
        let line = line.strip_suffix('\r').unwrap_or(&line);
        // The first line says which kind of file it is.
        let request = if *json_lines.get_or_insert(line.starts_with('{')) {
            serde_json::from_str(line).map_err(|error| bad_line(&name, number, error))?
        } else {
            Line::of_prompt(line)
        };
        Ok(request.over(defaults))
    });
    let mut index = 0;
    session.generate_batch(requests, &defaults.interrupt, |result| {
        let object = match result {
            Ok(generation) => generated(index, &generation),
            Err(error) => failed(index, &error),
        };
        index += 1;
        writeln!(out, "{object}").and_then(|()| out.flush()).map_err(Failure::from)
    })
}

impl Line {
    fn of_prompt(prompt: &str) -> Line {
        Line {
            prompt: prompt.to_owned(),
            max_tokens: None,
            temperature: None,
            top_k: None,
            top_p: None,
            min_p: None,
            repeat_penalty: None,
            presence_penalty: None,
            frequency_penalty: None,
            seed: None,
            logit_bias: BTreeMap::new(),
        }
    }

    fn over(self, defaults: &GenerateOptions) -> BatchRequest {
        let own = SamplingArguments {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            seed: self.seed,
            logit_bias: self.logit_bias.into_iter().map(|(id, value)| Bias(id, value)).collect(),
        };
        BatchRequest {
            prompt: self.prompt,
            max_tokens: self.max_tokens.unwrap_or(defaults.max_tokens),
            sampling: own.over(&defaults.sampling),
        }
    }
}

fn generated(index: usize, generation: &Generation) -> Value {
    json!({
        "index": index,
        "text": generation.text,
        "ids": generation.ids,
        "finish": match generation.finish {
            Finish::Stop | Finish::StopText => "stop",
            Finish::Length => "length",
            Finish::Context => "context",
            Finish::Interrupted => "interrupted",
        },
        "prompt_tokens": generation.prompt_tokens,
    })
}

fn failed(index: usize, error: &Error) -> Value {
    let category = format!("{:?}", error.category());
    json!({
        "index": index,
        "error": {
            "category": category,
            "message": error.message(),
            "details": error.details_text(),
            "hint": error.hint_text(),
        },
    })
}

fn unreadable(name: &str, error: &std::io::Error) -> Error {
    Error::new(Category::Io, "The batch cannot be read")
        .details(format_args!("{name}: {error}"))
        .hint("name a text file with --batch, or - for stdin")
}

fn bad_line(name: &str, number: u64, what: impl std::fmt::Display) -> Error {
    Error::new(Category::Input, "A line of the batch is not understood")
        .details(format_args!("{name}, line {number}: {what}"))
        .hint("each line is a prompt, or each an object such as {\"prompt\": \"Hello\", \"temperature\": 0.7}")
}
