//! From a body to what the engine is asked for: prompts as ids, and parameters over the model's own.
use std::hash::{BuildHasher, Hasher, RandomState};

use serde_json::Value;

use super::conversation::{all_ids, conversation, rendering};
use super::error::ApiError;
use super::grammar;
use super::other_fields::{OPENAI, Unknown};
use super::prompt_input::{MOST_PROMPTS, PromptInput};
use super::requests::{ChatRequest, CompletionRequest, Shared};
use super::thinking;
use super::tools::{self, Tools};
use crate::error::Error;
use crate::session::{
    AnswerForm, LiveRequest, MOST_LOGPROBS, Prompt, Rendering, Sampling, Seed, Session, Tags, TextOptions,
};

/// Most answers of one request: prompts × n.
const MOST_ANSWERS: usize = MOST_PROMPTS;

/// Most tokens that all answers of one request may have.
const MOST_TOKENS: usize = 8_000_000;

/// Most stop texts, and most stop ids, of one request.
const MOST_STOPS: usize = 1024;

/// Most bytes of its stop texts.
const MOST_STOP_BYTES: usize = 64 * 1024;

/// Tokens of a completion unless the request says.
const COMPLETION_TOKENS: i64 = 16;

/// Which API answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completion,
}

/// A request that can be answered.
pub struct Asked {
    pub form: Form,
    pub prompts: Vec<AskedPrompt>,
    /// Answers to each.
    pub n: usize,
    pub stream: bool,
    pub include_usage: bool,
    pub usage_everywhere: bool,
    /// Whether log-probabilities are part of the answer.
    pub logprobs: bool,
    pub echo: bool,
    /// Whether those of the prompt's tokens are part of it.
    pub prompt_logprobs: bool,
    /// How many of the best tokens come with each token of the prompt, where these are wanted for one purpose or the other.
    pub scored: Option<usize>,
    pub return_token_ids: bool,
    /// What may be called.
    pub tools: Option<Tools>,
}

/// One prompt.
pub struct AskedPrompt {
    /// The prompt's own text, where it is to stand in front of the answer.
    pub text: String,
    /// What its first answer asks for; `max_tokens` may be 0 here.
    pub request: LiveRequest,
}

/// What a chat asks for.
///
/// # Errors
/// Names the field that cannot be honoured.
pub fn chat(session: &Session, mut body: ChatRequest, salt: u64, unknown: &Unknown) -> Result<Asked, ApiError> {
    let mut shared = body.shared();
    let told = Told::of(session, &mut body, &mut shared, unknown)?;
    let top = body.top_logprobs.unwrap_or(0);
    let logprobs = body.logprobs.unwrap_or(false);
    if top > 0 && !logprobs {
        return Err(ApiError::field("top_logprobs", "needs logprobs: true"));
    }
    let logprobs = likely("top_logprobs", logprobs.then_some(top))?;
    let (ids, turn_ends) = conversation(session, &told.messages, &told.rendering)?;
    let ids = told.without_thinking(session, ids)?;
    let room = session.context().saturating_sub(ids.len()).max(1);
    shared.max_tokens = body.max_completion_tokens.or(shared.max_tokens);
    let own = session.model().max_tokens().map(|tokens| i64::try_from(tokens).unwrap_or(room as i64));
    let asked = shared.max_tokens.or(own).unwrap_or(room as i64);
    let most = count("max_tokens", asked, 1)?;
    let tags = if told.tools.is_some() { Tags::Calls } else { Tags::Reasoning };
    let mut asked =
        together(session, (Form::Chat, tags), shared, vec![(String::new(), ids)], (most, logprobs, false), salt)?;
    for prompt in &mut asked.prompts {
        prompt.request = LiveRequest {
            turn_ends: turn_ends.clone(),
            thinking_budget: told.budget,
            form: told.form.clone(),
            ..prompt.request.clone()
        };
        session.check_live(&prompt.request).map_err(|error| told.refused(&error))?;
    }
    Ok(Asked { tools: told.tools, ..asked })
}

