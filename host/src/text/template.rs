//! `ChatTemplate`: the Jinja template of a checkpoint; a conversation to the text that the model was trained on.
use std::path::{Path, PathBuf};

use chrono::Local;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{Environment, ErrorKind};
use serde_json::{Map, Value as Json};

use super::{python_json, python_methods};
use crate::error::{Category, Error, Result};

/// The template of most conversations.
const DEFAULT: &str = "default";

/// The template of conversations with tools, where a checkpoint has one of its own for them.
const TOOL_USE: &str = "tool_use";

/// Keys of tokenizer_config.json that name special tokens; templates know them by the same names.
const SPECIAL_TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Names under which a message may carry the model's reasoning; templates read the first, some the second.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// The chat template of a checkpoint, rendered as transformers' `apply_chat_template` does.
pub struct ChatTemplate {
    path: PathBuf,
    environment: Environment<'static>,
    sources: Vec<(String, String)>,
}

impl ChatTemplate {
    /// Reads `chat_template.jinja`, else `chat_template` of `tokenizer_config.json`: a text, or a list of named ones.
    ///
    /// # Errors
    /// There is neither, a file cannot be read, or the template is no Jinja.
    pub fn open(directory: &Path) -> Result<ChatTemplate> {
        let config_path = directory.join("tokenizer_config.json");
        let config = match read(&config_path)? {
            None => Json::Null,
            Some(text) => crate::files::parse(text.as_bytes()).map_err(|error| unusable(&config_path, error))?,
        };
        let jinja = directory.join("chat_template.jinja");
        let (path, sources) = match read(&jinja)? {
            Some(source) => (jinja, vec![(DEFAULT.to_owned(), source)]),
            None => (config_path, named_sources(&config["chat_template"])),
        };
        if !sources.iter().any(|(name, _)| name == DEFAULT) {
            return Err(missing(directory));
        }
        let mut environment = environment();
        for key in SPECIAL_TOKENS {
            if let Some(token) = special_token(&config[key]) {
                environment.add_global(key, token.to_owned());
            }
        }
        for (name, source) in &sources {
            environment
                .add_template_owned(name.clone(), without_generation_tags(source))
                .map_err(|error| unusable(&path, chain(&error)))?;
        }
        Ok(ChatTemplate { path, environment, sources })
    }

    /// The text of a conversation. `context` has `messages`, as a rule `add_generation_prompt`, and whatever else the
    /// template knows, such as `tools` or `enable_thinking`.
    ///
    /// # Errors
    /// The template refuses the conversation (`raise_exception`), or fails.
    pub fn render(&self, context: &Map<String, Json>) -> Result<String> {
        let with_tools = context.get("tools").is_some_and(|tools| !tools.is_null());
        let name = if with_tools && self.source(TOOL_USE).is_some() { TOOL_USE } else { DEFAULT };
        let mut context = context.clone();
        for key in ["tools", "documents"] {
            context.entry(key).or_insert(Json::Null);
        }
        if let Some(Json::Array(messages)) = context.get_mut("messages") {
            messages.iter_mut().filter_map(Json::as_object_mut).for_each(name_reasoning);
        }
        let template = self.environment.get_template(name).expect("every source was added");
        template.render(Value::from(Serde(context))).map_err(|error| self.failed(&error))
    }

    /// Whether the template speaks of `word`: a variable, or a token that it prints.
    pub fn mentions(&self, word: &str) -> bool {
        self.sources.iter().any(|(_, source)| source.contains(word))
    }

    fn source(&self, name: &str) -> Option<&str> {
        self.sources.iter().find(|(known, _)| known == name).map(|(_, source)| source.as_str())
    }

    fn failed(&self, error: &minijinja::Error) -> Error {
        let raised = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Raised>());
        match raised {
            Some(Raised(message)) => Error::new(Category::Input, "The chat template refuses the conversation")
                .details(format!("{}: {message}", self.path.display()))
                .hint("change the conversation as the template asks"),
            None => Error::new(Category::Model, "The chat template failed")
                .details(format!("{}: {}", self.path.display(), chain(error)))
                .hint("the template expects something that a plain conversation lacks, or is damaged"),
        }
    }
}

