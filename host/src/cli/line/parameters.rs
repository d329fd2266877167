//! `Parameters`: what a line says about how its prompt is continued.
use serde_json::Value;

use super::fields::Fields;
use crate::cli::numbers;
use crate::cli::sampling::{Bias, SamplingArguments};
use crate::session::{BatchRequest, GenerateOptions, GrammarField, GrammarSource, Prompt};

/// The fields of a line of this program's own form.
pub const OWN: [&str; 17] = [
    "max_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repeat_penalty",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "logit_bias",
    "stop",
    "logprobs",
    "prompt_logprobs",
    "thinking_token_budget",
    "response_format",
    "structured_outputs",
];

/// The fields of a body of OpenAI's, with those that vLLM adds to them.
pub const OPENAI: [&str; 21] = [
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "logit_bias",
    "stop",
    "logprobs",
    "top_logprobs",
    "prompt_logprobs",
    "thinking_token_budget",
    "response_format",
    "structured_outputs",
    "n",
    "stream",
    "best_of",
];

/// What goes before the options of the command line.
#[derive(Debug, Default)]
pub struct Parameters {
    sampling: SamplingArguments,
    max_tokens: Option<usize>,
    stop: Option<Vec<String>>,
    logprobs: Option<usize>,
    prompt_logprobs: Option<usize>,
    thinking_budget: Option<usize>,
    grammar: Option<GrammarSource>,
}

impl Parameters {
    /// Those of a line of this program's own form.
    pub fn own(fields: &mut Fields) -> Result<Parameters, String> {
        Ok(Parameters { logprobs: fields.count("logprobs", None)?, ..Parameters::shared(fields)? })
    }

    /// Those of a body of OpenAI's; of a chat's, `logprobs` is a flag and `top_logprobs` the count.
    pub fn of_openai(body: &mut Fields, is_chat: bool) -> Result<Parameters, String> {
        for name in ["n", "best_of"] {
            if let Some(count) = body.count::<u64>(name, None)?.filter(|count| *count != 1) {
                return Err(format!("body.{name}: expected 1, found {count}; write a line for each answer"));
            }
        }
        if body.flag("stream")? == Some(true) {
            return Err("body.stream: expected false: the results of a batch are whole".into());
        }
        let logprobs = match is_chat {
            true => {
                let top = body.count("top_logprobs", None)?;
                body.flag("logprobs")?.unwrap_or(false).then_some(top.unwrap_or(0))
            }
            false => body.count("logprobs", None)?,
        };
        let shared = Parameters::shared(body)?;
        let completion = body.count("max_completion_tokens", None)?;
        Ok(Parameters { logprobs, max_tokens: completion.or(shared.max_tokens), ..shared })
    }

    fn shared(fields: &mut Fields) -> Result<Parameters, String> {
        let sampling = SamplingArguments {
            temperature: fields.number("temperature")?,
            top_k: fields.count("top_k", Some(0))?,
            top_p: fields.number("top_p")?,
            min_p: fields.number("min_p")?,
            repeat_penalty: penalty(fields)?,
            presence_penalty: fields.number("presence_penalty")?,
            frequency_penalty: fields.number("frequency_penalty")?,
            seed: fields.seed("seed")?.map(|seed| seed.bits().unwrap_or_else(numbers::chance)),
            logit_bias: biases(fields)?,
        };
        let max_tokens = fields.count("max_tokens", Some(usize::MAX))?;
        let stop = fields.take("stop", "a text or a list of texts", texts)?;
        let prompt_logprobs = fields.count("prompt_logprobs", None)?;
        let thinking_budget = fields.count("thinking_token_budget", Some(usize::MAX))?;
        let grammar = GrammarField::of(|name| fields.value(name))
            .map_err(|fault| format!("{}: {}", fields.path(&fault.path), fault.what))?;
        let grammar = grammar.map(|field| field.source);
        Ok(Parameters { sampling, max_tokens, stop, logprobs: None, prompt_logprobs, thinking_budget, grammar })
    }

    /// The request for a prompt.
    pub fn over(self, prompt: Prompt, defaults: &GenerateOptions) -> BatchRequest {
        let mut sampling = self.sampling.over(&defaults.sampling);
        if self.max_tokens.is_some() {
            sampling.constraints.max_length = 0;
        }
        BatchRequest {
            prompt,
            max_tokens: self.max_tokens.unwrap_or(defaults.max_tokens),
            sampling,
            stop: self.stop.unwrap_or_else(|| defaults.stop.clone()),
            logprobs: self.logprobs.or(defaults.logprobs),
            prompt_logprobs: self.prompt_logprobs.or(defaults.prompt_logprobs),
            // No bound is none.
            thinking_budget: self.thinking_budget.or(defaults.thinking_budget).filter(|tokens| *tokens < usize::MAX),
            grammar: self.grammar.or_else(|| defaults.grammar.clone()),
        }
    }
}

/// The penalty under this program's name for it, or under transformers'.
fn penalty(fields: &mut Fields) -> Result<Option<f32>, String> {
    match (fields.number("repeat_penalty")?, fields.number("repetition_penalty")?) {
        (Some(_), Some(_)) => Err("repeat_penalty and repetition_penalty are one thing: leave one of them out".into()),
        (own, other) => Ok(own.or(other)),
    }
}

/// One text, or several.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(values) => values.iter().map(|value| value.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

fn biases(fields: &mut Fields) -> Result<Vec<Bias>, String> {
    let biases = fields.take("logit_bias", "an object of token ids and numbers, such as {\"42\": -1.5}", |value| {
        let bias = |(id, value): (&String, &Value)| Some(Bias(id.parse().ok()?, value.as_f64()? as f32));
        value.as_object()?.iter().map(bias).collect()
    })?;
    Ok(biases.unwrap_or_default())
}
