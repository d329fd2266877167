//! What is said of a generation: statistics, a JSON object, and why it ended.
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::console::Verbosity;
use super::logprobs;
use crate::engine::EngineStatus;
use crate::error::{Error, Result};
use crate::sample::Sampling;
use crate::session::{Finish, Generation, Note, Session, StepProfile};

/// The statistics of a generation.
pub fn statistics(generation: &Generation, load_time: Duration) -> String {
    let mut rows = rows(generation);
    rows.insert(0, ("Load time:", milliseconds(load_time)));
    format!("\n=== Statistics ===\n{}", table(&rows))
}

/// Tokens and times of a generation, with their labels.
pub fn rows(generation: &Generation) -> Vec<(&'static str, String)> {
    let speed = generation.speed().map_or("n/a".to_owned(), |speed| format!("{speed:.1} tokens/sec"));
    vec![
        ("Prompt tokens:", generation.prompt_tokens.to_string()),
        ("Prompt time:", milliseconds(generation.prompt_time)),
        ("Generated:", format!("{} tokens", generation.ids.len())),
        ("Generation time:", milliseconds(generation.generation_time)),
        ("Speed:", speed),
    ]
}

/// Tokens and times of generations that run side by side.
pub struct Totals {
    started: Instant,
    generations: usize,
    prompt_tokens: usize,
    prefilled: usize,
    generated: usize,
    /// From the start until the last first token was there.
    prompt_time: Duration,
}

impl Default for Totals {
    fn default() -> Totals {
        let (started, prompt_time) = (Instant::now(), Duration::ZERO);
        Totals { started, generations: 0, prompt_tokens: 0, prefilled: 0, generated: 0, prompt_time }
    }
}

impl Totals {
    /// Counts one.
    pub fn add(&mut self, generation: &Generation) {
        self.generations += 1;
        self.prompt_tokens += generation.prompt_tokens;
        self.prefilled += generation.prefilled_tokens;
        self.generated += generation.ids.len();
        self.prompt_time = self.prompt_time.max(generation.prompt_time);
    }

