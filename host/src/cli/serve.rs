//! `nemotron serve`: a model for many users, behind OpenAI's APIs.
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::failure::Failure;
use super::model::{AnswerArguments, ModelArguments, note_stages};
use super::numbers::{self, SEQUENCES};
use super::vllm::ParserArguments;
use crate::error::{Category, Error, Result};
use crate::server::{self, Ended, Settings};
use crate::session::{LoadOptions, Session};

/// Most bytes of keys and values of sequences that run at the same time on the CPU; a single one may take more.
const CACHE_BYTES: u64 = 4_000_000_000;

/// Seconds that an option may name: up to a week.
const SECONDS: std::ops::RangeInclusive<usize> = 1..=604_800;

/// Serve a model to many users, with OpenAI's and Anthropic's APIs
#[derive(Args, Debug)]
#[command(after_help = "API keys are read from --api-key-file, or from NEMOTRON_API_KEYS with commas between them. \
    docs/serving.md has all fields of requests, all metrics, and how to run a server.")]
pub struct Arguments {
    #[command(flatten)]
    pub model: ModelArguments,

    #[command(flatten)]
    answer: AnswerArguments,

    #[command(flatten)]
    parsers: ParserArguments,

    /// Address to listen at
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    host: String,

    /// Port to listen at; 0 for one that is free, which the log names
    #[arg(long, value_name = "PORT", default_value = "8000")]
    port: u16,

    /// The model's name for clients [default: as --model says it]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    served_model_name: Option<String>,

    /// A file with an API key per line, of which each request has to have one
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,

    /// Listen at an address that other machines reach, without any API key
    #[arg(long)]
    allow_no_key: bool,

    /// Let requests of all API keys share cached prefixes: cached_tokens then tells what others asked
    #[arg(long)]
    share_cache: bool,

    /// Most sequences to run at the same time
    #[arg(long, value_name = "N", default_value = "64", value_parser = numbers::count(SEQUENCES))]
    max_sequences: NonZeroUsize,

    /// Most bytes of the states of cached prefixes, for models that keep a state [default: an eighth of what is left beside the
    /// weights, and at most four states for each sequence]
    #[arg(long, value_name = "N")]
    prefix_cache_bytes: Option<u64>,

    /// Most tokens of one step, which bounds how long running answers wait for the prompts of others [default: 1024]
    #[arg(long, value_name = "N", value_parser = numbers::count(1..=65_536))]
    max_step_tokens: Option<NonZeroUsize>,

    /// Most answers that wait for their turn; further requests get 429
    #[arg(long, value_name = "N", default_value = "1024", value_parser = numbers::count(SEQUENCES))]
    max_queue: NonZeroUsize,

    /// Seconds that an answer may wait for its turn; then the request gets 503
    #[arg(long, value_name = "S", default_value = "300", value_parser = numbers::count(SECONDS))]
    queue_timeout: NonZeroUsize,

    /// Seconds that a request may take in all; then it ends with an error
    #[arg(long, value_name = "S", default_value = "3600", value_parser = numbers::count(SECONDS))]
    request_timeout: NonZeroUsize,

    /// Seconds that running requests may take to end after SIGTERM or SIGINT
    #[arg(long, value_name = "S", default_value = "30", value_parser = numbers::count(SECONDS))]
    drain_timeout: NonZeroUsize,

    /// Seconds that a connection may be silent before a request, and take to send one
    #[arg(long, value_name = "S", default_value = "60", value_parser = numbers::count(SECONDS))]
    idle_timeout: NonZeroUsize,

    /// Seconds that a client may read nothing of what it is sent; then its connection is closed
    #[arg(long, value_name = "S", default_value = "10", value_parser = numbers::count(SECONDS))]
    reader_timeout: NonZeroUsize,

    /// Most connections at a time; further ones wait
    #[arg(long, value_name = "N", default_value = "4096", value_parser = numbers::count(SEQUENCES))]
    max_connections: NonZeroUsize,

    /// Most bytes of a request's body; those of all requests together may have 128 MiB and 16 KiB for each connection
    #[arg(long, value_name = "N", default_value = "8388608", value_parser = numbers::count(1..=1 << 30))]
    max_body_bytes: NonZeroUsize,

    /// The form of the log on stderr, which has a line for each request and never a text
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    log_format: String,
}

/// Tokens of a step unless the user asks for another number.
const STEP_TOKENS: usize = 1024;

/// Runs the command.
pub fn run(arguments: &Arguments) -> std::result::Result<(), Failure> {
    let settings = arguments.settings()?;
    let (verbosity, options) = (arguments.model.verbosity(), arguments.load_options());
    arguments.parsers.note(verbosity);
    let load = move || {
        let session = Session::load(&options, &mut |note| verbosity.note(&note))?;
        note_stages(session.model(), verbosity);
        Ok(session)
    };
    match server::serve(settings, load)? {
        Ended::Drained => Ok(()),
        Ended::Cut => Err(Failure::Interrupted),
    }
}

impl Arguments {
    fn load_options(&self) -> LoadOptions {
        LoadOptions {
            longest_context: true,
            max_sequences: self.max_sequences.get(),
            step_tokens: Some(self.max_step_tokens.map_or(STEP_TOKENS, NonZeroUsize::get)),
            cache_bytes: CACHE_BYTES,
            prefix_cache_bytes: self.prefix_cache_bytes,
            prepare_decodes: true,
            ..self.answer.over(self.model.load_options())
        }
    }

    fn settings(&self) -> Result<Settings> {
        let seconds = |seconds: NonZeroUsize| Duration::from_secs(seconds.get() as u64);
        let api_keys = match &self.api_key_file {
            Some(file) => of_file(file)?,
            None => std::env::var("NEMOTRON_API_KEYS").map(|keys| listed(&keys, ',')).unwrap_or_default(),
        };
        let is_open = !["127.0.0.1", "::1", "localhost"].contains(&self.host.as_str());
        if is_open && api_keys.is_empty() && !self.allow_no_key {
            return Err(Error::new(Category::Input, "Whoever reaches this address could use the model")
                .details(format_args!("--host {}, and no API key", self.host))
                .hint("give keys with --api-key-file or NEMOTRON_API_KEYS, or say --allow-no-key"));
        }
        Ok(Settings {
            host: self.host.clone(),
            port: self.port,
            model: self.served_model_name.clone().unwrap_or_else(|| self.model.model.clone()),
            api_keys,
            max_queue: self.max_queue.get(),
            queue_timeout: seconds(self.queue_timeout),
            request_timeout: seconds(self.request_timeout),
            drain_timeout: seconds(self.drain_timeout),
            idle_timeout: seconds(self.idle_timeout),
            reader_timeout: seconds(self.reader_timeout),
            max_connections: self.max_connections.get(),
            max_body_bytes: self.max_body_bytes.get(),
            share_cache: self.share_cache,
            json_log: self.log_format == "json",
        })
    }
}

fn listed(text: &str, between: char) -> Vec<String> {
    text.split(between).map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned).collect()
}

fn of_file(file: &Path) -> Result<Vec<String>> {
    let failed = |what: &dyn std::fmt::Display| {
        Error::new(Category::Io, "The API keys cannot be read")
            .details(format_args!("{}: {what}", file.display()))
            .hint("give a file with a key per line")
    };
    let keys = listed(&std::fs::read_to_string(file).map_err(|error| failed(&error))?, '\n');
    if keys.is_empty() { Err(failed(&"it has no key")) } else { Ok(keys) }
}
