//! `Conversation`: turns of a user and a model, as the chat template writes them.
use serde::Serialize;
use serde_json::{Value, json};

use super::messages;
use super::{Finish, GenerateOptions, Generation, Prompt, Rendering, Session};
use crate::error::{Category, Error, Result};
use crate::text::Reasoning;

/// What somebody said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `system` or `developer`, `user`, `assistant`, or `tool` for the result of a call.
    pub role: &'static str,
    /// The text.
    pub content: String,
    /// What the model thought before it, under the name that templates read.
    #[serde(rename = "reasoning_content", skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// The functions that the model calls, as OpenAI's API has them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<Value>,
    /// The call that this is the result of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

impl Message {
    /// Something that was said without reasoning.
    pub fn new(role: &'static str, content: impl Into<String>) -> Message {
        Message { role, content: content.into(), reasoning: None, tool_calls: Vec::new(), tool_call_id: None }
    }

    /// What a user says.
    pub fn user(text: &str) -> Message {
        Message::new("user", text)
    }

    /// Whether it tells the model how to answer.
    pub fn tells(&self) -> bool {
        ["system", "developer"].contains(&self.role)
    }

    /// The result of the call of that id.
    pub fn result(id: String, text: &str) -> Message {
        Message { tool_call_id: Some(id), ..Message::new("tool", text) }
    }
}

/// A conversation with a model.
///
/// Each turn's prompt is the ids of the whole text that the template makes of all turns: a tokenizer may judge a text by
/// what stands in front of it. What the device has of earlier turns is used again as far as the ids are the same.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    messages: Vec<Message>,
    thinking: Option<bool>,
    /// Tokens of the last prompt and its answer.
    tokens: usize,
}

impl Conversation {
    /// Nothing said yet. A system turn is there only if there is a text for it: an empty one changes answers.
    pub fn new(system: Option<&str>) -> Conversation {
        let system = system.map(|text| Message::new("system", text));
        Conversation { messages: system.into_iter().collect(), ..Conversation::default() }
    }

    /// Forgets all turns but those that tell the model how to answer.
    pub fn reset(&mut self) {
        let mut messages = std::mem::take(&mut self.messages);
        messages.retain(Message::tells);
        self.resume(messages);
    }

    /// Goes on from turns that were had before, those that tell the model how to answer first.
    pub fn resume(&mut self, messages: Vec<Message>) {
        *self = Conversation { messages, thinking: self.thinking, tokens: 0 };
    }

    /// Takes the last turn of the user back, with its answer, and returns what the user said; none where there is none.
    pub fn take_back(&mut self) -> Option<String> {
        let last = self.messages.iter().rposition(|message| message.role == "user")?;
        self.messages.drain(last..).next().map(|message| message.content)
    }

    /// Tells the model something else in front of all turns, or nothing.
    pub fn set_system(&mut self, text: Option<&str>) {
        self.messages.retain(|message| !message.tells());
        self.messages.splice(..0, Conversation::new(text).messages);
    }

    /// Counts the tokens of the turns as they are; none before the first turn of the user, or where the template does
    /// not take them.
    pub fn recount(&mut self, session: &Session) {
        self.tokens = 0;
        if self.messages.iter().any(|message| !message.tells()) {
            self.tokens = self.ids(session, false).map_or(0, |ids| ids.len());
        }
    }

    /// All turns.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Tokens of the conversation so far.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Turns reasoning on or off from the next turn on; without, the template decides.
    ///
    /// # Errors
    /// The model's template has no switch for that.
    pub fn set_thinking(&mut self, session: &Session, thinking: bool) -> Result<()> {
        session.texts().check_switch()?;
        self.thinking = Some(thinking);
        Ok(())
    }

    /// Ids of the calls of the model's last turn that have no result yet, in order.
    pub fn open_calls(&self) -> Vec<String> {
        let Some(last) = self.messages.iter().rposition(|message| message.role != "tool") else { return Vec::new() };
        let has_result =
            |id: &str| self.messages[last..].iter().any(|result| result.tool_call_id.as_deref() == Some(id));
        let ids = self.messages[last].tool_calls.iter().filter_map(|call| call["id"].as_str());
        ids.filter(|id| !has_result(id)).map(str::to_owned).collect()
    }

