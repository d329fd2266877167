//! `Session`: a loaded model and its tokenizer; prompts become text, piece by piece.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;

use super::answer::Answer;
use super::generation::{GenerateOptions, Generation};
use super::prompt::{Prompt, Texts};
use super::tools::OfferedTools;
use super::{LoadOptions, Model, Note, choice};
use crate::device::Device;
use crate::engine::{EngineStatus, Request, Update};
use crate::error::Result;
use crate::text::{ChatTemplate, Reasoning, Tokenizer};

/// Tokens with which turns end. Those that a checkpoint's template prints end an answer too, whatever its config says.
const TURN_ENDS: [&str; 4] = ["<extra_id_1>", "<|im_end|>", "<|eot_id|>", "<SPECIAL_12>"];

/// How soon an interruption is seen while no token comes.
const INTERRUPTION: Duration = Duration::from_millis(20);

/// A loaded model and its tokenizer.
pub struct Session {
    model: Model,
    texts: Texts,
}

impl Session {
    /// Loads a model with its tokenizer; `note` is told what happens.
    ///
    /// # Errors
    /// The checkpoint, the tokenizer or the device; each says which file, what was expected and what was found.
    pub fn load(options: &LoadOptions, note: &mut dyn FnMut(Note)) -> Result<Session> {
        Session::load_opened(options, || options.open(), note)
    }

    /// As [`Session::load`], on a device of the caller's own instead of the one that `options` choose.
    ///
    /// # Errors
    /// As [`Session::load`].
    pub fn load_on(device: Box<dyn Device>, options: &LoadOptions, note: &mut dyn FnMut(Note)) -> Result<Session> {
        Session::load_opened(options, || Ok(choice::Opened::own(device, options.activation_type())), note)
    }

    fn load_opened(
        options: &LoadOptions,
        device: impl FnOnce() -> Result<choice::Opened>,
        note: &mut dyn FnMut(Note),
    ) -> Result<Session> {
        let mut texts = None;
        let mut model = Model::load_on(options, device, note, |directory| {
            texts = Some(Texts::open(directory, options.chat_template.as_deref())?);
            Ok(())
        })?;
        let mut texts = texts.expect("a loaded model has read its files");
        texts.limit(model.engine.limits().context);
        texts.instruct(options.chat_template_kwargs.clone(), options.thinking)?;
        texts.stops.append(&mut model.stop_strings);
        if model.spec.eos.is_empty() && !options.ignore_eos {
            model.spec.eos.extend(texts.tokenizer.eos());
        }
        let printed = |end: &&str| texts.template.as_ref().is_ok_and(|template| template.mentions(end));
        for end in TURN_ENDS.into_iter().filter(|_| !options.ignore_eos).filter(printed) {
            match texts.tokenizer.token_to_id(end) {
                Some(id) => model.spec.eos.push(id),
                None => texts.stops.push(end.to_owned()),
            }
        }
        Ok(Session { model, texts })
    }

    /// Continues `prompt` and gives `on_piece` each piece of text as soon as no later token can change it.
    ///
    /// # Errors
    /// The prompt is empty or longer than the context, or the device failed.
    pub fn generate(
        &mut self,
        prompt: &str,
        options: &GenerateOptions,
        on_piece: impl FnMut(&str),
    ) -> Result<Generation> {
        let prompt = self.encode(&Prompt::Text(prompt.to_owned()))?;
        self.generate_from(prompt, options, on_piece)
    }

    /// Ids of a prompt that the model can continue.
    ///
    /// # Errors
    /// The prompt is empty or longer than the context, or the chat template refuses it.
    pub fn encode(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        let ids = self.texts.encode(prompt)?;
        self.model.engine.limits().check_prompt(&ids)?;
        Ok(ids)
    }

    /// Ids of a prompt that is not to be continued, however long it is.
    ///
    /// # Errors
    /// The chat template refuses it, or the tokenizer cannot take the text.
    pub fn encode_all(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        self.texts.encode_all(prompt)
    }

    /// As [`Session::generate`], from ids.
    ///
    /// # Errors
    /// As [`Session::generate`], and when a stop text is empty, too many log-probabilities are asked for, or there is a budget of
    /// reasoning and the model does not reason.
    pub fn generate_from(
        &mut self,
        prompt: Vec<u32>,
        options: &GenerateOptions,
        mut on_piece: impl FnMut(&str),
    ) -> Result<Generation> {
        let (request, mut answer) = self.asked(prompt, options)?;
        let mut show = |piece: &str| {
            if !piece.is_empty() {
                on_piece(piece);
            }
        };
        let prompt_tokens = request.prompt.len() as u64;
        let updates = self.model.engine.submit(request)?;
        let mut untold = options.progress.inspect(|progress| progress(0, prompt_tokens));
        while !answer.ended() && !options.interrupt.load(Ordering::Relaxed) {
            match updates.next_within(INTERRUPTION)? {
                None => {}
                Some(Update::Prompt(done)) => {
                    let done = done as u64;
                    untold = untold.inspect(|progress| progress(done, prompt_tokens)).filter(|_| done < prompt_tokens);
                }
                Some(Update::Scores(scores)) => answer.score(&scores)?,
                Some(Update::Token(event)) => show(&answer.push(&event)?),
            }
        }
        untold.inspect(|progress| progress(prompt_tokens, prompt_tokens));
        updates.end_behind(answer.generation().ids.len());
        drop(updates);
        let (generation, rest) = answer.end()?;
        show(&rest);
        Ok(generation)
    }

