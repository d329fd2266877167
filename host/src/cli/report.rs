//! What is said of a generation: statistics, a JSON object, and why it ended.
use std::time::Duration;

use serde_json::{Value, json};

use super::console::Loudness;
use super::logprobs;
use crate::error::Error;
use crate::session::{Finish, Generation, Note, Session};

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

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Says why a generation ended and what it took.
pub fn explain(session: &Session, generation: &Generation, loudness: Loudness) {
    let reason = match generation.finish {
        Finish::Stop => "the model ended its text",
        Finish::StopText => "a stop text came",
        Finish::Length => "--max-tokens are there",
        Finish::Context => "the context is full",
        Finish::Interrupted => "interrupted",
    };
    loudness.note(&Note::Detail(format!("Ended: {reason}")));
    explain_steps(session, loudness);
}

/// Says what the engine has done so far.
pub fn explain_steps(session: &Session, loudness: Loudness) {
    let counters = session.counters();
    loudness.note(&Note::Detail(format!(
        "Steps: {}, launches: {}, uploads of inputs: {}, token rows: {}, prompt tokens that were there: {}",
        counters.steps, counters.launches, counters.uploads, counters.rows, counters.reused
    )));
}

/// Labels and values below each other.
pub fn table(rows: &[(&str, String)]) -> String {
    rows.iter().map(|(label, value)| format!("{label:<16} {value}\n")).collect()
}

/// A generation as a JSON object; `echo` stands in front of its text.
pub fn result_object(generation: &Generation, echo: &str, timings: bool) -> Value {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let finish_reason = match generation.finish {
        Finish::Stop | Finish::StopText => "stop",
        Finish::Length => "length",
        Finish::Context => "context",
        Finish::Interrupted => "interrupted",
    };
    let mut object = json!({
        "text": format!("{echo}{}", generation.text),
        "ids": generation.ids,
        "finish_reason": finish_reason,
        "prompt_tokens": generation.prompt_tokens,
        "prefilled_tokens": generation.prefilled_tokens,
        "generated_tokens": generation.ids.len(),
    });
    if !generation.logprobs.is_empty() {
        object["logprobs"] = logprobs::list(&generation.logprobs);
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