/// What a template said with `raise_exception`.
#[derive(Debug)]
struct Raised(String);

impl std::fmt::Display for Raised {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

/// Jinja as transformers sets it up: whitespace, Python's methods, and three functions.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the delimiters are Jinja's own"));
    environment.set_unknown_method_callback(python_methods::call);
    environment.add_function("raise_exception", |message: String| -> std::result::Result<Value, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(Raised(message)))
    });
    environment.add_function("strftime_now", strftime_now);
    environment.add_filter("tojson", to_json);
    environment.add_test("iterable", is_iterable);
    environment
}

fn strftime_now(format: &str) -> std::result::Result<String, minijinja::Error> {
    let mut text = String::new();
    Local::now().format(format).write_to(&mut text).map_err(|_| {
        minijinja::Error::new(ErrorKind::InvalidOperation, format!("strftime_now does not know the format {format:?}"))
    })?;
    Ok(text)
}

/// In Python nothing can be asked of None.
fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

fn to_json(value: &Value, options: Kwargs) -> std::result::Result<String, minijinja::Error> {
    let separators: Option<Vec<String>> = options.get("separators")?;
    let style = python_json::Style {
        indent: options.get("indent")?,
        separators: separators.and_then(|pair| <[String; 2]>::try_from(pair).ok()),
        ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sorted: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    options.assert_all_used()?;
    let json = serde_json::to_value(value)
        .map_err(|error| minijinja::Error::new(ErrorKind::BadSerialization, "no JSON").with_source(error))?;
    Ok(style.dump(&json))
}

/// transformers marks what the assistant said with `{% generation %}`; nothing of it is printed.
fn without_generation_tags(source: &str) -> String {
    let mut plain = String::new();
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        let end = tag.find("%}").unwrap_or(tag.len());
        let (tag, after) = tag.split_at(end);
        let name = tag.trim_start_matches("{%").trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        let replaced = match name {
            "generation" => tag.replace(name, "if true"),
            "endgeneration" => tag.replace(name, "endif"),
            _ => tag.to_owned(),
        };
        plain += before;
        plain += &replaced;
        rest = after;
    }
    plain + rest
}

/// Gives a message's reasoning the names that templates read, in the order in which transformers does.
fn name_reasoning(message: &mut Map<String, Json>) {
    let Some(reasoning) = REASONING.iter().find_map(|key| message.get(*key).filter(|value| !value.is_null())) else {
        return;
    };
    let reasoning = reasoning.clone();
    let mut named = Map::new();
    named.insert(REASONING[1].to_owned(), reasoning.clone());
    named.extend(std::mem::take(message));
    named.insert(REASONING[0].to_owned(), reasoning);
    *message = named;
}

fn named_sources(value: &Json) -> Vec<(String, String)> {
    let named = |entry: &Json| Some((entry["name"].as_str()?.to_owned(), entry["template"].as_str()?.to_owned()));
    match value {
        Json::String(source) => vec![(DEFAULT.to_owned(), source.clone())],
        Json::Array(entries) => entries.iter().filter_map(named).collect(),
        _ => Vec::new(),
    }
}

/// A token is a text, or an object that describes an added token.
fn special_token(value: &Json) -> Option<&str> {
    value.as_str().or_else(|| value["content"].as_str())
}

fn read(path: &Path) -> Result<Option<String>> {
    let Some(bytes) = crate::files::read(path)? else { return Ok(None) };
    String::from_utf8(bytes).map(Some).map_err(|error| unusable(path, error))
}

fn chain(error: &minijinja::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

fn unusable(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::new(Category::Model, "The chat template cannot be used")
        .details(format!("{}: {error}", path.display()))
        .hint("the file may be damaged or incomplete; download it again")
}

fn missing(directory: &Path) -> Error {
    Error::new(Category::Model, "The model has no chat template")
        .details(format!("{} has no chat_template.jinja and no chat_template in tokenizer_config.json", directory.display()))
        .hint("a base model continues a text: nemotron generate --prompt; an instruct model's template is in its repository")
}
