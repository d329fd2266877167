//! `Conversation`: turns of a user and a model, as the chat template writes them.
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Finish, GenerateOptions, Generation, Session};
use crate::error::{Category, Error, Result};

/// The variable with which a template turns reasoning on and off.
pub const THINKING: &str = "enable_thinking";

/// What somebody said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: &'static str,
    /// The text.
    pub content: String,
}

/// A conversation with a model.
///
/// What the model generated stays as the ids that it generated, as long as the template prints the turn as it was; where
/// it rewrites earlier turns, as templates do that drop their reasoning, the text decides.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    messages: Vec<Message>,
    thinking: Option<bool>,
    /// What the template made of the turns up to the last answer.
    rendered: String,
    /// Ids of `rendered`, and after an answer of that too.
    ids: Vec<u32>,
    /// Text of the ids that follow `rendered`.
    answer: String,
}

impl Conversation {
    /// Nothing said yet. A system turn is there only if there is a text for it: an empty one changes answers.
    pub fn new(system: Option<&str>) -> Conversation {
        let system = system.map(|text| Message { role: "system", content: text.to_owned() });
        Conversation { messages: system.into_iter().collect(), ..Conversation::default() }
    }

    /// Forgets all turns but the system's.
    pub fn reset(&mut self) {
        let thinking = self.thinking;
        let system = self.messages.first().filter(|message| message.role == "system");
        *self = Conversation { thinking, ..Conversation::new(system.map(|message| message.content.as_str())) };
    }

    /// All turns.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Tokens of the conversation so far.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Turns reasoning on or off from the next turn on; without, the template decides.
    pub fn set_thinking(&mut self, thinking: bool) {
        self.thinking = Some(thinking);
    }