    /// Adds a turn that the model does not answer yet.
    pub fn note(&mut self, message: Message) {
        self.messages.push(message);
    }

    /// What will tell the reasoning behind a turn from the answer; none where there is none to come.
    pub fn reasoning(&self, session: &Session, message: &Message) -> Option<Reasoning> {
        let prompt = self.clone().ask(session, message.clone()).ok()?;
        session.reasoning(&prompt).ok()?
    }

    /// Adds a turn, of the user or the result of a call, and lets the model answer; each piece of the answer is given to
    /// `on_piece`.
    ///
    /// # Errors
    /// The template refuses the turn, the context is full, or the device failed. The turn is then taken back.
    pub fn say(
        &mut self,
        session: &mut Session,
        message: Message,
        options: &GenerateOptions,
        on_piece: impl FnMut(&str),
    ) -> Result<Generation> {
        let before = self.clone();
        let answered = self.ask(session, message).and_then(|prompt| session.generate_from(prompt, options, on_piece));
        match answered {
            Ok(generation) => {
                self.hear(&generation);
                Ok(generation)
            }
            Err(error) => {
                *self = before;
                Err(error)
            }
        }
    }

    /// Adds a turn and returns the prompt for the model's.
    ///
    /// # Errors
    /// The template refuses the turn, or the context is full.
    pub fn ask(&mut self, session: &Session, message: Message) -> Result<Vec<u32>> {
        self.messages.push(message);
        let ids = self.ids(session, true)?;
        let context = session.context();
        if ids.len() >= context {
            return Err(Error::new(Category::Input, "The conversation fills the context")
                .details(format!("it has {} tokens, the context {context}", ids.len()))
                .hint("/reset starts a new one; a larger --context holds more"));
        }
        self.tokens = ids.len();
        Ok(ids)
    }

    /// Ids of all turns as the template writes them, with the begin of the model's or without.
    fn ids(&self, session: &Session, generation_prompt: bool) -> Result<Vec<u32>> {
        let messages: Vec<Value> = self.messages.iter().map(|message| json!(message)).collect();
        let messages = messages::plain(&messages).map_err(|what| {
            Error::new(Category::Input, "The conversation cannot be written")
                .details(what)
                .hint("/undo takes the last turn back; /reset starts a new conversation")
        })?;
        let tools = session.offered().map(|tools| tools.list.clone()).unwrap_or_default();
        let rendering = Rendering { thinking: self.thinking, tools, generation_prompt, ..Rendering::default() };
        session.texts().encode(&Prompt::Raw(session.texts().render_with(messages, rendering)?))
    }

    /// Adds the model's turn, without a call that was cut off. The token that ended it is the template's to print.
    fn hear(&mut self, generation: &Generation) {
        self.tokens += generation.ids.len() - usize::from(generation.finish == Finish::Stop);
        let (reasoning, content) = generation.parts();
        let is_whole = |call: &&Value| call["function"]["arguments"].as_str().is_some_and(is_object);
        let tool_calls = generation.calls().iter().filter(is_whole).cloned().collect();
        self.messages.push(Message { reasoning, tool_calls, ..Message::new("assistant", content) });
    }
}

