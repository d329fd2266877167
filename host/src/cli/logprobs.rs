//! `--logprobs` and `--prompt-logprobs`: log-probabilities as tables, and as JSON.
use serde_json::{Map, Value, json};

use crate::session::{Generation, LikelyToken, PromptLogprob, TokenLogprob};

/// The tables of what a generation has.
pub fn tables(generation: &Generation) -> String {
    let mut tables = String::new();
    if let Some(prompt) = generation.prompt_logprobs.as_ref().filter(|prompt| !prompt.is_empty()) {
        let rows: Vec<_> = prompt.iter().map(|of| (&of.token, format!("{:>7}", of.rank))).collect();
        tables += &table("Prompt log-probabilities", "   rank", &rows);
    }
    if !generation.logprobs.is_empty() {
        let rows: Vec<_> = generation.logprobs.iter().map(|token| (token, String::new())).collect();
        tables += &table("Log-probabilities", "", &rows);
    }
    tables
}

/// A line per token: its text, its log-probability, what stands beside it, and the best tokens with theirs.
fn table(title: &str, beside: &str, rows: &[(&TokenLogprob, String)]) -> String {
    let quoted = |token: &LikelyToken| format!("{:?}", token.text);
    let width = rows.iter().map(|(token, _)| quoted(&token.chosen).chars().count()).max().unwrap_or(0).max(5);
    let mut table = format!("\n=== {title} ===\n{:<width$} {:>9}{beside}  best\n", "token", "logprob");
    for (TokenLogprob { chosen, best }, beside) in rows {
        let best: Vec<_> = best.iter().map(|token| format!("{} {:.4}", quoted(token), token.logprob)).collect();
        let line = format!("{:<width$} {:>9.4}{beside}  {}", quoted(chosen), chosen.logprob, best.join("  "));
        table += line.trim_end();
        table.push('\n');
    }
    table
}

/// `prompt_logprobs` as vLLM has it: null for the first token, then an object per token, in which ids name the token itself
/// and the best ones.
pub fn of_vllm(prompt: &[PromptLogprob]) -> Value {
    let entry = |token: &LikelyToken, rank: usize| {
        let object = json!({ "logprob": token.logprob, "rank": rank, "decoded_token": token.text });
        (token.id.to_string(), object)
    };
    let object = |PromptLogprob { token: TokenLogprob { chosen, best }, rank }: &PromptLogprob| {
        let others = best.iter().zip(1..).filter(|(token, _)| token.id != chosen.id);
        let entries = [entry(chosen, *rank)].into_iter().chain(others.map(|(token, rank)| entry(token, rank)));
        Value::Object(entries.collect::<Map<_, _>>())
    };
    [Value::Null].into_iter().chain(prompt.iter().map(object)).collect()
}

/// A list with an object per generated token.
pub fn list(tokens: &[TokenLogprob]) -> Value {
    let object = |token: &LikelyToken| json!({ "id": token.id, "token": token.text, "logprob": token.logprob });
    let entry = |token: &TokenLogprob| {
        let mut entry = object(&token.chosen);
        entry["top_logprobs"] = token.best.iter().map(object).collect();
        entry
    };
    tokens.iter().map(entry).collect()
}
