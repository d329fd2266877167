//! `nemotron generate`: a prompt becomes text, streamed.
use std::io::{Read, Write, sink, stdout};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;

use super::batch::{self, BatchOptions, Lines};
use super::console::Loudness;
use super::failure::Failure;
use super::logprobs;
use super::model::{ModelArguments, note_stages};
use super::report::{explain, explain_kernels, explain_steps, result_object, statistics};
use super::sampling::SamplingArguments;
use super::several::{self, SeveralOptions};
use super::stream::{interrupt, stream};
use crate::error::{Category, Error, Result};
use crate::session::{GenerateOptions, Generation, LoadOptions, MOST_LOGPROBS, Note, Prompt, Session};

/// Most bytes of keys and values of prompts that run at the same time on the CPU; a single one may take more.
const BATCH_CACHE_BYTES: u64 = 4 << 30;

/// Continue a prompt
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    #[command(flatten)]
    prompt: PromptArguments,

    #[command(flatten)]
    form: FormArguments,

    /// Most tokens to generate [default: the model's own, else 100]
    #[arg(long, value_name = "N")]
    max_tokens: Option<NonZeroUsize>,

    #[command(flatten)]
    sampling: SamplingArguments,

    /// Continue the prompt N times, each by random numbers of its own
    #[arg(long, value_name = "N", default_value = "1", conflicts_with = "batch")]
    n: NonZeroUsize,

    /// Most prompts to run at the same time; fewer where their keys and values have no room: on a GPU what
    /// --gpu-memory-utilization leaves, on the CPU 4 GiB
    #[arg(long, value_name = "N", default_value = "64")]
    max_sequences: NonZeroUsize,

    /// End where this text comes, which is not printed; may be given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,

    /// Also give each token's log-probability and the K best tokens with theirs, 0 to 20, before penalties and temperature
    #[arg(long, value_name = "K", value_parser = logprobs_count)]
    logprobs: Option<usize>,

    /// Print the prompt in front of the text
    #[arg(long)]
    echo: bool,

    /// Print one JSON object: text, ids, finish_reason, timings; one per line with --n, and with --batch, where it adds
    /// the timings
    #[arg(long)]
    json: bool,
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

    /// A file with a prompt per line, or a JSON object per line with prompt or messages and parameters of its own; - for
    /// stdin. A JSON object per line comes out
    #[arg(long, value_name = "FILE")]
    batch: Option<PathBuf>,
}

/// How a prompt becomes ids.
#[derive(Args, Debug)]
pub struct FormArguments {
    /// Leave out what the tokenizer puts around a text, such as <s>
    #[arg(long, conflicts_with = "chat")]
    pub raw: bool,

    /// Ask as a user does: the model's chat template makes the prompt
    #[arg(long)]
    pub chat: bool,

    /// What the model is told before the question
    #[arg(long, value_name = "TEXT", requires = "chat", allow_hyphen_values = true)]
    pub system: Option<String>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> std::result::Result<(), Failure> {
    let loudness = arguments.model.loudness();
    let text = arguments.prompt.read()?;
    let lines = arguments.prompt.batch.as_deref().map(Lines::open).transpose()?;
    let mut session = Session::load(&arguments.load_options(), &mut |note| loudness.note(&note))?;
    note_stages(session.model(), loudness);
    let sampling = arguments.sampling.over_model(session.model().sampling());
    sampling.check(session.model().spec().vocab)?;
    if sampling.temperature > 0.0 {
        loudness.note(&Note::Detail(format!("Seed: {}", sampling.seed)));
    }
    let defaults = GenerateOptions::default();
    let max_tokens = arguments.max_tokens.map(NonZeroUsize::get).or(session.model().max_tokens());
    let options = GenerateOptions {
        sampling,
        max_tokens: max_tokens.unwrap_or(defaults.max_tokens),
        stop: arguments.stop.clone(),
        logprobs: arguments.logprobs,
        interrupt: interrupt()?,
        ..defaults
    };
    if let Some(lines) = lines {
        let (form, timings) = (&arguments.form, arguments.json);
        let batch = BatchOptions { form, echo: arguments.echo, timings, loudness };
        batch::run(&mut session, lines, &batch, &options, &mut stdout().lock())?;
        explain_steps(&session, loudness);
        return Ok(());
    }
    let echo = if arguments.echo { text.as_str() } else { "" };
    let prompt = arguments.form.prompt(&text);
    if arguments.n.get() > 1 {
        let (n, prompt_text) = (arguments.n.get(), text.as_str());
        let several = SeveralOptions { n, prompt: prompt_text, echo, json: arguments.json, loudness };
        several::run(&mut session, &prompt, &several, &options, &mut stdout().lock())?;
        explain_steps(&session, loudness);
        return Ok(());
    }
    let ids = session.encode(&prompt)?;
    let generation = if arguments.json {
        print_json(&mut session, ids, &options, echo)?
    } else {
        print_text(&mut session, ids, &options, echo, (loudness > Loudness::Quiet).then_some(&text))?
    };
    explain(&session, &generation, loudness);
    explain_kernels(&mut session, &generation, &options.sampling, loudness)?;
    Ok(())
}

impl Arguments {
    fn load_options(&self) -> LoadOptions {
        let wanted = if self.prompt.batch.is_some() { self.max_sequences.get() } else { self.n.get() };
        let max_sequences = wanted.min(self.max_sequences.get());
        LoadOptions { max_sequences, cache_bytes: BATCH_CACHE_BYTES, ..self.model.load_options() }
    }
}

fn print_json(
    session: &mut Session,
    ids: Vec<u32>,
    options: &GenerateOptions,
    echo: &str,
) -> std::result::Result<Generation, Failure> {
    let generation = stream(&mut sink(), &options.interrupt, |show| session.generate_from(ids, options, show))?;
    let mut object = result_object(&generation, echo, true);
    object["timings"]["load_ms"] = (session.model().load_time().as_secs_f64() * 1e3).into();
    let mut out = stdout().lock();
    writeln!(out, "{object}").and_then(|()| out.flush())?;
    Ok(generation)
}

/// Streams the text, in a frame that names the prompt if there is one to name.
fn print_text(
    session: &mut Session,
    ids: Vec<u32>,
    options: &GenerateOptions,
    echo: &str,
    framed: Option<&String>,
) -> std::result::Result<Generation, Failure> {
    let mut out = stdout().lock();
    if let Some(prompt) = framed {
        write!(out, "\n=== Generation ===\nPrompt: {prompt}\nOutput: ")?;
    }
    out.write_all(echo.as_bytes()).and_then(|()| out.flush())?;
    let generation = stream(&mut out, &options.interrupt, |show| session.generate_from(ids, options, show))?;
    write!(out, "\n{}", logprobs::table(&generation.logprobs))?;
    if framed.is_some() {
        write!(out, "{}", statistics(&generation, session.model().load_time()))?;
    }
    out.flush()?;
    Ok(generation)
}

/// A number of log-probabilities.
fn logprobs_count(text: &str) -> std::result::Result<usize, String> {
    let expected = || format!("expected 0 to {MOST_LOGPROBS}");
    text.parse().ok().filter(|count| *count <= MOST_LOGPROBS).ok_or_else(expected)
}

impl FormArguments {
    /// The prompt that a text is.
    pub fn prompt(&self, text: &str) -> Prompt {
        match (self.chat, self.raw) {
            (true, _) => Prompt::question(self.system.as_deref(), text),
            (false, true) => Prompt::Raw(text.to_owned()),
            (false, false) => Prompt::Text(text.to_owned()),
        }
    }
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
