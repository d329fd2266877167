//! `nemotron bench serve`: how a server of OpenAI's API answers many requests.
use std::io::{Write, stdout};
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;

use super::bench_serve_report as report;
use super::console::Verbosity;
use super::failure::Failure;
use super::numbers::{self, CONTEXT, SEQUENCES};
use super::progress::Requests;
use crate::error::{Category, Error};
use crate::session::MOST_LOGPROBS;
use crate::traffic::{Client, Outcome, PromptForm, Range, Timing, Workload, drive};

/// Conversations at a time, unless a rate or another number is asked for.
const CONCURRENCY: usize = 16;

/// Requests, unless a number or a time is asked for.
const REQUESTS: usize = 256;

/// Send a server of OpenAI's API random prompts, and time its answers
///
/// Prompts are random token ids, or single letters where a server refuses ids. Answers have exactly as many tokens as are asked
/// for (ignore_eos). No prompt is in the server's cache unless --shared-prefix or --turns say so: one that is counts as a failure.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The server, as http://HOST:PORT
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000")]
    url: String,

    /// The model's name [default: the first that the server names]
    #[arg(long, short, value_name = "NAME")]
    model: Option<String>,

    /// The server's API key; in a variable other users of this machine do not see it
    #[arg(long, value_name = "KEY", env = "OPENAI_API_KEY", hide_env_values = true)]
    api_key: Option<String>,

    /// Conversations that begin per second, at random times [default: the next begins when one ends]
    #[arg(long, value_name = "R", value_parser = rate)]
    rate: Option<f64>,

    /// Most conversations at a time [default: 16; with --rate any number]
    #[arg(long, value_name = "C", value_parser = numbers::count(SEQUENCES))]
    concurrency: Option<NonZeroUsize>,

    /// Tokens of a prompt, from A to B
    #[arg(long, value_name = "A:B", default_value = "64:192", value_parser = range)]
    prompt_tokens: Range,

    /// Tokens of an answer, from A to B
    #[arg(long, value_name = "A:B", default_value = "64:192", value_parser = range)]
    output_tokens: Range,

    /// Ask for each token's log-probability and the K best tokens with theirs, 0 to 20
    #[arg(long, value_name = "K", value_parser = numbers::whole(0..=MOST_LOGPROBS))]
    logprobs: Option<usize>,

    /// Tokens that all prompts begin with, in front of --prompt-tokens
    #[arg(long, value_name = "N", default_value = "0", value_parser = numbers::whole(0..=*CONTEXT.end()))]
    shared_prefix: usize,

    /// Requests of a conversation, each with the answers before it and --prompt-tokens more
    #[arg(long, value_name = "T", default_value = "1", value_parser = numbers::count(1..=10_000))]
    turns: NonZeroUsize,

    /// Requests in all [default: 256, or as many as --duration has time for]
    #[arg(long, value_name = "N", value_parser = numbers::count(1..=100_000_000))]
    requests: Option<NonZeroUsize>,

    /// Seconds after which no further conversation begins
    #[arg(long, value_name = "S", value_parser = numbers::count(1..=604_800))]
    duration: Option<NonZeroUsize>,

    /// Seed of the prompts and times; -1 for another one each time, as a server's cache has seen those of the last
    #[arg(long, value_name = "N", default_value = "-1", allow_negative_numbers = true, value_parser = numbers::seed)]
    seed: u64,

    /// Ids of prompts are below this [default: 30000, or 2000 where the server refuses these]
    #[arg(long, value_name = "N", value_parser = numbers::count(2..=*CONTEXT.end()))]
    vocab: Option<NonZeroUsize>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let threads = threads.map_err(|error| {
        Error::new(Category::Io, "Threads cannot be started").details(error).hint("raise the limit (ulimit -u)")
    })?;
    let (work, timing) = (arguments.workload(), arguments.timing());
    let vocabulary = arguments.vocab.map(|vocab| u32::try_from(vocab.get()).unwrap_or(u32::MAX));
    let verbosity = if arguments.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let (client, prompts, figures, ended) = threads.block_on(async {
        let (url, key, model) = (&arguments.url, arguments.api_key.as_deref(), arguments.model.as_deref());
        let mut client = Client::connect(url, key, model).await?;
        client.logprobs = arguments.logprobs;
        let prompts = client.prompts(vocabulary).await?;
        check_prompts(work, prompts)?;
        let bar = Requests::new(work.requests, verbosity);
        let show = |figures: &crate::traffic::Figures| {
            bar.show(figures.done + figures.failures(), figures.failures(), figures.generated_tokens);
        };
        let (figures, ended) = drive(&client, prompts, work, timing, show).await;
        Ok::<_, Error>((client, prompts, figures, ended))
    })?;
    if ended == Outcome::Done && figures.done + figures.failures() == 0 {
        return Err(nothing_sent(timing).into());
    }
    let (url, model, logprobs) = (&arguments.url, &client.model, arguments.logprobs);
    let load = report::Load { url, model, prompts, logprobs, work, timing };
    let text = if arguments.json { report::json(&load, &figures) } else { report::text(&load, &figures) };
    let mut out = stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())?;
    match (ended, figures.failures()) {
        (Outcome::Interrupted, _) => Err(Failure::Interrupted),
        (Outcome::Done, 0) => Ok(()),
        (Outcome::Done, failed) => Err(failure(failed, &figures.failed).into()),
    }
}