    /// Whether `prompt` can be continued so, before anything is shown of it.
    ///
    /// # Errors
    /// As [`Session::generate_from`], but for what goes wrong on the way.
    pub fn check(&self, prompt: &[u32], options: &GenerateOptions) -> Result<()> {
        let (request, _) = self.asked(prompt.to_vec(), options)?;
        self.model.engine.limits().check(&request)
    }

    /// What the engine is asked for, and what takes its tokens.
    fn asked(&self, prompt: Vec<u32>, options: &GenerateOptions) -> Result<(Request, Answer<'_>)> {
        let (model, texts) = (&self.model, &self.texts);
        let prompt = texts.without_thinking(prompt, options.thinking_budget)?;
        let thinking = texts.thinking(&prompt, options.thinking_budget, options.grammar.is_some(), texts.tags())?;
        let answer = texts.answer(&prompt, &options.stop, options.logprobs)?.scored(options.prompt_logprobs)?;
        let form = options.grammar.as_ref();
        let constraint = form.map(|source| texts.constraint(source, &model.spec.eos)).transpose()?;
        let request = Request {
            prompt,
            max_tokens: options.max_tokens,
            eos: model.spec.eos.clone(),
            sampling: options.sampling.clone(),
            logprobs: options.logprobs,
            prompt_logprobs: options.prompt_logprobs,
            thinking,
            constraint,
            ..Request::default()
        };
        Ok((request, answer))
    }

    /// Offers functions, as OpenAI's API has them, to the model in all conversations from now on; none of them for none.
    ///
    /// # Errors
    /// A tool is no function, two have one name, or the model's chat template knows no tools.
    pub fn offer(&mut self, tools: Vec<Value>) -> Result<()> {
        self.texts.tools = match tools.is_empty() {
            true => None,
            false => Some(Arc::new(self.texts.offered(tools)?)),
        };
        Ok(())
    }

    /// The functions that the model may call in all conversations.
    pub fn offered(&self) -> Option<&OfferedTools> {
        self.texts.tools.as_deref()
    }

    /// What tells the reasoning that follows `prompt` from the answer; none where the model's template knows no reasoning.
    ///
    /// # Errors
    /// The prompt cannot be decoded.
    pub fn reasoning(&self, prompt: &[u32]) -> Result<Option<Reasoning>> {
        self.texts.reasoning(prompt)
    }

    /// The checkpoint's chat template.
    ///
    /// # Errors
    /// There is none, or it cannot be used.
    pub fn template(&self) -> Result<&ChatTemplate> {
        self.texts.template.as_ref().map_err(Clone::clone)
    }

    /// The checkpoint's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.texts.tokenizer
    }

    /// Tokens that a prompt and its continuation may have together.
    pub fn context(&self) -> usize {
        self.model.engine.limits().context
    }

    /// Most bytes of a prompt: longer ones are refused before they are tokenized.
    pub fn longest_prompt(&self) -> usize {
        self.texts.most_bytes(self.context())
    }

    /// Gives up what is cached of earlier generations.
    pub fn forget(&mut self) {
        // Where the engine has failed there is nothing to give up, and the next request says so.
        let _ = self.model.engine.call(crate::engine::Engine::forget);
    }

    /// How the engine is, and what it has done so far.
    pub fn status(&self) -> EngineStatus {
        self.model.engine.status()
    }

    /// The tokenizer, the template, and the texts that end every answer.
    pub(super) fn texts(&self) -> &Texts {
        &self.texts
    }

    /// The model to run, and the texts beside it.
    pub(super) fn parts(&mut self) -> (&mut Model, &Texts) {
        (&mut self.model, &self.texts)
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{DeviceChoice, Finish};

    fn storyteller() -> Session {
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/storyteller");
        let options = LoadOptions { device: DeviceChoice::Cpu, ..LoadOptions::new(model) };
        Session::load(&options, &mut |_| {}).unwrap()
    }

    #[test]
    fn a_session_can_be_used_again_after_an_interruption_too() {
        let mut session = storyteller();
        let options = GenerateOptions { max_tokens: 30, ..GenerateOptions::default() };
        let mut pieces = String::new();
        let first = session.generate("Hello", &options, |piece| pieces += piece).unwrap();
        assert_eq!((first.finish, first.ids.len(), first.prompt_tokens), (Finish::Length, 30, 2));
        assert_eq!(pieces, first.text);

        let flag = options.interrupt.clone();
        let cut = session.generate("Hello", &options, |_| flag.store(true, Ordering::Relaxed)).unwrap();
        assert_eq!(cut.finish, Finish::Interrupted);
        assert!(!cut.ids.is_empty() && first.ids.starts_with(&cut.ids) && cut.ids.len() < 30, "{cut:?}");

        options.interrupt.store(false, Ordering::Relaxed);
        let again = session.generate("Hello", &options, |_| {}).unwrap();
        assert_eq!((again.ids, again.text), (first.ids, first.text));
    }

    #[test]
    fn the_token_that_ends_a_text_is_counted_and_not_shown() {
        let generation =
            storyteller().generate("The capital of France is", &GenerateOptions::default(), |_| {}).unwrap();
        assert_eq!((generation.finish, generation.text.as_str()), (Finish::Stop, " Paris."));
        assert_eq!(generation.ids.last(), Some(&3));
        assert_eq!(generation.speed().is_some(), generation.ids.len() > 1);
    }
}
