//! `nemotron serve`: many users of one model, over HTTP.
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::failure::Failure;
use super::model::{AnswerArguments, ModelArguments};
use super::numbers::{self, CONTEXT, SEQUENCES};
use crate::error::{Category, Error, Result};
use crate::server::{ServeOptions, serve};
use crate::session::{LoadOptions, Note};

/// Most bytes of keys and values on the CPU.
const CACHE_BYTES: u64 = 4_000_000_000;

/// Serve OpenAI's API over HTTP
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub model: ModelArguments,

    #[command(flatten)]
    answer: AnswerArguments,

    /// Address or name to listen at
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    host: String,

    /// Port to listen at; 0 for any that is free
    #[arg(long, value_name = "PORT", default_value = "8000")]
    port: u16,

    /// The model's name in requests and answers [default: as --model has it]
    #[arg(long, value_name = "NAME")]
    served_model_name: Option<String>,

    /// A key that requests must bring; several, separated by commas
    #[arg(long, env = "NEMOTRON_API_KEY", value_name = "KEY", hide_env_values = true, value_delimiter = ',')]
    api_key: Vec<String>,

    /// A file with keys, one in a line
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,

    /// Listen at an address that other machines reach, without a key
    #[arg(long)]
    allow_no_key: bool,

    /// Have all keys share what is cached of prompts; how quick an answer is then tells what others asked
    #[arg(long)]
    share_cache: bool,

    /// Generations that run at the same time; fewer where their keys and values have no room
    #[arg(long, value_name = "N", default_value = "64", value_parser = numbers::count(SEQUENCES))]
    max_sequences: NonZeroUsize,

    /// Token rows of a step: long prompts are computed in pieces of so many beside running answers [default: 512]
    #[arg(long, value_name = "N", value_parser = numbers::whole(CONTEXT))]
    max_step_tokens: Option<usize>,

    /// Generations that wait beside those that run; more are answered with 429
    #[arg(long, value_name = "N", default_value = "1024")]
    max_queue: usize,

    /// Seconds that a generation may wait [default: no limit]
    #[arg(long, value_name = "S", value_parser = seconds)]
    queue_timeout: Option<Duration>,

    /// Seconds that a request may take [default: no limit]
    #[arg(long, value_name = "S", value_parser = seconds)]
    request_timeout: Option<Duration>,

    /// Seconds that running requests may take once the server is to end
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds)]
    drain_timeout: Duration,

    /// Connections at the same time
    #[arg(long, value_name = "N", default_value = "4096")]
    max_connections: NonZeroUsize,

    /// Most bytes of a request's body
    #[arg(long, value_name = "N", default_value = "16777216")]
    max_body_bytes: NonZeroUsize,

    /// How requests are logged on stderr
    #[arg(long, value_name = "FORM", value_enum, default_value = "text")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// A line of text
    Text,
    /// A JSON object in a line
    Json,
}

/// Rows of a step that keep the gap between two tokens of a running answer short: 25 ms of a 4B model on an H100.
const STEP_TOKENS: usize = 512;

/// Runs the command.
pub fn run(arguments: &Arguments) -> std::result::Result<(), Failure> {
    let verbosity = arguments.model.verbosity();
    start_log(arguments.log_format, verbosity >= super::console::Verbosity::Normal);
    let load = LoadOptions {
        longest_context: true,
        max_sequences: arguments.max_sequences.get(),
        max_step_tokens: Some(arguments.max_step_tokens.unwrap_or(STEP_TOKENS)),
        cache_bytes: CACHE_BYTES,
        ..arguments.answer.over(arguments.model.load_options())
    };
    let options = arguments.options()?;
    let at = move |address: SocketAddr| {
        verbosity.note(&Note::Info(format!("Listening at http://{address}")));
    };
    Ok(serve(load, options, move |note| verbosity.note(&note), at)?)
}

impl Arguments {
    fn options(&self) -> Result<ServeOptions> {
        Ok(ServeOptions {
            host: self.host.clone(),
            port: self.port,
            served_model_name: self.served_model_name.clone(),
            api_keys: [self.api_key.clone(), self.keys_of_file()?].concat(),
            allow_no_key: self.allow_no_key,
            max_queue: self.max_queue,
            queue_timeout: self.queue_timeout,
            request_timeout: self.request_timeout,
            drain_timeout: self.drain_timeout,
            max_connections: self.max_connections.get(),
            max_body_bytes: self.max_body_bytes.get(),
            share_cache: self.share_cache,
        })
    }

    fn keys_of_file(&self) -> Result<Vec<String>> {
        let Some(path) = &self.api_key_file else { return Ok(Vec::new()) };
        let wrong = |what: String| {
            Error::new(Category::Io, "The API keys cannot be read")
                .details(format_args!("{}: {what}", path.display()))
                .hint("name a text file with a key in each line")
        };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let keys: Vec<String> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(str::to_owned)
            .collect();
        if keys.is_empty() { Err(wrong("there is no key in it".to_owned())) } else { Ok(keys) }
    }
}

fn seconds(text: &str) -> std::result::Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.001..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected seconds from 0.001 to 86400".to_owned())
}

/// Sends the log to stderr: a line per request, and what goes wrong.
fn start_log(format: LogFormat, all: bool) {
    let level = if all { tracing::Level::INFO } else { tracing::Level::WARN };
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level).with_target(false);
    // Fails only where somebody has set a log already.
    let _ = match format {
        LogFormat::Text => log.with_ansi(false).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}
