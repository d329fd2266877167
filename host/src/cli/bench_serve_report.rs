//! What `nemotron bench serve` prints.
use serde_json::{Value, json};

use crate::traffic::{Figures, PromptForm, Range, Spread, Timing, Workload};

/// What was sent, and to whom.
pub struct Load<'a> {
    pub url: &'a str,
    pub model: &'a str,
    pub prompts: PromptForm,
    pub work: Workload,
    pub timing: Timing,
}

impl Load<'_> {
    /// The work in a line.
    fn words(&self) -> String {
        let Workload { prompt, output, shared_prefix, turns, seed, .. } = self.work;
        let ids = match self.prompts {
            PromptForm::Ids(below) => format!("ids below {below}"),
            PromptForm::Texts => "letters, for ids are refused".to_owned(),
        };
        let mut words = format!("{}, prompts of {} {ids}", self.pace(), both(prompt));
        if shared_prefix > 0 {
            words += &format!(" behind {shared_prefix} that all have");
        }
        words += &format!(", answers of {} tokens", both(output));
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
    let [prompts, generated] = [figures.prompt_tokens, figures.generated_tokens].map(|count| figures.per_second(count));
    let cached = figures.cached_tokens.map_or("the server does not say how many were cached".to_owned(), |cached| {
        let share = 100.0 * cached as f64 / figures.prompt_tokens.max(1) as f64;
        format!("{cached} of them cached ({share:.1} %)")
    });
    let mut text = format!("{}, model {}\n{}\n\n", load.url, load.model, load.words());
    text += &format!(
        "{} requests in {:.2} s, {requests:.2} per second; {} failed\n",
        figures.done,
        figures.seconds(),
        figures.failures()
    );
    text += &format!("{} tokens of prompts, {prompts:.1} per second; {cached}\n", figures.prompt_tokens);
    text += &format!("{} generated tokens, {generated:.1} per second\n\n", figures.generated_tokens);
    text += &format!("{:20}{:>10}{:>10}{:>10}{:>10}{:>10}\n", "milliseconds", "mean", "p50", "p90", "p99", "max");
    for (name, _, spread) in times(figures) {
        let Some(Spread { mean, p50, p90, p99, max }) = spread else { continue };
        text += &format!("{name:20}");
        text += &[mean, p50, p90, p99, max].map(|time| format!("{:10.2}", time * 1e3)).concat();
        text += "\n";
    }
    text
}

/// One object, on a line.
pub fn json(load: &Load, figures: &Figures) -> String {
    let Workload { prompt, output, shared_prefix, turns, seed, .. } = load.work;
    let mut object = json!({
        "url": load.url, "model": load.model, "seed": seed,
        "rate": load.timing.rate, "concurrency": load.timing.concurrency,
        "prompt_ids": matches!(load.prompts, PromptForm::Ids(_)),
        "prompt_tokens_range": [prompt.least, prompt.most], "output_tokens_range": [output.least, output.most],
        "shared_prefix": shared_prefix, "turns": turns,
        "requests": figures.done, "failed": figures.failures(), "seconds": figures.seconds(),
        "prompt_tokens": figures.prompt_tokens, "cached_tokens": figures.cached_tokens,
        "generated_tokens": figures.generated_tokens,
        "requests_per_second": figures.per_second(figures.done as u64),
        "prompt_tokens_per_second": figures.per_second(figures.prompt_tokens),
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
