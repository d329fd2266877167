//! `Prompt`: what is to be continued, and `Texts`, which turn it into ids and ids into text.
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::answer::{Answer, Tags, TextOptions};
use super::constraint::GrammarCache;
use super::roles::{self, MARKS};
use super::stop;
use super::think_marks::ThinkMarks;
use super::tools::OfferedTools;
use crate::engine::Constraint;
use crate::error::{Category, Error, Result};
use crate::text::{ChatTemplate, GrammarSource, Tokenizer};

/// What is to be continued.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// A text, with what the tokenizer's post-processor puts around it, such as `<s>`.
    Text(String),
    /// A text as it is.
    Raw(String),
    /// Messages that the model is to answer, as its chat template writes them.
    Chat(Vec<Value>),
}

/// What a chat template is told of one conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendering {
    /// Goes before the switch of all conversations.
    pub thinking: Option<bool>,
    /// Functions that the model may call, as OpenAI's API has them.
    pub tools: Vec<Value>,
    /// What else the template is told, before what all conversations are told.
    pub kwargs: Map<String, Value>,
    /// Whether the model's turn begins at the end.
    pub generation_prompt: bool,
    /// Whether the text ends with the last message, which the model goes on with.
    pub continue_final: bool,
}

impl Default for Rendering {
    fn default() -> Rendering {
        Rendering {
            thinking: None,
            tools: Vec::new(),
            kwargs: Map::new(),
            generation_prompt: true,
            continue_final: false,
        }
    }
}

/// What a template is told of a conversation in other ways, and of how the text is made.
const NOT_KWARGS: [&str; 8] = [
    "messages",
    "tools",
    "documents",
    "add_generation_prompt",
    "continue_final_message",
    "chat_template",
    "chat_template_kwargs",
    "tokenize",
];

/// Refuses what a template is told in other ways.
///
/// # Errors
/// `kwargs` would replace such, or a special token of the checkpoint: in words.
pub fn check_kwargs(kwargs: &Map<String, Value>) -> std::result::Result<(), String> {
    match kwargs.keys().find(|name| NOT_KWARGS.contains(&name.as_str()) || name.ends_with("_token")) {
        None => Ok(()),
        Some(name) => Err(format!("it may not replace {name:?}")),
    }
}

impl Prompt {
    /// A question of a user, after a system turn if there is a text for it: an empty one changes answers.
    pub fn question(system: Option<&str>, text: &str) -> Prompt {
        let system = system.map(|text| json!({ "role": "system", "content": text }));
        Prompt::Chat(system.into_iter().chain([json!({ "role": "user", "content": text })]).collect())
    }
}

/// The tokenizer, the chat template, and the texts that end every answer.
pub struct Texts {
    pub(super) tokenizer: Tokenizer,
    pub(super) template: Result<ChatTemplate>,
    /// Turn ends of the template that are no tokens.
    pub(super) stops: Vec<String>,
    /// Tokens that a prompt may have; none before the context is known.
    pub(super) context: Option<usize>,
    /// What the template is told beside the conversation.
    kwargs: Map<String, Value>,
    thinking: Option<bool>,
    pub(super) think_marks: ThinkMarks,
    pub(super) grammars: GrammarCache,
    /// Functions that may be called in all conversations.
    pub(super) tools: Option<Arc<OfferedTools>>,
}

/// The variable with which a template turns reasoning on and off.
pub const THINKING: &str = "enable_thinking";

impl Texts {
    /// Reads a checkpoint's tokenizer and template; a template that cannot be used is an error where it is needed.
    /// A file that the user names replaces it.
    ///
    /// # Errors
    /// There is no tokenizer that can be used, or the user's template cannot be.
    pub fn open(directory: &Path, template: Option<&Path>) -> Result<Texts> {
        let tokenizer = Tokenizer::open(directory)?;
        let template = match template {
            None => ChatTemplate::open(directory),
            Some(file) => Ok(ChatTemplate::open_file(directory, file)?),
        };
        Ok(Texts {
            tokenizer,
            template,
            stops: Vec::new(),
            context: None,
            kwargs: Map::new(),
            thinking: None,
            think_marks: ThinkMarks::default(),
            grammars: GrammarCache::default(),
            tools: None,
        })
    }

    /// As [`Texts::open`], of a model: a directory, or `org/name` of Hugging Face's cache. Weights are not looked at.
    ///
    /// # Errors
    /// There is no such model, and those of [`Texts::open`].
    pub fn of_model(model: &str, template: Option<&Path>) -> Result<Texts> {
        Texts::open(&crate::checkpoint::directory(model)?, template)
    }

