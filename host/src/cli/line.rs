//! `Line`: an object of a file of JSON lines, and the request that it becomes over the command line's options.
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::generate::FormArguments;
use super::sampling::{Bias, SamplingArguments};
use crate::session::{BatchRequest, GenerateOptions, Prompt};

/// What a line may have; what it has goes before the options.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    prompt: Option<String>,
    messages: Option<Vec<Map<String, Value>>>,
    raw: Option<bool>,
    chat: Option<bool>,
    system: Option<String>,
    stop: Option<Stop>,
    logprobs: Option<usize>,
    max_tokens: Option<usize>,
    temperature: Option<f32>,
    top_k: Option<usize>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    repeat_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    seed: Option<u64>,
    #[serde(default)]
    logit_bias: BTreeMap<u32, f32>,
}

/// One text, or several.
#[derive(Deserialize)]
#[serde(untagged, expecting = "stop: expected a text or a list of texts")]
enum Stop {
    One(String),
    Several(Vec<String>),
}

impl Line {
    /// A line that is a prompt and no more.
    pub fn of_prompt(prompt: &str) -> Line {
        Line { prompt: Some(prompt.to_owned()), ..Line::default() }
    }

    /// The text that `--echo` puts in front of the answer; messages have none.
    pub fn echo(&self) -> String {
        self.prompt.clone().unwrap_or_default()
    }

    /// The request; what contradicts itself in the line is said in a few words.
    pub fn over(self, defaults: &GenerateOptions, form: &FormArguments) -> Result<BatchRequest, String> {
        let own = SamplingArguments {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            seed: self.seed,
            logit_bias: self.logit_bias.iter().map(|(&id, &value)| Bias(id, value)).collect(),
        };
        Ok(BatchRequest {
            max_tokens: self.max_tokens.unwrap_or(defaults.max_tokens),
            sampling: own.over(&defaults.sampling),
            stop: match &self.stop {
                None => defaults.stop.clone(),
                Some(Stop::One(stop)) => vec![stop.clone()],
                Some(Stop::Several(stops)) => stops.clone(),
            },
            logprobs: self.logprobs.or(defaults.logprobs),
            prompt: self.prompt(form)?,
        })
    }

    fn prompt(self, form: &FormArguments) -> Result<Prompt, String> {
        if let Some(messages) = self.messages {
            let alone =
                self.prompt.is_none() && self.system.is_none() && self.raw.is_none() && self.chat != Some(false);
            return match messages.iter().position(|message| !message.get("role").is_some_and(Value::is_string)) {
                _ if !alone => {
                    Err("messages stand alone: without prompt, system and raw, and with no chat but true".into())
                }
                Some(index) => Err(format!("messages[{index}]: expected a role, such as \"user\", and a content")),
                None => Ok(Prompt::Chat(messages.into_iter().map(Value::Object).collect())),
            };
        }
        let prompt = self.prompt.ok_or("expected a prompt or messages, found neither")?;
        let raw = self.raw.unwrap_or(form.raw && self.chat != Some(true));
        let chat = self.chat.unwrap_or(form.chat && !raw || self.system.is_some());
        match (raw, chat) {
            (true, true) => Err("raw and chat exclude each other".into()),
            (false, false) if self.system.is_some() => Err("a system text needs chat".into()),
            _ => Ok(FormArguments { raw, chat, system: self.system.or_else(|| form.system.clone()) }.prompt(&prompt)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn prompt(line: Value, form: &FormArguments) -> Result<Prompt, String> {
        serde_json::from_value::<Line>(line)
            .unwrap()
            .over(&GenerateOptions::default(), form)
            .map(|request| request.prompt)
    }

    #[test]
    fn a_lines_form_goes_before_the_options() {
        let form = |raw, chat| FormArguments { raw, chat, system: None };
        let [plain, raw, chat] = [form(false, false), form(true, false), form(false, true)];
        let (text, question) = (Prompt::Text("x".into()), Prompt::question(None, "x"));
        assert_eq!(prompt(json!({"prompt": "x"}), &plain).unwrap(), text);
        assert_eq!(prompt(json!({"prompt": "x"}), &raw).unwrap(), Prompt::Raw("x".into()));
        assert_eq!(prompt(json!({"prompt": "x", "raw": false}), &raw).unwrap(), text);
        assert_eq!(prompt(json!({"prompt": "x", "raw": true}), &chat).unwrap(), Prompt::Raw("x".into()));
        assert_eq!(prompt(json!({"prompt": "x", "chat": true}), &raw).unwrap(), question);
        assert_eq!(prompt(json!({"prompt": "x", "chat": false}), &chat).unwrap(), text);
        let told = Prompt::question(Some("y"), "x");
        assert_eq!(prompt(json!({"prompt": "x", "system": "y"}), &plain).unwrap(), told);
        let turns = json!([{"role": "system", "content": "y"}, {"role": "user", "content": "x"}]);
        assert_eq!(prompt(json!({"messages": turns}), &plain).unwrap(), told);
    }

    #[test]
    fn lines_that_contradict_themselves_are_refused() {
        let plain = FormArguments { raw: false, chat: false, system: None };
        for (line, words) in [
            (json!({}), "expected a prompt or messages"),
            (json!({"prompt": "x", "raw": true, "chat": true}), "exclude each other"),
            (json!({"prompt": "x", "raw": true, "system": "y"}), "exclude each other"),
            (json!({"prompt": "x", "chat": false, "system": "y"}), "needs chat"),
            (json!({"messages": [], "prompt": "x"}), "stand alone"),
            (json!({"messages": [{"role": "user"}, {"content": "x"}]}), "messages[1]: expected a role"),
        ] {
            let error = prompt(line.clone(), &plain).unwrap_err();
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
