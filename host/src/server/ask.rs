//! `Ask`: a request's body, understood: what both endpoints have in common.
use serde_json::{Map, Value};

use super::app::App;
use super::failure::Refusal;
use super::fields::{FIELDS, Treatment};
use super::health;
use crate::openai::fields::{Fields, shown};
use crate::sample::BIASES;
use crate::session::{GenerateOptions, MOST_LOGPROBS, Sampling, Session};

/// Most choices of a prompt.
pub const MOST_CHOICES: usize = 128;

/// Most texts in a list, and characters of all of them.
const MOST_TEXTS: usize = 64;
const MOST_CHARACTERS: usize = 64 << 10;

/// What a body asks for beside its prompt.
#[derive(Debug)]
pub struct Ask {
    pub options: GenerateOptions,
    /// None where the body does not say.
    pub max_tokens: Option<usize>,
    pub n: usize,
    pub stream: bool,
    pub include_usage: bool,
    pub return_token_ids: bool,
    bad_words: Vec<String>,
}

impl Ask {
    /// Reads what both endpoints have; `index` of [`super::fields::Field::of`] is that of the endpoint.
    ///
    /// # Errors
    /// A field has a value that cannot be, or that would change the answer and is not supported.
    pub fn read(app: &App, body: &mut Fields, endpoint: usize, defaults: &Sampling) -> Result<Ask, Refusal> {
        check(body, endpoint)?;
        if let Some(model) = body.text("model").map_err(Refusal::field)? {
            health::known(app, &model)?;
        }
        Ask::take(body, defaults).map_err(Refusal::field)
    }

    fn take(body: &mut Fields, defaults: &Sampling) -> Result<Ask, String> {
        let n = body.count("n", None)?.unwrap_or(1);
        if !(1..=MOST_CHOICES).contains(&n) {
            return Err(format!("n: expected 1 to {MOST_CHOICES}, found {n}"));
        }
        let stream = body.flag("stream")?.unwrap_or(false);
        let mut stream_options = body.object("stream_options", "stream_options.")?.unwrap_or_default();
        let prompt_logprobs = count(body, "prompt_logprobs", MOST_LOGPROBS)?;
        if stream && prompt_logprobs.is_some() {
            return Err("prompt_logprobs: not with stream".into());
        }
        let options = GenerateOptions {
            sampling: sampling(body, defaults)?,
            stop: texts(body, "stop")?,
            include_stop: body.flag("include_stop_str_in_output")?.unwrap_or(false),
            stop_ids: ids(body, "stop_token_ids")?,
            ignore_eos: body.flag("ignore_eos")?.unwrap_or(false),
            special_tokens: !body.flag("skip_special_tokens")?.unwrap_or(true),
            prompt_logprobs,
            ..GenerateOptions::default()
        };
        Ok(Ask {
            options,
            max_tokens: body.count("max_tokens", Some(usize::MAX))?,
            n,
            stream,
            include_usage: stream_options.flag("include_usage")?.unwrap_or(false),
            return_token_ids: body.flag("return_token_ids")?.unwrap_or(false),
            bad_words: texts(body, "bad_words")?,
        })
    }

    /// Logs what is left of a body, which nobody knows.
    pub fn end(app: &App, body: &Fields) {
        body.names().for_each(|name| app.unknown_field(name));
    }

    /// The options for a prompt: as many tokens as are asked for, else `most`, as far as the context and the cache go.
    ///
    /// # Errors
    /// No token is asked for, or a bad word cannot be tokenized.
    pub fn options(&self, session: &Session, prompt: usize, most: usize) -> Result<GenerateOptions, Refusal> {
        let mut options = self.options.clone();
        let room = session.room(prompt);
        options.max_tokens = self.max_tokens.unwrap_or(most).min(room.max(1));
        if self.max_tokens == Some(0) {
            return Err(Refusal::field("max_tokens: expected 1 or more, found 0".into()));
        }
        for word in &self.bad_words {
            // A word is another token at the start of a text than behind a space.
            for text in [word.clone(), format!(" {}", word.trim_start())] {
                let ids = session.tokenizer().encode(&text, false)?;
                if !ids.is_empty() && !options.sampling.constraints.bad_words.contains(&ids) {
                    options.sampling.constraints.bad_words.push(ids);
                }
            }
        }
        options.sampling.check(session.model().spec().vocab)?;
        Ok(options)
    }
}