    /// What `source` asks of an answer, which tokens of `eos` end.
    ///
    /// # Errors
    /// As [`GrammarCache::constraint`].
    pub(super) fn constraint(&self, source: &GrammarSource, eos: &[u32]) -> Result<Constraint> {
        self.grammars.constraint(&self.tokenizer, source, eos)
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Refuses from now on, before anything is tokenized, texts that cannot fit into a context of so many tokens.
    pub(super) fn limit(&mut self, context: usize) {
        self.context = Some(context);
    }

    /// Tells the template from now on what `kwargs` say, and to turn reasoning on or off.
    ///
    /// # Errors
    /// Reasoning is to be turned on or off, and the template has no switch for that.
    pub(super) fn instruct(&mut self, kwargs: Map<String, Value>, thinking: Option<bool>) -> Result<()> {
        if thinking.is_some() {
            self.check_switch()?;
        }
        (self.kwargs, self.thinking) = (kwargs, thinking);
        Ok(())
    }

    /// Whether the template has a switch for reasoning.
    ///
    /// # Errors
    /// It has none, or there is no template.
    pub(super) fn check_switch(&self) -> Result<()> {
        let template = self.template.as_ref().map_err(Clone::clone)?;
        if template.mentions(THINKING) || template.mentions(MARKS[0]) {
            return Ok(());
        }
        Err(Error::new(Category::Input, "The model has no switch for reasoning")
            .details(format!("its chat template knows neither {THINKING} nor {}", MARKS[0]))
            .hint("some models are told so in their --system text; see the model's card"))
    }

    /// The text that the template makes of a conversation, up to where the model answers, with the tools of all conversations;
    /// `thinking` goes before their switch.
    ///
    /// # Errors
    /// There is no template, or it refuses the conversation.
    pub(super) fn render(&self, messages: Vec<Value>, thinking: Option<bool>) -> Result<String> {
        let tools = self.tools.as_ref().map(|tools| tools.list.clone()).unwrap_or_default();
        self.render_with(messages, Rendering { thinking, tools, ..Rendering::default() })
    }

    /// As [`Texts::render`], as `rendering` says.
    ///
    /// # Errors
    /// As [`Texts::render`], or the last message is to be continued and is not in the text that the template makes.
    pub(crate) fn render_with(&self, mut messages: Vec<Value>, rendering: Rendering) -> Result<String> {
        let template = self.template.as_ref().map_err(Clone::clone)?;
        let Rendering { thinking, tools, kwargs: own, generation_prompt, continue_final } = rendering;
        let last = messages.last().and_then(|last| last["content"].as_str()).unwrap_or_default().to_owned();
        let mut kwargs = self.kwargs.clone();
        kwargs.extend(own);
        let said: Vec<Value> = messages.iter().map(|message| message["role"].clone()).collect();
        roles::settle(template, &mut messages);
        if let Some(on) = thinking.or(self.thinking) {
            if template.mentions(THINKING) {
                kwargs.insert(THINKING.into(), on.into());
            } else {
                mark(&mut messages, MARKS[usize::from(on)]);
            }
        }
        self.write_calls(template, &mut messages)?;
        let mut context = kwargs.clone();
        if !kwargs.is_empty() {
            context.insert("chat_template_kwargs".into(), kwargs.into());
        }
        context.insert("messages".into(), messages.into());
        if !tools.is_empty() {
            context.insert("tools".into(), tools.into());
        }
        context.insert("add_generation_prompt".into(), generation_prompt.into());
        context.insert("continue_final_message".into(), continue_final.into());
        let text = roles::render(template, &context, &said)?;
        if continue_final { up_to_last(text, &last) } else { Ok(text) }
    }

    /// The text of what follows `prompt`, until one of `stop` comes or one that ends every answer.
    ///
    /// # Errors
    /// A stop text is empty or can never come, too many log-probabilities are asked for, or the prompt cannot be decoded.
    pub(super) fn answer(&self, prompt: &[u32], stop: &[String], logprobs: Option<usize>) -> Result<Answer<'_>> {
        self.answer_until(prompt, stop, false, logprobs)
    }

    /// As [`Texts::answer`]; where `alone` says so, until one of `stop` and no other text.
    ///
    /// # Errors
    /// As [`Texts::answer`].
    pub(super) fn answer_until(
        &self,
        prompt: &[u32],
        stop: &[String],
        alone: bool,
        logprobs: Option<usize>,
    ) -> Result<Answer<'_>> {
        stop.iter().try_for_each(|stop| stop::check(&self.tokenizer, stop))?;
        let shown = self.shown(TextOptions { tags: self.tags(), ..TextOptions::default() });
        let own = if alone { &[][..] } else { &self.stops };
        let answer = Answer::new(&self.tokenizer, prompt, shown, [own, stop].concat(), logprobs)?;
        Ok(answer.apart(self.reasoning(prompt)?, self.tools.clone().map(|tools| (tools, stop.to_vec()))))
    }

    /// The tags that are told apart in all conversations.
    pub(super) fn tags(&self) -> Tags {
        if self.tools.is_some() { Tags::Calls } else { Tags::Reasoning }
    }
}

