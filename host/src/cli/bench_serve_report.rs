//! What `nemotron bench serve` prints.
use serde_json::{Value, json};

use crate::traffic::{Counted, Figures, PromptForm, Range, Spread, Timing, Workload};

/// What was sent, and to whom.
pub struct Load<'a> {
    pub url: &'a str,
    pub model: &'a str,
    pub prompts: PromptForm,
    pub logprobs: Option<usize>,
    pub work: Workload,
    pub timing: Timing,
}

impl Load<'_> {
    /// The work in a line.
    fn words(&self) -> String {
        let Workload { prompt, output, shared_prefix, turns, seed, .. } = self.work;
        let refused = if self.prompts == PromptForm::Texts { ", for ids are refused" } else { "" };
        let ids = self.prompts.words() + refused;
        let mut words = format!("{}, prompts of {} {ids}", self.pace(), both(prompt));
        if shared_prefix > 0 {
            words += &format!(" behind {shared_prefix} that all have");
        }
        words += &format!(", answers of {} tokens", both(output));
        if let Some(count) = self.logprobs {
            words += &format!(" with log-probabilities of the {count} best");
        }
        if turns > 1 {
            words += &format!(", {turns} turns");
        }
        format!("{words}, seed {seed}")
    }

    fn pace(&self) -> String {
        let most = self.timing.concurrency.map(|most| format!("{most} at a time"));
        let rate = self.timing.rate.map(|rate| format!("{rate} per second"));
        [rate, most].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

fn both(Range { least, most }: Range) -> String {
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}

/// The times, with their names in the table and in the object.
fn times(figures: &Figures) -> [(&'static str, &'static str, Option<Spread>); 4] {
    [
        ("to the first token", "ttft_ms", Spread::of(&figures.first_token)),
        ("between tokens", "itl_ms", Spread::of(&figures.between)),
        ("per output token", "tpot_ms", Spread::of(&figures.per_token)),
        ("whole answer", "e2e_ms", Spread::of(&figures.whole)),
    ]
}

/// A table.
pub fn text(load: &Load, figures: &Figures) -> String {
    let requests = figures.per_second(figures.done as u64);
    let mut text = format!("{}, model {}\n{}\n\n", load.url, load.model, load.words());
    text += &format!(
        "{} requests in {:.2} s, {requests:.2} per second; {} failed\n",
        figures.done,
        figures.seconds(),
        figures.failures()
    );
    text += &prompts(figures);
    text += &generated(figures);
    text += &format!("{:20}{:>10}{:>10}{:>10}{:>10}{:>10}\n", "milliseconds", "mean", "p50", "p90", "p99", "max");
    for (name, _, spread) in times(figures) {
        let Some(Spread { mean, p50, p90, p99, max }) = spread else { continue };
        text += &format!("{name:20}");
        text += &[mean, p50, p90, p99, max].map(|time| format!("{:10.2}", time * 1e3)).concat();
        text += "\n";
    }
    text
}

fn prompts(figures: &Figures) -> String {
    let Some(tokens) = figures.prompt_tokens else {
        return "unknown tokens of prompts: the server does not count them\n".to_owned();
    };
    let cached = figures.cached_tokens.map_or("the server does not say how many were cached".to_owned(), |cached| {
        format!("{cached} of them cached ({:.1} %)", 100.0 * cached as f64 / tokens.max(1) as f64)
    });
    format!("{tokens} tokens of prompts, {:.1} per second; {cached}\n", figures.per_second(tokens))
}

fn generated(figures: &Figures) -> String {
    let (count, rate) = (figures.generated_tokens, figures.per_second(figures.generated_tokens));
    let (what, why) = match figures.counted {
        Counted::Usage => ("generated tokens", ""),
        Counted::Ids => ("generated tokens", "; they are the ids that the server named, for it does not count them"),
        Counted::Events => ("events with text", "; tokens are unknown: the server does not count them"),
    };
    format!("{count} {what}, {rate:.1} per second{why}\n\n")
}

/// One object, on a line.
pub fn json(load: &Load, figures: &Figures) -> String {
    let Workload { prompt, output, shared_prefix, turns, seed, .. } = load.work;
    let mut object = json!({
        "url": load.url, "model": load.model, "seed": seed,
        "rate": load.timing.rate, "concurrency": load.timing.concurrency,
        "prompt_ids": matches!(load.prompts, PromptForm::Ids(_)),
        "prompt_tokens_range": [prompt.least, prompt.most], "output_tokens_range": [output.least, output.most],
        "shared_prefix": shared_prefix, "turns": turns, "logprobs": load.logprobs,
        "requests": figures.done, "failed": figures.failures(), "seconds": figures.seconds(),
        "prompt_tokens": figures.prompt_tokens, "cached_tokens": figures.cached_tokens,
        "generated_tokens": figures.generated_tokens, "counted_by": counted_by(figures.counted),
        "requests_per_second": figures.per_second(figures.done as u64),
        "prompt_tokens_per_second": figures.prompt_tokens.map(|tokens| figures.per_second(tokens)),
        "generated_tokens_per_second": figures.per_second(figures.generated_tokens),
    });
    for (_, name, spread) in times(figures) {
        let ms = |time: f64| (time * 1e6).round() / 1e3;
        object[name] = spread.map_or(Value::Null, |Spread { mean, p50, p90, p99, max }| {
            json!({ "mean": ms(mean), "p50": ms(p50), "p90": ms(p90), "p99": ms(p99), "max": ms(max) })
        });
    }
    let errors = figures.failed.iter();
    object["errors"] =
        errors.map(|(kind, (count, what))| json!({ "kind": kind, "count": count, "what": what })).collect();
    format!("{object}\n")
}

fn counted_by(counted: Counted) -> &'static str {
    match counted {
        Counted::Usage => "usage",
        Counted::Ids => "ids",
        Counted::Events => "events",
    }
}