/// Whether there are prompts enough that begin as no other does.
fn check_prompts(work: Workload, prompts: PromptForm) -> Result<(), Error> {
    let (asked, most) = (work.conversations().unwrap_or(0), work.most_conversations(prompts.below()));
    if asked <= most {
        return Ok(());
    }
    let what = format!("{asked} conversations, of which {most} begin as no other with {}", prompts.words());
    Err(Error::new(Category::Input, "There are too few prompts")
        .details(format!("{what}, prompts of {} tokens at least", work.prompt.least))
        .hint("choose longer --prompt-tokens, a greater --vocab or fewer --requests"))
}

fn nothing_sent(Timing { rate, duration, .. }: Timing) -> Error {
    let (rate, seconds) = (rate.unwrap_or_default(), duration.unwrap_or_default().as_secs());
    Error::new(Category::Input, "No request was sent")
        .details(format_args!("at {rate} conversations per second none began within {seconds} s"))
        .hint("choose a greater --rate or a longer --duration")
}

fn failure(failed: usize, kinds: &std::collections::BTreeMap<String, (usize, String)>) -> Error {
    let kinds: Vec<String> =
        kinds.iter().map(|(kind, (count, what))| format!("{count} × {kind}, such as: {what}")).collect();
    Error::new(Category::Input, format!("{failed} requests failed"))
        .details(kinds.join("; "))
        .hint("the server's log may say more; the figures are those of the other requests")
}

impl Arguments {
    fn workload(&self) -> Workload {
        let requests = self.requests.map(NonZeroUsize::get);
        Workload {
            prompt: self.prompt_tokens,
            output: self.output_tokens,
            shared_prefix: self.shared_prefix,
            turns: self.turns.get(),
            requests: requests.or(self.duration.is_none().then_some(REQUESTS)),
            seed: self.seed,
        }
    }

    fn timing(&self) -> Timing {
        let concurrency = self.concurrency.map(NonZeroUsize::get);
        Timing {
            rate: self.rate,
            concurrency: concurrency.or(self.rate.is_none().then_some(CONCURRENCY)),
            duration: self.duration.map(|seconds| Duration::from_secs(seconds.get() as u64)),
        }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.0001..=1e6).contains(rate));
    rate.ok_or_else(|| "expected a number from 0.0001 to 1000000".to_owned())
}

/// `A:B`, or `A` for A:A.
fn range(text: &str) -> Result<Range, String> {
    let (least, most) = text.split_once(':').unwrap_or((text, text));
    let number = |text: &str| text.parse().ok().filter(|number| CONTEXT.contains(number));
    let range = number(least).zip(number(most)).filter(|(least, most)| least <= most);
    let (least, most) = range.ok_or_else(|| "expected A:B, two numbers from 1 on, the smaller one first".to_owned())?;
    Ok(Range { least, most })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_two_ends_in_order() {
        assert_eq!(range("64:192"), Ok(Range { least: 64, most: 192 }));
        assert_eq!(range("7"), Ok(Range { least: 7, most: 7 }));
        assert!(["", ":", "9:8", "0:4", "1:x", "1:2:3", "-1:2"].iter().all(|wrong| range(wrong).is_err()));
        assert!(rate("0").is_err() && rate("NaN").is_err() && rate("2.5") == Ok(2.5));
    }
}