    /// Says `text` and lets the model answer; each piece of the answer is given to `on_piece`.
    ///
    /// # Errors
    /// The template refuses the turn, the context is full, or the device failed. The turn is then taken back.
    pub fn say(
        &mut self,
        session: &mut Session,
        text: &str,
        options: &GenerateOptions,
        on_piece: impl FnMut(&str),
    ) -> Result<Generation> {
        let before = self.clone();
        let options = GenerateOptions { keep: true, ..options.clone() };
        let answered = self.ask(session, text).and_then(|prompt| session.generate_from(prompt, &options, on_piece));
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

    /// Adds a turn of the user and returns the prompt for the model's.
    ///
    /// # Errors
    /// The template refuses the turn, or the context is full.
    pub fn ask(&mut self, session: &Session, text: &str) -> Result<Vec<u32>> {
        self.messages.push(Message { role: "user", content: text.to_owned() });
        let rendered = session.template()?.render(&self.context())?;
        let tokenizer = session.tokenizer();
        self.ids = match self.continuation(&rendered) {
            Some(rest) => [&self.ids[..], &tokenizer.encode_continuation(rest)?].concat(),
            None => tokenizer.encode(&rendered, false)?,
        };
        self.rendered = rendered;
        self.answer = String::new();
        let context = session.context();
        if self.ids.len() >= context {
            return Err(Error::new(Category::Input, "The conversation fills the context")
                .details(format!("it has {} tokens, the context {context}", self.ids.len()))
                .hint("/reset starts a new one; a larger --context holds more"));
        }
        Ok(self.ids.clone())
    }

    /// Adds the model's turn. The token that ended it is the template's to print; where a stop text did, the ids go on
    /// behind it, and the text is tokenized.
    fn hear(&mut self, generation: &Generation) {
        let generated = match generation.finish {
            Finish::Stop => &generation.ids[..generation.ids.len() - 1],
            Finish::StopText => &[],
            _ => &generation.ids[..],
        };
        self.ids.extend(generated);
        if generation.finish != Finish::StopText {
            self.answer.clone_from(&generation.text);
        }
        self.messages.push(Message { role: "assistant", content: generation.text.clone() });
    }

    /// What of `rendered` follows the ids that are there, if it begins as they do. A template may strip an answer;
    /// whitespace that the ids have around it is not printed twice.
    fn continuation<'a>(&self, rendered: &'a str) -> Option<&'a str> {
        let rest = rendered.strip_prefix(self.rendered.as_str()).filter(|_| !self.ids.is_empty())?;
        if let Some(rest) = rest.strip_prefix(self.answer.as_str()) {
            return Some(rest);
        }
        let rest = rest.strip_prefix(self.answer.trim())?;
        let tail = &self.answer[self.answer.trim_end().len()..];
        let printed = (0..=tail.len()).rev().filter_map(|length| tail.get(..length));
        printed.filter_map(|tail| rest.strip_prefix(tail)).next()
    }

    fn context(&self) -> Map<String, Value> {
        let mut context = Map::new();
        context.insert("messages".into(), json!(self.messages));
        context.insert("add_generation_prompt".into(), true.into());
        if let Some(thinking) = self.thinking {
            context.insert(THINKING.into(), thinking.into());
            context.insert("chat_template_kwargs".into(), json!({ THINKING: thinking }));
        }
        context
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{DeviceChoice, LoadOptions};

    #[test]
    fn an_answer_is_found_again_where_a_template_strips_it() {
        let heard = |answer: &str| Conversation {
            rendered: "User: x\nBot: ".into(),
            ids: vec![1],
            answer: answer.into(),
            ..Conversation::default()
        };
        let next = "User: x\nBot: Hello.\nUser: y";
        for (answer, rest) in [
            ("Hello.", Some("\nUser: y")),
            (" Hello.", Some("\nUser: y")),
            ("Hello.\n", Some("User: y")),
            ("Hello.\n\n", Some("User: y")),
            ("Hello. ", Some("\nUser: y")),
            ("", Some("Hello.\nUser: y")),
            ("Good bye.", None),
        ] {
            assert_eq!(heard(answer).continuation(next), rest, "{answer:?}");
        }
        assert_eq!(heard("Hello.").continuation("System: x"), None);
    }

    #[test]
    fn generated_ids_stay_and_only_what_is_new_is_computed() {
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/storyteller");
        let options = LoadOptions { device: DeviceChoice::Cpu, ..LoadOptions::new(model) };
        let mut session = Session::load(&options, &mut |_| {}).unwrap();
        let mut conversation = Conversation::new(Some("You are a friendly storyteller."));
        let mut not_computed = 0;
        for (turn, max_tokens) in [100, 5, 100, 3, 100].into_iter().enumerate() {
            let (before, kept) = (conversation.clone(), conversation.ids.len());
            let options = GenerateOptions { max_tokens, ..GenerateOptions::default() };
            let heard = conversation.say(&mut session, "Hello, my name is Ada.", &options, |_| {}).unwrap();
            assert!(conversation.ids.starts_with(&before.ids), "turn {turn}");
            assert_eq!(heard.prefilled_tokens, heard.prompt_tokens - (kept - not_computed), "turn {turn}");
            // A token that came last is not computed; the one that ended an answer is not among the ids either.
            not_computed = usize::from(heard.finish == Finish::Length);

            let prompt = before.clone().ask(&session, "Hello, my name is Ada.").unwrap();
            let fresh = session.generate_from(prompt, &options, |_| {}).unwrap();
            assert_eq!((fresh.ids, fresh.text), (heard.ids, heard.text), "turn {turn}");
        }
    }

    #[test]
    fn a_turn_that_fails_is_taken_back() {
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/storyteller");
        let options = LoadOptions { device: DeviceChoice::Cpu, context: Some(40), ..LoadOptions::new(model) };
        let mut session = Session::load(&options, &mut |_| {}).unwrap();
        let mut conversation = Conversation::new(None);
        let options = GenerateOptions::default();
        let error = conversation.say(&mut session, &"long ".repeat(50), &options, |_| {}).unwrap_err();
        assert_eq!((error.message(), conversation.messages()), ("The conversation fills the context", &[][..]));
        assert_eq!(conversation.say(&mut session, "Hello", &options, |_| {}).unwrap().prompt_tokens, 12);
    }

    #[test]
    fn no_system_turn_unless_there_is_one() {
        assert_eq!(Conversation::new(None).messages(), []);
        let mut conversation = Conversation::new(Some("Be kind."));
        conversation.messages.push(Message { role: "user", content: "x".into() });
        conversation.reset();
        assert_eq!(conversation.messages(), Conversation::new(Some("Be kind.")).messages());
    }
}