/// Tokens of a chat's prompt, however long it is.
///
/// # Errors
/// As [`chat`].
pub fn count_tokens(session: &Session, mut body: ChatRequest, unknown: &Unknown) -> Result<usize, ApiError> {
    let mut shared = body.shared();
    let told = Told::of(session, &mut body, &mut shared, unknown)?;
    let ids = all_ids(session, &told.messages, &told.rendering)?;
    told.without_thinking(session, ids).map(|ids| ids.len())
}

/// What the model is told of a chat, and what that asks of the answer.
struct Told {
    messages: Vec<Value>,
    rendering: Rendering,
    tools: Option<Tools>,
    form: Option<AnswerForm>,
    budget: Option<usize>,
    /// The field that the budget comes from.
    budget_name: &'static str,
}

impl Told {
    fn of(session: &Session, body: &mut ChatRequest, shared: &mut Shared, unknown: &Unknown) -> Result<Told, ApiError> {
        let (effort, budget) = (shared.rest.remove("reasoning_effort"), thinking::budget(body)?);
        let wanted = grammar::asked(session, &mut shared.forms)?;
        OPENAI.check(&shared.rest, unknown)?;
        let messages = body.messages.take();
        let messages =
            messages.ok_or_else(|| ApiError::field("messages", "expected a list of messages, found none"))?;
        let mut kwargs = body.chat_template_kwargs.take().unwrap_or_default();
        let (budget_name, budget) = budget.map_or(("reasoning_effort", None), |(name, tokens)| (name, Some(tokens)));
        let budget = budget.or(thinking::effort(session, effort, &mut kwargs)?);
        let (list, choice) = (body.tools.take(), body.tool_choice.as_ref());
        let tools = tools::offered(session, list, choice, body.parallel_tool_calls)?;
        let form = grammar::with_tools(session, wanted, tools.as_ref())?;
        let mut rendering = rendering(kwargs, body.add_generation_prompt, body.continue_final_message)?;
        rendering.tools = tools.as_ref().map(|tools| tools.list.clone()).unwrap_or_default();
        Ok(Told { messages, rendering, tools, form, budget, budget_name })
    }

    fn without_thinking(&self, session: &Session, ids: Vec<u32>) -> Result<Vec<u32>, ApiError> {
        session.without_thinking(ids, self.budget).map_err(|error| self.refused(&error))
    }

    /// What is wrong with the budget is said of the field that the client knows.
    fn refused(&self, error: &Error) -> ApiError {
        ApiError::request(error).renamed(&[("thinking_token_budget", self.budget_name)])
    }
}

/// What a completion asks for.
///
/// # Errors
/// Names the field that cannot be honoured.
pub fn completion(
    session: &Session,
    mut body: CompletionRequest,
    salt: u64,
    unknown: &Unknown,
) -> Result<Asked, ApiError> {
    let mut shared = body.shared();
    let form = grammar::asked(session, &mut shared.forms)?.map(|wanted| wanted.form);
    OPENAI.check(&shared.rest, unknown)?;
    let echo = body.echo.unwrap_or(false);
    let logprobs = likely("logprobs", body.logprobs)?;
    let prompts = body.prompt.ok_or_else(|| ApiError::field("prompt", "expected a prompt, found none"))?;
    let most = count("max_tokens", shared.max_tokens.unwrap_or(COMPLETION_TOKENS), if echo { 0 } else { 1 })?;
    let special = body.add_special_tokens.unwrap_or(true);
    let text = |text: String| {
        let prompt = if special { Prompt::Text(text.clone()) } else { Prompt::Raw(text.clone()) };
        Ok((text, session.encode(&prompt).map_err(|error| ApiError::request(&error))?))
    };
    let ids = |ids: Vec<u32>| {
        session.check_prompt(&ids).map_err(|error| ApiError::request(&error))?;
        let text = if echo {
            session.tokenizer().decode(&ids).map_err(|error| ApiError::request(&error))?
        } else {
            String::new()
        };
        Ok((text, ids))
    };
    let prompts: Result<Vec<_>, ApiError> = match prompts {
        PromptInput::Text(prompt) => text(prompt).map(|prompt| vec![prompt]),
        PromptInput::Texts(prompts) => prompts.into_iter().map(text).collect(),
        PromptInput::Ids(prompt) => ids(prompt).map(|prompt| vec![prompt]),
        PromptInput::Lists(prompts) => prompts.into_iter().map(ids).collect(),
    };
    let mut asked = together(session, (Form::Completion, Tags::None), shared, prompts?, (most, logprobs, echo), salt)?;
    asked.prompts.iter_mut().for_each(|prompt| prompt.request.form.clone_from(&form));
    Ok(asked)
}

