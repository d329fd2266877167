//! `nemotron generate`: a prompt becomes text, streamed.
use std::io::{Write, sink, stderr, stdout};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::batch::{self, BatchOptions, Text};
use super::console::Verbosity;
use super::failure::Failure;
use super::grammar::GrammarArguments;
use super::logprobs;
use super::model::{AnswerArguments, ModelArguments, note_stages};
use super::numbers::{self, COMPLETIONS, SEQUENCES, THOUGHTS};
use super::progress;
use super::prompt::{self, FormArguments};
use super::report::{explain, explain_kernels, explain_steps, result_object, statistics};
use super::sampling::SamplingArguments;
use super::several::{self, SeveralOptions};
use super::signals::interrupt;
use super::stream::{Dimmed, stream};
use super::tools;
use crate::error::Result;
use crate::session::{Finish, GenerateOptions, Generation, LoadOptions, MOST_LOGPROBS, Note, OfferedTools, Session};

/// Most bytes of keys and values of prompts that run at the same time on the CPU; a single one may take more.
const BATCH_CACHE_BYTES: u64 = 4_000_000_000;

/// Continue a prompt
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub model: ModelArguments,

    #[command(flatten)]
    prompt: PromptArguments,

    #[command(flatten)]
    form: FormArguments,

    /// Most tokens to generate; -1 to go on until the context is full [default: the model's own, else 100]
    #[arg(long, short = 'n', value_name = "N", allow_negative_numbers = true, value_parser = numbers::max_tokens)]
    max_tokens: Option<NonZeroUsize>,

    #[command(flatten)]
    sampling: SamplingArguments,

    #[command(flatten)]
    answer: AnswerArguments,

    /// A JSON file with functions that the model may call, a list as in OpenAI's API; it needs --chat. Calls are printed behind the text, a line of JSON
    /// each, and are tool_calls of JSON objects
    #[arg(long, value_name = "FILE", requires = "chat")]
    tools: Option<PathBuf>,

    /// Continue the prompt N times, each by random numbers of its own; -n is --max-tokens
    #[arg(long, value_name = "N", default_value = "1", conflicts_with = "batch", value_parser = numbers::count(COMPLETIONS))]
    n: NonZeroUsize,

    /// Most prompts to run at the same time; fewer where their keys and values have no room: on a GPU what
    /// --gpu-memory-utilization leaves, on the CPU 4 GB
    #[arg(long, value_name = "N", default_value = "64", value_parser = numbers::count(SEQUENCES))]
    max_sequences: NonZeroUsize,

    /// End where this text comes, which is not printed; may be given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, value_parser = NonEmptyStringValueParser::new())]
    stop: Vec<String>,

    /// Also give each token's log-probability and the K best tokens with theirs, 0 to 20, before penalties and temperature
    #[arg(long, value_name = "K", value_parser = numbers::whole(0..=MOST_LOGPROBS))]
    logprobs: Option<usize>,

    /// The same for the prompt's own tokens, of which nothing is taken from the cache then; JSON as vLLM writes it
    #[arg(long, value_name = "K", value_parser = numbers::whole(0..=MOST_LOGPROBS))]
    prompt_logprobs: Option<usize>,

    /// Most tokens of reasoning, which is ended there
    #[arg(long, value_name = "N", value_parser = numbers::whole(THOUGHTS))]
    thinking_budget: Option<usize>,

    #[command(flatten)]
    grammar: GrammarArguments,

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

    /// A UTF-8 file with the prompt, - for stdin; one line end at its end is not part of the prompt
    #[arg(long, short = 'f', value_name = "FILE")]
    prompt_file: Option<PathBuf>,

    /// A file with a prompt per line or a JSON object per line, with prompt or messages and parameters of its own, or as
    /// OpenAI's batches have it; - for stdin, whose lines are answered as they come. A JSON object per line comes out; the
    /// exit code is 1 where a line failed
    #[arg(long, value_name = "FILE")]
    batch: Option<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> std::result::Result<(), Failure> {
    let verbosity = arguments.model.verbosity();
    let text = arguments.prompt.read()?;
    let lines = arguments.prompt.batch.as_deref().map(Text::open).transpose()?;
    let grammar = arguments.grammar.read()?;
    let offered = arguments.tools.as_deref().map(tools::read).transpose()?;
    let mut session = Session::load(&arguments.load_options(), &mut |note| verbosity.note(&note))?;
    note_stages(session.model(), verbosity);
    offered.map_or(Ok(()), |tools| session.offer(tools))?;
    let mut sampling = arguments.sampling.over_model(session.model().sampling());
    if arguments.max_tokens.is_some() {
        sampling.constraints.max_length = 0;
    }
    sampling.check(session.model().spec().vocab)?;
    if sampling.temperature > 0.0 {
        verbosity.note(&Note::Detail(format!("Seed: {}", sampling.seed)));
    }
    let max_tokens = arguments.max_tokens.map(NonZeroUsize::get).or(session.model().max_tokens());
    let options = GenerateOptions {
        sampling,
        max_tokens: max_tokens.unwrap_or(GenerateOptions::default().max_tokens),
        stop: arguments.stop.clone(),
        logprobs: arguments.logprobs,
        prompt_logprobs: arguments.prompt_logprobs,
        thinking_budget: arguments.thinking_budget,
        grammar,
        interrupt: interrupt(verbosity)?,
        progress: progress::prompt(verbosity),
    };
    if let Some(lines) = lines {
        let (form, timings) = (&arguments.form, arguments.json);
        let batch = BatchOptions { model: &arguments.model.model, form, echo: arguments.echo, timings, verbosity };
        let ended = batch::run(&mut session, lines, &batch, &options, &mut stdout().lock());
        explain_steps(&session, verbosity);
        return ended;
    }
    let echo = if arguments.echo { text.as_str() } else { "" };
    let prompt = arguments.form.prompt(&text);
    if arguments.n.get() > 1 {
        let (n, prompt_text) = (arguments.n.get(), text.as_str());
        let several = SeveralOptions { n, prompt: prompt_text, echo, json: arguments.json, verbosity };
        let ended = several::run(&mut session, &prompt, &several, &options, &mut stdout().lock());
        explain_steps(&session, verbosity);
        return ended;
    }
    let ids = session.encode(&prompt)?;
    // Before anything is printed of it.
    session.check(&ids, &options)?;
    let generation = if arguments.json {
        print_json(&mut session, ids, &options, echo)?
    } else {
        print_text(&mut session, ids, &options, echo, (verbosity > Verbosity::Quiet).then_some(&text))?
    };
    explain(&session, &generation, verbosity);
    if generation.finish == Finish::Interrupted {
        return Err(Failure::Interrupted);
    }
    explain_kernels(&mut session, &generation, &options.sampling, verbosity)?;
    Ok(())
}