fn is_object(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{DeviceChoice, LoadOptions};

    const STORYTELLER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/storyteller");

    /// A checkpoint like the demo model's, whose tokenizer has other parts.
    fn checkpoint_with(parts: &Value) -> tempfile::TempDir {
        let (model, directory) = (std::path::Path::new(STORYTELLER), tempfile::tempdir().unwrap());
        for name in ["config.json", "model.safetensors", "tokenizer_config.json"] {
            std::fs::copy(model.join(name), directory.path().join(name)).unwrap();
        }
        let mut tokenizer: Value =
            serde_json::from_slice(&std::fs::read(model.join("tokenizer.json")).unwrap()).unwrap();
        for (name, part) in parts.as_object().unwrap() {
            tokenizer[name] = part.clone();
        }
        std::fs::write(directory.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
        directory
    }

    /// Right ids by tests/text/turns.py: transformers' template, the tokenizers package on the whole text.
    #[test]
    fn the_ids_of_a_turn_are_those_of_the_whole_text_whatever_the_tokenizer() {
        let table = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/text/turns.json");
        let table: Value = serde_json::from_slice(&std::fs::read(table).unwrap()).unwrap();
        let talks = table["talks"].as_array().unwrap();
        let tokenizers = table["tokenizers"].as_array().unwrap();
        assert!(tokenizers.len() >= 10 && talks.len() >= 4);
        for tokenizer in tokenizers {
            let directory = checkpoint_with(&tokenizer["parts"]);
            let model = directory.path().to_str().unwrap();
            let session =
                Session::load(&LoadOptions { device: DeviceChoice::Cpu, ..LoadOptions::new(model) }, &mut |_| {})
                    .unwrap();
            for (talk, expected) in talks.iter().zip(tokenizer["ids"].as_array().unwrap()) {
                let texts: Vec<&str> = talk.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
                let (last, before) = texts.split_last().unwrap();
                let mut conversation = Conversation::new(None);
                for (turn, text) in before.iter().enumerate() {
                    let role = ["user", "assistant"][turn % 2];
                    conversation.messages.push(Message::new(role, *text));
                }
                let ids = conversation.ask(&session, Message::user(last)).unwrap();
                assert_eq!(json!(ids), *expected, "{}: {talk}", tokenizer["name"]);
            }
        }
    }

    #[test]
    fn only_what_follows_the_common_prefix_is_computed() {
        let options = LoadOptions { device: DeviceChoice::Cpu, ..LoadOptions::new(STORYTELLER) };
        let mut session = Session::load(&options, &mut |_| {}).unwrap();
        let mut conversation = Conversation::new(Some("You are a friendly storyteller."));
        let mut kept: Vec<u32> = Vec::new();
        for (turn, max_tokens) in [100, 5, 100, 3, 100].into_iter().enumerate() {
            let prompt = conversation.clone().ask(&session, Message::user("Hello, my name is Ada.")).unwrap();
            let options = GenerateOptions { max_tokens, ..GenerateOptions::default() };
            let heard =
                conversation.say(&mut session, Message::user("Hello, my name is Ada."), &options, |_| {}).unwrap();
            let same = kept.iter().zip(&prompt).take_while(|(a, b)| a == b).count();
            assert!(turn == 0 || same > 20, "turn {turn}: {same} tokens of {} are there", kept.len());
            assert_eq!(heard.prefilled_tokens, prompt.len() - same, "turn {turn}");

            let fresh = session.generate_from(prompt.clone(), &options, |_| {}).unwrap();
            assert_eq!((&fresh.ids, &fresh.text), (&heard.ids, &heard.text), "turn {turn}");
            // The token that came last was never computed.
            kept = [prompt, heard.ids[..heard.ids.len() - 1].to_vec()].concat();
        }
    }

    #[test]
    fn a_turn_that_fails_is_taken_back() {
        let options = LoadOptions { device: DeviceChoice::Cpu, context: Some(40), ..LoadOptions::new(STORYTELLER) };
        let mut session = Session::load(&options, &mut |_| {}).unwrap();
        let mut conversation = Conversation::new(None);
        let options = GenerateOptions::default();
        let error = conversation.say(&mut session, Message::user(&"long ".repeat(50)), &options, |_| {}).unwrap_err();
        assert_eq!((error.message(), conversation.messages()), ("The conversation fills the context", &[][..]));
        assert_eq!(conversation.say(&mut session, Message::user("Hello"), &options, |_| {}).unwrap().prompt_tokens, 12);
    }

    #[test]
    fn no_system_turn_unless_there_is_one() {
        assert_eq!(Conversation::new(None).messages(), []);
        let mut conversation = Conversation::new(Some("Be kind."));
        conversation.messages.push(Message::new("user", "x"));
        conversation.reset();
        assert_eq!(conversation.messages(), Conversation::new(Some("Be kind.")).messages());
        let told = [Message::new("system", "S"), Message::new("developer", "D")];
        conversation.resume([&told[..], &[Message::user("x")]].concat());
        conversation.reset();
        assert_eq!(conversation.messages(), told);
        conversation.set_system(Some("T"));
        assert_eq!(conversation.messages(), Conversation::new(Some("T")).messages());
    }
}