/// Bounds what each answer has a copy of.
fn check_stops(session: &Session, shared: &Shared) -> Result<(), ApiError> {
    let bytes: usize = shared.stop.iter().map(String::len).sum();
    if shared.stop.len() > MOST_STOPS || bytes > MOST_STOP_BYTES {
        let found = format_args!("{} of {bytes}", shared.stop.len());
        let most = format_args!("at most {MOST_STOPS} texts of {MOST_STOP_BYTES} bytes in all");
        return Err(ApiError::field("stop", format_args!("expected {most}, found {found}")));
    }
    let (ids, vocab) = (&shared.stop_token_ids, session.model().spec().vocab);
    if ids.len() > MOST_STOPS {
        let what = format_args!("expected at most {MOST_STOPS} ids, found {}", ids.len());
        return Err(ApiError::field("stop_token_ids", what));
    }
    match ids.iter().find(|id| **id as usize >= vocab) {
        Some(id) => {
            let what = format_args!("expected ids from 0 to {}, found {id}", vocab - 1);
            Err(ApiError::field("stop_token_ids", what))
        }
        None => Ok(()),
    }
}

fn together(
    session: &Session,
    (form, tags): (Form, Tags),
    shared: Shared,
    prompts: Vec<(String, Vec<u32>)>,
    (max_tokens, logprobs, echo): (usize, Option<usize>, bool),
    salt: u64,
) -> Result<Asked, ApiError> {
    let n = answers(session, shared.n, &prompts, max_tokens)?;
    let prompt_logprobs = likely("prompt_logprobs", shared.prompt_logprobs)?;
    let sampling = sampling(session, &shared)?;
    check_stops(session, &shared)?;
    let text = TextOptions {
        include_stop: shared.include_stop_str_in_output,
        show_special: !shared.skip_special_tokens,
        tags,
        min_tokens: shared.min_tokens,
    };
    let request = LiveRequest {
        prompt: Vec::new(),
        max_tokens,
        sampling,
        stop: shared.stop,
        stop_ids: shared.stop_token_ids,
        ignore_eos: shared.ignore_eos,
        logprobs,
        prompt_logprobs: None,
        text,
        thinking_budget: None,
        form: None,
        turn_ends: Vec::new(),
        cache_salt: salt,
    };
    let of_prompt = |(text, prompt): (String, Vec<u32>)| {
        let request = LiveRequest { prompt, ..request.clone() };
        let checked = LiveRequest { max_tokens: max_tokens.max(1), ..request.clone() };
        session.check_live(&checked).map_err(|error| ApiError::request(&error))?;
        Ok(AskedPrompt { text, request })
    };
    let prompts = prompts.into_iter().map(of_prompt).collect::<Result<_, ApiError>>()?;
    let options = shared.stream_options.unwrap_or_default();
    let include_usage = options.include_usage.unwrap_or(false);
    Ok(Asked {
        form,
        prompts,
        n,
        stream: shared.stream,
        include_usage,
        usage_everywhere: include_usage && options.continuous_usage_stats.unwrap_or(false),
        logprobs: logprobs.is_some(),
        echo,
        prompt_logprobs: prompt_logprobs.is_some(),
        scored: prompt_logprobs.max(logprobs.filter(|_| echo)),
        return_token_ids: shared.return_token_ids,
        tools: None,
    })
}

/// Answers to each prompt; all of a request are bounded before anything is made for them.
fn answers(
    session: &Session,
    n: Option<u64>,
    prompts: &[(String, Vec<u32>)],
    max_tokens: usize,
) -> Result<usize, ApiError> {
    let n = usize::try_from(n.unwrap_or(1)).unwrap_or(usize::MAX);
    let answers = prompts.len().saturating_mul(n);
    if n == 0 || answers > MOST_ANSWERS {
        return Err(ApiError::field(
            "n",
            format_args!("expected 1 to {MOST_ANSWERS} answers of all prompts, found {answers}"),
        ));
    }
    let context = session.context();
    let total = prompts.iter().map(|(_, ids)| max_tokens.min(context.saturating_sub(ids.len()))).sum::<usize>() * n;
    if total > MOST_TOKENS {
        return Err(ApiError::field(
            "max_tokens",
            format_args!("all answers together may have {MOST_TOKENS} tokens, found {total}"),
        ));
    }
    Ok(n)
}