impl Arguments {
    fn load_options(&self) -> LoadOptions {
        let wanted = if self.prompt.batch.is_some() { self.max_sequences.get() } else { self.n.get() };
        let max_sequences = wanted.min(self.max_sequences.get());
        let logit_bias = self.sampling.logit_bias.iter().map(|bias| (bias.0, bias.1)).collect();
        let options = self.answer.over(self.model.load_options());
        LoadOptions { max_sequences, logit_bias, cache_bytes: BATCH_CACHE_BYTES, ..options }
    }
}

fn print_json(
    session: &mut Session,
    ids: Vec<u32>,
    options: &GenerateOptions,
    echo: &str,
) -> std::result::Result<Generation, Failure> {
    let generation = stream(&mut sink(), &options.interrupt, Dimmed::on_terminal(None, None), |show| {
        session.generate_from(ids, options, show)
    })?;
    let mut object = result_object(&generation, echo, true);
    object["timings"]["load_ms"] = (session.model().load_time().as_secs_f64() * 1e3).into();
    let mut out = stdout().lock();
    writeln!(out, "{object}").and_then(|()| out.flush())?;
    Ok(generation)
}

/// Streams the text, in a frame that names the prompt if there is one to name; without a frame stdout has the text alone.
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
    let dimmed = Dimmed::on_terminal(session.reasoning(&ids)?, session.offered().map(OfferedTools::parser));
    let generation = stream(&mut out, &options.interrupt, dimmed, |show| session.generate_from(ids, options, show))?;
    writeln!(out)?;
    let table = logprobs::tables(&generation);
    if framed.is_some() {
        write!(out, "{table}{}", statistics(&generation, session.model().load_time()))?;
    }
    out.flush()?;
    if framed.is_none() {
        // A closed stderr ends nothing.
        let _ = stderr().write_all(table.as_bytes());
    }
    Ok(generation)
}

impl PromptArguments {
    fn read(&self) -> Result<String> {
        match &self.prompt_file {
            Some(path) => prompt::read(path),
            None => Ok(self.prompt.clone().unwrap_or_default()),
        }
    }
}
