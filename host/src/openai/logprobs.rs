//! Log-probabilities as the answers of OpenAI's API have them, and as vLLM writes those of a prompt.
use serde_json::{Map, Value, json};

use crate::session::{LikelyToken, PromptLogprob, TokenLogprob};

/// `logprobs` of a chat's choice.
pub fn of_chat(tokens: &[TokenLogprob]) -> Value {
    let entry = |token: &LikelyToken| json!({ "token": token.text, "logprob": token.logprob, "bytes": token.bytes });
    let content = |token: &TokenLogprob| {
        let mut object = entry(&token.chosen);
        object["top_logprobs"] = token.best.iter().map(entry).collect();
        object
    };
    json!({ "content": tokens.iter().map(content).collect::<Vec<_>>(), "refusal": null })
}

/// `logprobs` of a completion's choice: of the tokens of a prompt that is echoed, whose first has none, and of those behind
/// it. `offset` is where their text begins, in characters.
pub fn of_completion<'a>(
    tokens: impl IntoIterator<Item = (&'a LikelyToken, Option<&'a TokenLogprob>)>,
    mut offset: usize,
) -> Value {
    let (mut texts, mut values, mut tops, mut offsets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (token, scored) in tokens {
        offsets.push(offset);
        offset += token.text.chars().count();
        texts.push(token.text.clone());
        values.push(scored.map(|scored| scored.chosen.logprob));
        tops.push(scored.map(|scored| -> Map<String, Value> {
            // The token itself is among them, as OpenAI has it.
            let all = scored.best.iter().chain([&scored.chosen]);
            all.map(|best| (best.text.clone(), best.logprob.into())).collect()
        }));
    }
    json!({ "tokens": texts, "token_logprobs": values, "top_logprobs": tops, "text_offset": offsets })
}

/// `prompt_logprobs` as vLLM has it: null for the first token, then an object per token, in which ids name the token itself
/// and the best ones.
pub fn of_prompt(prompt: &[PromptLogprob]) -> Value {
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