/// A conversation's text up to the end of its last message, with the white space behind that if the template keeps it.
fn up_to_last(mut text: String, last: &str) -> Result<String> {
    let start = text.rfind(last.trim()).filter(|_| !last.trim().is_empty()).ok_or_else(|| {
        Error::new(Category::Input, "The last message cannot be continued")
            .details("it is empty, or the chat template writes it otherwise")
            .hint("leave continue_final_message out, or give the last message a content")
    })?;
    let kept = text[start..].starts_with(last.trim_start());
    text.truncate(start + if kept { last.trim_start() } else { last.trim() }.len());
    Ok(text)
}

/// Puts a mark at the end of the system turn, which is made if there is none.
fn mark(messages: &mut Vec<Value>, mark: &str) {
    match messages.first_mut().filter(|message| message["role"] == "system") {
        Some(system) => {
            let content = system["content"].as_str().unwrap_or("");
            system["content"] = format!("{content}\n{mark}").into();
        }
        None => messages.insert(0, json!({ "role": "system", "content": mark })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_is_switched_as_the_template_has_it() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let open = |template: &str| {
            let file = root.join("tests/text/templates").join(template);
            Texts::open(&root.join("models/storyteller"), Some(&file)).unwrap()
        };
        let ask = |texts: &Texts, system: Option<&str>| {
            let Prompt::Chat(messages) = Prompt::question(system, "Hi") else { unreachable!() };
            texts.render(messages, None).unwrap()
        };
        let off: Map<String, Value> = Map::from_iter([(THINKING.to_owned(), false.into())]);
        for (template, on_end, off_end) in [
            ("nemotron_3_nano.jinja", "<think>\n", "<think></think>"),
            ("nemotron_3_5_lightning.jinja", "<think>\n", "<think></think>"),
            ("nemotron_nano_v2.jinja", "<think>\n\n", "<think></think>"),
        ] {
            let mut texts = open(template);
            for system in [None, Some("Be kind.")] {
                let (thinking, kept) = ([None, Some(true), Some(false)], ask(&texts, system));
                for (on, end) in thinking.into_iter().zip([on_end, on_end, off_end]) {
                    texts.instruct(Map::new(), on).unwrap();
                    let text = ask(&texts, system);
                    assert!(text.ends_with(end) && !text.contains("/no_think"), "{template}, {on:?}: {text}");
                    // Nothing else changes.
                    assert_eq!(text.strip_suffix(end), kept.strip_suffix(on_end), "{template}, {on:?}");
                    let ids = texts.encode(&Prompt::Raw(text)).unwrap();
                    let reasons = texts.reasoning(&ids).unwrap().map(|reasoning| reasoning.reasons());
                    assert_eq!(reasons, Some(on != Some(false)), "{template}, {on:?}");
                }
                texts.instruct(Map::new(), None).unwrap();
            }
            if !template.contains("v2") {
                texts.instruct(off.clone(), None).unwrap();
                assert!(ask(&texts, None).ends_with(off_end), "{template}");
            }
        }
        let mut mini = open("nemotron_mini.jinja");
        assert_eq!(mini.reasoning(&[5, 6]), Ok(None));
        let error = mini.instruct(Map::new(), Some(false)).unwrap_err();
        assert_eq!(error.message(), "The model has no switch for reasoning");
    }

    #[test]
    fn a_stop_text_that_no_token_writes_is_refused() {
        let open = |name: &str, edit: &dyn Fn(&mut Value)| {
            let directory = tempfile::tempdir().unwrap();
            let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/storyteller/tokenizer.json");
            let mut tokenizer: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).expect(name);
            edit(&mut tokenizer);
            std::fs::write(directory.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
            Texts::open(directory.path(), None).unwrap()
        };
        let bytes = open("bytes", &|_| {});
        let words = open("words", &|tokenizer| {
            tokenizer["model"] = json!({ "type": "WordLevel", "unk_token": "<unk>",
                "vocab": { "<pad>": 0, "<unk>": 1, "<s>": 2, "</s>": 3, "<extra_id_0>": 4, "<extra_id_1>": 5, "▁END": 6 } });
        });
        let refused = |texts: &Texts, stop: &str| texts.answer(&[], &[stop.to_owned()], None).err();
        for stop in ["END", "龍🦊", "\n\n", "<extra_id_1>User", "\u{FFFD}"] {
            assert_eq!(refused(&bytes, stop), None, "{stop:?}");
        }
        for stop in ["END", "D E", "<extra_id_1>", "</s>END"] {
            assert_eq!(refused(&words, stop), None, "{stop:?}");
        }
        let error = refused(&words, "END龍").unwrap();
        assert_eq!(error.message(), "A stop text can never come");
        assert_eq!(error.details_text(), "\"END龍\" has '龍', which no token of the model writes");
    }
}