/// How tokens are chosen: as the request says, else as the model's owner does.
fn sampling(session: &Session, shared: &Shared) -> Result<Sampling, ApiError> {
    let own = session.model().sampling();
    let filters = shared.top_k.is_some_and(|k| k > 0)
        || shared.top_p.is_some_and(|p| p < 1.0)
        || shared.min_p.is_some_and(|p| p > 0.0);
    // Filters say that tokens are to be drawn.
    let drawn = if filters && own.temperature == 0.0 { 1.0 } else { own.temperature };
    let mut constraints = own.constraints.clone();
    constraints.min_tokens = constraints.min_tokens.max(shared.min_tokens);
    if shared.max_tokens.is_some() {
        constraints.max_length = 0;
    }
    constraints.bad_words.extend(bad_words(session, &shared.bad_words)?);
    let bias = |(id, bias): (&String, &f32)| {
        let id = id.parse().map_err(|_| ApiError::field("logit_bias", format_args!("{id:?} is no token id")))?;
        Ok((id, *bias))
    };
    let mut logit_bias = shared.logit_bias.iter().map(bias).collect::<Result<Vec<(u32, f32)>, ApiError>>()?;
    logit_bias.sort_unstable_by_key(|(id, _)| *id);
    Ok(Sampling {
        temperature: shared.temperature.unwrap_or(drawn),
        top_k: shared.top_k.map_or(Ok(own.top_k), |k| if k == -1 { Ok(0) } else { count("top_k", k, 0) })?,
        top_p: shared.top_p.unwrap_or(own.top_p),
        min_p: shared.min_p.unwrap_or(own.min_p),
        repeat_penalty: shared.repetition_penalty.unwrap_or(own.repeat_penalty),
        presence_penalty: shared.presence_penalty.unwrap_or(own.presence_penalty),
        frequency_penalty: shared.frequency_penalty.unwrap_or(own.frequency_penalty),
        // Every `RandomState` has keys of its own.
        seed: shared.seed.and_then(Seed::bits).unwrap_or_else(|| RandomState::new().build_hasher().finish()),
        stream: 0,
        logit_bias: if logit_bias.is_empty() { own.logit_bias.clone() } else { logit_bias },
        constraints,
    })
}

/// The ids of words that are not to come: each at the start of a text, and behind a space where that is as long and begins
/// otherwise, as vLLM has it.
fn bad_words(session: &Session, words: &[String]) -> Result<Vec<Vec<u32>>, ApiError> {
    let mut phrases: Vec<Vec<u32>> = Vec::new();
    for word in words {
        let encode = |text: &str| session.tokenizer().encode(text, false).map_err(|error| ApiError::request(&error));
        let word = word.trim_start();
        let alone = encode(word)?;
        if alone.is_empty() {
            return Err(ApiError::field("bad_words", "expected words, found an empty one"));
        }
        let behind = encode(&format!(" {word}"))?;
        let differs = behind.len() == alone.len() && behind.first() != alone.first();
        phrases.push(alone);
        phrases.extend(differs.then_some(behind));
    }
    Ok(phrases)
}

fn likely(name: &str, wanted: Option<u64>) -> Result<Option<usize>, ApiError> {
    match wanted.filter(|count| *count > MOST_LOGPROBS as u64) {
        Some(found) => Err(ApiError::field(name, format_args!("expected 0 to {MOST_LOGPROBS}, found {found}"))),
        None => Ok(wanted.map(|count| count as usize)),
    }
}

fn count(name: &str, value: i64, least: usize) -> Result<usize, ApiError> {
    usize::try_from(value)
        .ok()
        .filter(|count| *count >= least)
        .ok_or_else(|| ApiError::field(name, format_args!("expected a whole number from {least} on, found {value}")))
}
