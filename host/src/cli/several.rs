//! `--n`: several continuations of one prompt.
use std::io::Write;

use super::console::Verbosity;
use super::failure::Failure;
use super::logprobs;
use super::progress::Prompts;
use super::report::{Totals, numbered, result_object};
use super::stream::shown_text;
use crate::session::{BatchRequest, Finish, GenerateOptions, Prompt, Sampling, Session};

/// How the continuations are written.
pub struct SeveralOptions<'a> {
    /// How many.
    pub n: usize,
    /// The prompt as it was given.
    pub prompt: &'a str,
    /// What stands in front of each text.
    pub echo: &'a str,
    /// Whether each is a JSON object in a line.
    pub json: bool,
    /// Whether a frame names each.
    pub verbosity: Verbosity,
}

/// Writes the continuations in order, each when it is whole; the first that fails ends it.
pub fn run(
    session: &mut Session,
    prompt: &Prompt,
    several: &SeveralOptions,
    options: &GenerateOptions,
    out: &mut impl Write,
) -> std::result::Result<(), Failure> {
    let request = |stream| BatchRequest {
        prompt: prompt.clone(),
        max_tokens: options.max_tokens,
        sampling: Sampling { stream, ..options.sampling.clone() },
        stop: options.stop.clone(),
        logprobs: options.logprobs,
        prompt_logprobs: options.prompt_logprobs.filter(|_| stream == 0),
        thinking_budget: options.thinking_budget,
        grammar: options.grammar.clone(),
    };
    let SeveralOptions { n, prompt, echo, json, verbosity } = *several;
    let requests = (0..n as u32).map(|stream| Ok(request(stream)));
    let (mut index, mut interrupted) = (0, false);
    let mut totals = Totals::default();
    let mut progress = Prompts::new(Some(n), verbosity);
    session.generate_batch(requests, &options.interrupt, |result| {
        let generation = result?;
        totals.add(&generation);
        let framed = verbosity > Verbosity::Quiet;
        let frame = || format!("\n=== Generation {} of {n} ===\nPrompt: {prompt}\nOutput: ", index + 1);
        let text = if json {
            format!("{}\n", numbered(index, result_object(&generation, echo, true)))
        } else {
            let (frame, table) = (if framed { frame() } else { String::new() }, logprobs::tables(&generation));
            format!("{frame}{echo}{}\n{table}", shown_text(&generation))
        };
        index += 1;
        interrupted |= generation.finish == Finish::Interrupted;
        let write = || out.write_all(text.as_bytes()).and_then(|()| out.flush());
        progress.done(generation.ids.len(), write).map_err(Failure::from)
    })?;
    drop(progress);
    if verbosity > Verbosity::Quiet && !json {
        out.write_all(totals.statistics(session.model().load_time()).as_bytes()).and_then(|()| out.flush())?;
    }
    if interrupted { Err(Failure::Interrupted) } else { Ok(()) }
}
