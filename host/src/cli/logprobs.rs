//! `--logprobs`: log-probabilities as a table, and as JSON.
use serde_json::{Value, json};

use crate::session::{LikelyToken, TokenLogprob};

/// A line per generated token: its text, its log-probability, and the best tokens with theirs.
pub fn table(tokens: &[TokenLogprob]) -> String {
    if tokens.is_empty() {
        return String::new();
    }
    let quoted = |token: &LikelyToken| format!("{:?}", token.text);
    let width = tokens.iter().map(|token| quoted(&token.chosen).chars().count()).max().unwrap_or(0).max(5);
    let mut table = format!("\n=== Log-probabilities ===\n{:<width$} {:>9}  best\n", "token", "logprob");
    for TokenLogprob { chosen, best } in tokens {
        let best: Vec<_> = best.iter().map(|token| format!("{} {:.4}", quoted(token), token.logprob)).collect();
        let line = format!("{:<width$} {:>9.4}  {}", quoted(chosen), chosen.logprob, best.join("  "));
        table += line.trim_end();
        table.push('\n');
    }
    table
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
