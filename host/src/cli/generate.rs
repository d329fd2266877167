//! `nemotron generate`: a prompt becomes text, streamed.
use std::io::{Read, Write, stdout};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;

use super::console::Loudness;
use super::failure::Failure;
use super::model::{ModelArguments, note_stages};
use crate::error::{Category, Error, Result};
use crate::session::{Finish, GenerateOptions, Generation, Note, Session};

/// The exit code of a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Continue a prompt
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    #[command(flatten)]
    prompt: PromptArguments,

    /// Most tokens to generate
    #[arg(long, value_name = "N", default_value = "100")]
    max_tokens: NonZeroUsize,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct PromptArguments {
    /// The prompt
    #[arg(long, short, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,

    /// A UTF-8 file with the prompt, - for stdin; one newline at its end is not part of the prompt
    #[arg(long, short = 'f', value_name = "FILE")]
    prompt_file: Option<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> std::result::Result<(), Failure> {
    let loudness = arguments.model.loudness();
    let prompt = arguments.prompt.read()?;
    let mut session = Session::load(&arguments.model.load_options(), &mut |note| loudness.note(&note))?;
    note_stages(session.model(), loudness);
    let ids = session.encode(&prompt)?;
    let options = GenerateOptions { max_tokens: arguments.max_tokens.get(), interrupt: interrupt()? };
    let framed = loudness > Loudness::Quiet;
    let mut out = stdout().lock();
    if framed {
        write!(out, "\n=== Generation ===\nPrompt: {prompt}\nOutput: ")?;
        out.flush()?;
    }
    let generation = stream(&mut session, ids, &options, &mut out)?;
    writeln!(out)?;
    if framed {
        write!(out, "{}", statistics(&generation, session.model().load_time()))?;
    }
    out.flush()?;
    explain(&session, &generation, loudness);
    Ok(())
}

/// Writes each piece at once; where nobody reads any more, the generation ends too.
fn stream(
    session: &mut Session,
    prompt: Vec<u32>,
    options: &GenerateOptions,
    out: &mut impl Write,
) -> std::result::Result<Generation, Failure> {
    let mut written = Ok(());
    let generation = session.generate_from(prompt, options, |piece| {
        if written.is_ok() {
            written = out.write_all(piece.as_bytes()).and_then(|()| out.flush());
        }
        if written.is_err() {
            options.interrupt.store(true, Ordering::Relaxed);
        }
    })?;
    written?;
    Ok(generation)
}

impl PromptArguments {
    fn read(&self) -> Result<String> {
        match &self.prompt_file {
            Some(path) => read_prompt(path),
            None => Ok(self.prompt.clone().unwrap_or_default()),
        }
    }
}

fn read_prompt(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    let name = if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() };
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_end(&mut bytes).map(|_| ())
    } else {
        std::fs::read(path).map(|content| bytes = content)
    };
    read.map_err(|error| {
        Error::new(Category::Io, "The prompt cannot be read")
            .details(format!("{name}: {error}"))
            .hint("name a text file with --prompt-file, or - for stdin")
    })?;
    let mut prompt = String::from_utf8(bytes).map_err(|error| {
        Error::new(Category::Input, "The prompt is not UTF-8")
            .details(format!("{name}: byte {} starts no character", error.utf8_error().valid_up_to()))
            .hint("save the file as UTF-8")
    })?;
    if prompt.ends_with('\n') {
        prompt.pop();
    }
    Ok(prompt)
}

/// A flag that Ctrl-C sets; a second Ctrl-C ends the program at once.
fn interrupt() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let handlers = flag.clone();
    let handler = move || {
        if handlers.swap(true, Ordering::Relaxed) {
            exit(INTERRUPTED);
        }
    };
    ctrlc::set_handler(handler).map_err(|error| {
        Error::new(Category::Io, "Ctrl-C cannot be handled").details(error).hint("another handler is installed")
    })?;
    Ok(flag)
}

fn statistics(generation: &Generation, load_time: Duration) -> String {
    let milliseconds = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    let speed = generation.speed().map_or("n/a".to_owned(), |speed| format!("{speed:.1} tokens/sec"));
    let rows = [
        ("Load time:", milliseconds(load_time)),
        ("Prompt tokens:", generation.prompt_tokens.to_string()),
        ("Prompt time:", milliseconds(generation.prompt_time)),
        ("Generated:", format!("{} tokens", generation.ids.len())),
        ("Generation time:", milliseconds(generation.generation_time)),
        ("Speed:", speed),
    ];
    let rows: String = rows.iter().map(|(label, value)| format!("{label:<16} {value}\n")).collect();
    format!("\n=== Statistics ===\n{rows}")
}

fn explain(session: &Session, generation: &Generation, loudness: Loudness) {
    let counters = session.counters();
    let reason = match generation.finish {
        Finish::Stop => "the model ended its text",
        Finish::Length => "--max-tokens are there",
        Finish::Context => "the context is full",
        Finish::Interrupted => "interrupted",
    };
    loudness.note(&Note::Detail(format!("Ended: {reason}")));
    loudness.note(&Note::Detail(format!(
        "Steps: {}, launches: {}, uploads of inputs: {}, token rows: {}",
        counters.steps, counters.launches, counters.uploads, counters.rows
    )));
}
