//! `ChatTemplate`: the Jinja template of a checkpoint; a conversation to the text that the model was trained on.
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use super::jinja::{Fault, Kind, Template};
use super::special_tokens::SpecialTokens;
use crate::error::{Category, Error, Result};

/// The template of most conversations.
const DEFAULT: &str = "default";

/// The template of conversations with tools, where a checkpoint has one of its own for them.
const TOOL_USE: &str = "tool_use";

/// The folder of further templates; each file is called after its template.
const ADDITIONAL: &str = "additional_chat_templates";

/// Names under which a message may carry the model's reasoning; templates read the first, some the second.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// The chat template of a checkpoint, rendered as transformers' `apply_chat_template` does.
pub struct ChatTemplate {
    path: PathBuf,
    /// Special tokens by the names that templates know them by.
    tokens: Map<String, Json>,
    named: Vec<Named>,
}

/// One template of a checkpoint.
struct Named {
    name: String,
    source: String,
    template: Template,
}

impl ChatTemplate {
    /// Reads `chat_template.jinja` and the files of `additional_chat_templates/`, else `chat_template` of `tokenizer_config.json`: a text, or a list of named ones.
    ///
    /// # Errors
    /// There is neither, a file cannot be read, or the template is no Jinja.
    pub fn open(directory: &Path) -> Result<ChatTemplate> {
        ChatTemplate::read(directory, None)
    }

    /// The template in `file`, a Jinja text, with the special tokens that `tokenizer_config.json` names.
    ///
    /// # Errors
    /// The file cannot be read, or is no Jinja.
    pub fn open_file(directory: &Path, file: &Path) -> Result<ChatTemplate> {
        ChatTemplate::read(directory, Some(file))
    }

    fn read(directory: &Path, file: Option<&Path>) -> Result<ChatTemplate> {
        let config_path = directory.join("tokenizer_config.json");
        let config = match read(&config_path)? {
            None => Json::Null,
            Some(text) => crate::files::parse(text.as_bytes()).map_err(|error| unusable(&config_path, error))?,
        };
        let jinja = file.map_or_else(|| directory.join("chat_template.jinja"), Path::to_owned);
        let additional = if file.is_some() { Vec::new() } else { additional_sources(&directory.join(ADDITIONAL))? };
        let (path, sources) = match read(&jinja)? {
            None if file.is_some() => return Err(absent(&jinja)),
            Some(source) => (jinja, [vec![(DEFAULT.to_owned(), source)], additional].concat()),
            None if !additional.is_empty() => (directory.join(ADDITIONAL), additional),
            None => (config_path, named_sources(&config["chat_template"])),
        };
        if !sources.iter().any(|(name, _)| name == DEFAULT) {
            return Err(missing(directory));
        }
        let mut tokens = Map::new();
        for (name, token) in SpecialTokens::read(directory)?.named() {
            tokens.insert(name.to_owned(), token.into());
        }
        let mut named = Vec::new();
        for (name, source) in sources {
            let template = Template::parse(&source).map_err(|fault| unusable(&path, fault))?;
            named.push(Named { name, source, template });
        }
        Ok(ChatTemplate { path, tokens, named })
    }

    /// The text of a conversation. `context` has `messages`, as a rule `add_generation_prompt`, and whatever else the
    /// template knows, such as `tools` or `enable_thinking`.
    ///
    /// # Errors
    /// The template refuses the conversation (`raise_exception`), or fails.
    pub fn render(&self, context: &Map<String, Json>) -> Result<String> {
        let with_tools = context.get("tools").is_some_and(|tools| !tools.is_null());
        let named = |name: &str| self.named.iter().find(|named| named.name == name);
        let chosen = named(TOOL_USE).filter(|_| with_tools).or_else(|| named(DEFAULT));
        let mut context = context.clone();
        for (key, token) in &self.tokens {
            context.entry(key).or_insert_with(|| token.clone());
        }
        for key in ["tools", "documents"] {
            context.entry(key).or_insert(Json::Null);
        }
        if let Some(Json::Array(messages)) = context.get_mut("messages") {
            messages.iter_mut().filter_map(Json::as_object_mut).for_each(name_reasoning);
        }
        let chosen = chosen.expect("open takes no checkpoint without a default template");
        chosen.template.render(&context).map_err(|fault| self.failed(&fault))
    }

    /// A value as templates write it with `tojson`.
    ///
    /// # Errors
    /// It is nested deeper than templates may be.
    pub fn json(&self, value: Json) -> Result<String> {
        let template = Template::parse("{{ value | tojson }}").expect("it is Jinja");
        let context = Map::from_iter([("value".to_owned(), value)]);
        template.render(&context).map_err(|fault| self.failed(&fault))
    }

    /// Whether the template speaks of `word`: a variable, or a token that it prints.
    pub fn mentions(&self, word: &str) -> bool {
        self.named.iter().any(|named| named.source.contains(word))
    }

    fn failed(&self, fault: &Fault) -> Error {
        let (category, message, hint) = match fault.kind {
            Kind::Raised => (
                Category::Input,
                "The chat template refuses the conversation",
                "change the conversation as the template asks",
            ),
            Kind::Limit => (
                Category::Model,
                "The chat template does more than a conversation needs",
                "the template runs away or is hostile; shorten the conversation if it is very long",
            ),
            Kind::Syntax | Kind::Failed => (
                Category::Model,
                "The chat template failed",
                "the template expects something that a plain conversation lacks, or is damaged",
            ),
        };
        Error::new(category, message).details(format!("{}: {fault}", self.path.display())).hint(hint)
    }
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

/// The templates of a folder, by their names in order; none where there is no such folder.
fn additional_sources(folder: &Path) -> Result<Vec<(String, String)>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut sources = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unusable(folder, error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".jinja"));
        if let Some(name) = name.map(str::to_owned) {
            sources.extend(read(&path)?.map(|source| (name, source)));
        }
    }
    sources.sort();
    Ok(sources)
}

fn read(path: &Path) -> Result<Option<String>> {
    let Some(bytes) = crate::files::read(path)? else { return Ok(None) };
    String::from_utf8(bytes).map(Some).map_err(|error| unusable(path, error))
}

fn unusable(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::new(Category::Model, "The chat template cannot be used")
        .details(format!("{}: {error}", path.display()))
        .hint("the file may be damaged or incomplete; download it again")
}

fn absent(file: &Path) -> Error {
    Error::new(Category::Io, "The chat template cannot be read")
        .details(format!("{}: no such file", file.display()))
        .hint("name a file with a Jinja template with --chat-template, or leave the option out")
}

fn missing(directory: &Path) -> Error {
    Error::new(Category::Model, "The model has no chat template")
        .details(format!("{} has no chat_template.jinja and no chat_template in tokenizer_config.json", directory.display()))
        .hint("a base model continues a text: nemotron generate --prompt; an instruct model's template is in its repository")
}