/// Refuses what would change the answer and is not supported, and takes out what changes nothing.
fn check(body: &mut Fields, endpoint: usize) -> Result<(), Refusal> {
    for field in FIELDS.iter().filter(|field| field.of[endpoint] && field.treatment != Treatment::Honoured) {
        let Some(value) = body.value(field.name) else { continue };
        if !field.treatment.takes(&value) {
            return Err(Refusal::field(format!("{}: {} is not supported", field.name, shown(&value))));
        }
    }
    Ok(())
}

fn sampling(body: &mut Fields, defaults: &Sampling) -> Result<Sampling, String> {
    let mut sampling = defaults.clone();
    let mut number = |name: &str, target: &mut f32| -> Result<(), String> {
        *target = body.number(name)?.unwrap_or(*target);
        Ok(())
    };
    number("temperature", &mut sampling.temperature)?;
    number("top_p", &mut sampling.top_p)?;
    number("min_p", &mut sampling.min_p)?;
    number("presence_penalty", &mut sampling.presence_penalty)?;
    number("frequency_penalty", &mut sampling.frequency_penalty)?;
    number("repetition_penalty", &mut sampling.repeat_penalty)?;
    sampling.top_k = body.count("top_k", Some(0))?.unwrap_or(sampling.top_k);
    let seed =
        body.take("seed", "a whole number", |value| value.as_u64().or(value.as_i64().map(i64::cast_unsigned)))?;
    sampling.seed = seed.unwrap_or_else(chance);
    if let Some(biases) = body.take("logit_bias", "an object of token ids and numbers from -100 to 100", biases)? {
        sampling.logit_bias = biases;
    }
    sampling.constraints.min_tokens = body.count("min_tokens", None)?.unwrap_or(sampling.constraints.min_tokens);
    Ok(sampling)
}

fn biases(value: &Value) -> Option<Vec<(u32, f32)>> {
    let bias = |(id, value): (&String, &Value)| {
        let value = value.as_f64().map(|value| value as f32).filter(|value| BIASES.contains(value))?;
        Some((id.parse().ok()?, value))
    };
    value.as_object()?.iter().map(bias).collect()
}

/// A count up to `most`; none where the body does not say.
pub fn count(body: &mut Fields, name: &str, most: usize) -> Result<Option<usize>, String> {
    match body.count(name, None)? {
        Some(found) if found > most => Err(format!("{name}: expected 0 to {most}, found {found}")),
        found => Ok(found),
    }
}

fn texts(body: &mut Fields, name: &str) -> Result<Vec<String>, String> {
    let expected = format!("a text, or up to {MOST_TEXTS} of {MOST_CHARACTERS} bytes together, none empty");
    let texts = body.take(name, &expected, |value| {
        let texts: Vec<String> = match value {
            Value::String(text) => vec![text.clone()],
            Value::Array(values) => {
                values.iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<_>>()?
            }
            _ => return None,
        };
        let bytes: usize = texts.iter().map(String::len).sum();
        let fits = texts.len() <= MOST_TEXTS && bytes <= MOST_CHARACTERS && texts.iter().all(|text| !text.is_empty());
        fits.then_some(texts)
    })?;
    Ok(texts.unwrap_or_default())
}

fn ids(body: &mut Fields, name: &str) -> Result<Vec<u32>, String> {
    let ids = body.take(name, "a list of token ids", |value| {
        value.as_array()?.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())).collect()
    })?;
    Ok(ids.unwrap_or_default())
}

/// The template's variables of a body, which may replace none that the server sets.
///
/// # Errors
/// It is no object, or has such a name.
pub fn template_variables(body: &mut Fields) -> Result<Map<String, Value>, String> {
    const OURS: [&str; 6] =
        ["messages", "tools", "add_generation_prompt", "bos_token", "eos_token", "chat_template_kwargs"];
    let kwargs =
        body.take("chat_template_kwargs", "an object", |value| value.as_object().cloned())?.unwrap_or_default();
    match kwargs.keys().find(|name| OURS.contains(&name.as_str()) || name.ends_with("_token")) {
        Some(name) => Err(format!("chat_template_kwargs: {name:?} is the server's own")),
        None => Ok(kwargs),
    }
}

/// A seed that nobody chose.
fn chance() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}