    /// The statistics; the speed is that of all tokens together, over the time from the start until now.
    pub fn statistics(&self, load_time: Duration) -> String {
        let time = self.started.elapsed();
        let speed = self.generated as f64 / time.as_secs_f64().max(1e-9);
        let rows = [
            ("Load time:", milliseconds(load_time)),
            ("Generations:", self.generations.to_string()),
            ("Prompt tokens:", format!("{}, {} of them computed", self.prompt_tokens, self.prefilled)),
            ("Prompt time:", milliseconds(self.prompt_time)),
            ("Generated:", format!("{} tokens", self.generated)),
            ("Time in all:", milliseconds(time)),
            ("Speed:", format!("{speed:.1} tokens/sec")),
        ];
        format!("\n=== Statistics ===\n{}", table(&rows))
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Says why a generation ended and what it took.
pub fn explain(session: &Session, generation: &Generation, verbosity: Verbosity) {
    let reason = match generation.finish {
        Finish::Stop => "the model ended its text",
        Finish::StopText => "a stop text came",
        Finish::Length => "--max-tokens are there",
        Finish::Context => "the context is full",
        Finish::Interrupted => "interrupted",
    };
    verbosity.note(&Note::Detail(format!("Ended: {reason}")));
    explain_steps(session, verbosity);
}

/// Says what the engine has done so far.
pub fn explain_steps(session: &Session, verbosity: Verbosity) {
    let EngineStatus { counters, cache, plans, .. } = session.status();
    verbosity.note(&Note::Detail(format!(
        "Steps: {}, launches: {}, uploads of inputs: {}, token rows: {}, prompt tokens that were there: {}",
        counters.steps, counters.launches, counters.uploads, counters.rows, counters.reused
    )));
    let preparing = counters.preparing.as_secs_f64() * 1e3;
    verbosity.note(&Note::Detail(format!(
        "Plans: {}, {preparing:.1} ms to make and to start; {plans} kept, {} released",
        counters.plans, counters.released_plans
    )));
    verbosity.note(&Note::Detail(format!(
        "Cache: {} pages, {} of them cached, {} free; {} of {} prompt tokens found; {} evicted, {} sequences preempted",
        cache.pages, cache.cached, cache.free, counters.reused, counters.queried, counters.evicted, counters.preempted
    )));
}

/// Says which kernels the prompt's first step and the last decode step spend their time in, where the device can tell.
pub fn explain_kernels(
    session: &mut Session,
    generation: &Generation,
    sampling: &Sampling,
    verbosity: Verbosity,
) -> Result<()> {
    if verbosity < Verbosity::Verbose {
        return Ok(());
    }
    for StepProfile { position, rows, kernels } in session.profile(generation, sampling)? {
        let total: Duration = kernels.iter().map(|kernel| kernel.time).sum();
        verbosity.note(&Note::Detail(format!(
            "A step of {rows} token{} at depth {position}, kernel by kernel: {}",
            if rows == 1 { "" } else { "s" },
            milliseconds(total)
        )));
        for kernel in kernels {
            let (name, launches, seconds) = (kernel.name, kernel.launches, kernel.time.as_secs_f64());
            let rate = kernel.bytes as f64 / seconds.max(1e-9) / 1e9;
            let line = format!("  {name:<16}{launches:>5} launches{:>10.1} us{rate:>8.0} GB/s", seconds * 1e6);
            verbosity.note(&Note::Detail(line));
        }
    }
    Ok(())
}

/// Labels and values below each other.
pub fn table(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(label, _)| label.len()).fold(16, usize::max);
    rows.iter().map(|(label, value)| format!("{label:<width$} {value}\n")).collect()
}

/// A generation as a JSON object; `echo` stands in front of its text.
pub fn result_object(generation: &Generation, echo: &str, timings: bool) -> Value {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let finish_reason = match generation.finish {
        _ if generation.ends_in_calls() => "tool_calls",
        Finish::Stop | Finish::StopText => "stop",
        Finish::Length => "length",
        Finish::Context => "context",
        Finish::Interrupted => "interrupted",
    };
    let (reasoning, answer) = generation.parts();
    let mut object = json!({
        "text": format!("{echo}{answer}"),
        "ids": generation.ids,
        "finish_reason": finish_reason,
        "prompt_tokens": generation.prompt_tokens,
        "prefilled_tokens": generation.prefilled_tokens,
        "generated_tokens": generation.ids.len(),
    });
    if let Some(reasoning) = reasoning {
        object["reasoning"] = reasoning.into();
    }
    if !generation.calls().is_empty() {
        object["tool_calls"] = generation.calls().into();
    }
    if !generation.logprobs.is_empty() {
        object["logprobs"] = logprobs::list(&generation.logprobs);
    }
    if let Some(prompt) = &generation.prompt_logprobs {
        object["prompt_logprobs"] = logprobs::of_vllm(prompt);
    }
    if timings {
        object["timings"] = json!({
            "prompt_ms": milliseconds(generation.prompt_time),
            "generation_ms": milliseconds(generation.generation_time),
            "tokens_per_second": generation.speed(),
        });
    }
    object
}

/// An error as a JSON object, in the place of a result.
pub fn error_object(error: &Error) -> Value {
    let category = format!("{:?}", error.category());
    let (message, details, hint) = (error.message(), error.details_text(), error.hint_text());
    json!({ "error": { "category": category, "message": message, "details": details, "hint": hint } })
}

/// `object` with its index in front.
pub fn numbered(index: usize, object: Value) -> Value {
    let mut numbered = json!({ "index": index });
    if let (Value::Object(numbered), Value::Object(object)) = (&mut numbered, object) {
        numbered.extend(object);
    }
    numbered
}
