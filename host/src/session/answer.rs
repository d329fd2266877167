//! `Answer`: the tokens of one sequence as they come, its text up to a stop text, and the times.
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::generation::{Finish, Generation};
use super::logprobs::{self, TokenLogprob};
use super::prompt_logprobs::PromptLogprob;
use super::stop::StopTexts;
use super::tools::OfferedTools;
use crate::engine::{Event, TokenScore};
use crate::error::Result;
use crate::text::{Detokenizer, Reasoning, Shown, Tokenizer};

/// How the text of an answer is made of its tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextOptions {
    /// Whether the stop text or token that ends the answer is part of its text.
    pub include_stop: bool,
    /// Whether special tokens are text.
    pub show_special: bool,
    /// Tags that are text even where they are special tokens.
    pub tags: Tags,
    /// Stop texts count from so many tokens on.
    pub min_tokens: usize,
}

/// Which tags are text even where they are special tokens, for whoever tells apart what stands between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tags {
    /// None.
    #[default]
    None,
    /// Those around reasoning.
    Reasoning,
    /// Those around reasoning and calls of tools.
    Calls,
}

/// A generation that runs.
pub(super) struct Answer<'a> {
    tokenizer: &'a Tokenizer,
    detokenizer: Detokenizer<'a>,
    stops: StopTexts,
    generation: Generation,
    started: Instant,
    ended: bool,
    /// Whether nobody reads the text before its end.
    whole: bool,
    text: TextOptions,
    /// What may be called, and the stop texts that cut a call off.
    tools: Option<(Arc<OfferedTools>, Vec<String>)>,
}

impl<'a> Answer<'a> {
    /// What follows `prompt`, with these special tokens, until one of `stops` comes; `logprobs` as in
    /// [`super::GenerateOptions`].
    ///
    /// # Errors
    /// A stop text is empty, too many log-probabilities are asked for, or the prompt cannot be decoded.
    pub fn new(
        tokenizer: &'a Tokenizer,
        prompt: &[u32],
        shown: Shown,
        stops: Vec<String>,
        logprobs: Option<usize>,
    ) -> Result<Answer<'a>> {
        logprobs::check(logprobs)?;
        let generation = Generation {
            text: String::new(),
            reasoning: None,
            calls: None,
            prompt_tokens: prompt.len(),
            prefilled_tokens: prompt.len(),
            ids: Vec::new(),
            logprobs: Vec::new(),
            prompt_logprobs: None,
            finish: Finish::Interrupted,
            prompt_time: Duration::ZERO,
            generation_time: Duration::ZERO,
        };
        let (stops, detokenizer) = (StopTexts::new(stops)?, Detokenizer::showing(tokenizer, prompt, shown)?);
        Ok(Answer {
            tokenizer,
            detokenizer,
            stops,
            generation,
            started: Instant::now(),
            ended: false,
            whole: false,
            text: TextOptions::default(),
            tools: None,
        })
    }

    /// Gives all text at the end, and none before: unless a stop text is watched for, it is decoded once.
    pub fn whole(self) -> Answer<'a> {
        Answer { whole: self.stops.is_empty(), ..self }
    }

    /// Has the text made as `text` says, with these special tokens.
    ///
    /// # Errors
    /// The prompt cannot be decoded.
    pub fn with(mut self, prompt: &[u32], text: TextOptions, shown: Shown) -> Result<Answer<'a>> {
        if *self.detokenizer.shown() != shown {
            self.detokenizer = Detokenizer::showing(self.tokenizer, prompt, shown)?;
        }
        self.stops = self.stops.including(text.include_stop);
        self.text = text;
        Ok(self)
    }

    /// The stop text that came, where no special token is part of it.
    pub fn stopped_by(&self) -> Option<&str> {
        self.stops.came()
    }

    /// What is known so far.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Has reasoning and calls of tools told apart at the end; some stop texts cut a call off, and others are the model's own.
    pub fn apart(
        mut self,
        reasoning: Option<Reasoning>,
        tools: Option<(Arc<OfferedTools>, Vec<String>)>,
    ) -> Answer<'a> {
        self.generation.reasoning = reasoning;
        self.tools = tools;
        self
    }

    /// Has the prompt's own tokens scored, with as many of the best ones as `count` says; none for no scores.
    ///
    /// # Errors
    /// Too many are asked for.
    pub fn scored(mut self, count: Option<usize>) -> Result<Answer<'a>> {
        logprobs::check(count)?;
        self.generation.prompt_logprobs = count.map(|_| Vec::new());
        Ok(self)
    }

    /// Notes how likely the next tokens of the prompt are.
    ///
    /// # Errors
    /// A token cannot be decoded.
    pub fn score(&mut self, scores: &[TokenScore]) -> Result<()> {
        let scored = self.generation.prompt_logprobs.get_or_insert_default();
        for score in scores {
            scored.push(PromptLogprob::new(self.tokenizer, score)?);
        }
        Ok(())
    }

    /// Takes a token and returns the text that no later token can change; the token that ends a text shows none, and
    /// behind the end nothing counts.
    ///
    /// # Errors
    /// The token cannot be decoded, or the logits that it was to be chosen from are no numbers.
    pub fn push(&mut self, event: &Event) -> Result<String> {
        if self.ended {
            return Ok(String::new());
        }
        let token = event.token.clone()?;
        let (generation, since) = (&mut self.generation, self.started.elapsed());
        if generation.ids.is_empty() {
            generation.prompt_time = since;
            generation.prefilled_tokens = generation.prompt_tokens - event.cached_tokens;
        }
        generation.generation_time = since - generation.prompt_time;
        generation.ids.push(token);
        if let Some(told) = &event.logprobs {
            generation.logprobs.push(TokenLogprob::new(self.tokenizer, token, told)?);
        }
        generation.finish = event.finish.map_or(Finish::Interrupted, Finish::from);
        self.ended = event.finish.is_some();
        if generation.finish == Finish::Stop && !self.text.include_stop {
            return Ok(String::new());
        }
        if self.whole {
            self.detokenizer.hold(token);
            return Ok(String::new());
        }
        let (piece, stopped) = self.watch(token)?;
        if stopped {
            self.generation.finish = Finish::StopText;
            self.ended = true;
        }
        self.generation.text += &piece;
        Ok(piece)
    }

    /// What a token lets be shown, and whether a stop text came with it.
    fn watch(&mut self, token: u32) -> Result<(String, bool)> {
        if self.text.min_tokens > 0 && self.generation.ids.len() <= self.text.min_tokens {
            return Ok((self.detokenizer.push(token)?, false));
        }
        match self.tokenizer.hidden_name(token).filter(|name| self.detokenizer.hides(token) && self.stops.mention(name))
        {
            None => Ok(self.stops.push(&self.detokenizer.push(token)?)),
            Some(name) => Ok(self.stops.push_hidden(&self.detokenizer.pending()?, &name)),
        }
    }

    /// Whether it ends with the token that came last.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// The generation, and the rest of its text that was held back.
    ///
    /// # Errors
    /// The last tokens cannot be decoded.
    pub fn end(self) -> Result<(Generation, String)> {
        let Answer { detokenizer, mut stops, mut generation, tools, .. } = self;
        let mut rest = String::new();
        if generation.finish != Finish::StopText {
            let (last, stopped) = stops.push(&detokenizer.finish()?);
            rest += &last;
            if stopped {
                generation.finish = Finish::StopText;
            } else {
                rest += &stops.finish();
            }
            generation.text += &rest;
        }
        if let Some((tools, cutting)) = tools {
            let is_cut = match generation.finish {
                Finish::Stop => false,
                Finish::StopText => stops.came().is_none_or(|stop| cutting.iter().any(|cutting| cutting == stop)),
                Finish::Length | Finish::Context | Finish::Interrupted => true,
            };
            generation.calls = Some(tools.tell_apart(&generation.text, generation.reasoning.clone(), is_cut));
        }
        Ok((generation, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown of `ids` until one of `stops` comes, and whether one came.
    fn shown(tokenizer: &Tokenizer, ids: &[u32], stops: &[&str]) -> (String, bool) {
        let stops = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut answer = Answer::new(tokenizer, &[], Shown::Tokens(Vec::new()), stops, None).unwrap();
        let mut text = String::new();
        for id in ids {
            let (piece, stopped) = answer.watch(*id).unwrap();
            text += &piece;
            if stopped {
                return (text, true);
            }
        }
        (text + &answer.end().unwrap().1, false)
    }

    #[test]
    fn a_special_token_ends_the_text_in_front_of_it() {
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/storyteller");
        let tokenizer = Tokenizer::open(model.as_ref()).unwrap();
        let encode = |text: &str| tokenizer.encode(text, false).unwrap();
        let ids = encode("ab<extra_id_1>User\ncd");
        for stop in ["<extra_id_1>", "<extra_id_1>User", "b<extra_id_1>User\nc"] {
            let kept = if stop.starts_with('b') { "a" } else { "ab" };
            assert_eq!(shown(&tokenizer, &ids, &[stop]), (kept.to_owned(), true), "{stop:?}");
        }
        for stop in ["extra_id", "<extra_id_0>", "<extra_id_1>cd", "</s>"] {
            assert_eq!(shown(&tokenizer, &ids, &[stop]), (tokenizer.decode(&ids).unwrap(), false), "{stop:?}");
        }
        // Bytes make a character that is there in front of the stop.
        let bytes: Vec<u32> =
            "\u{1F98A}".bytes().map(|b| tokenizer.token_to_id(&format!("<0x{b:02X}>")).unwrap()).collect();
        let ids = [encode("a"), bytes, encode("<extra_id_1>")].concat();
        assert_eq!(shown(&tokenizer, &ids, &["<extra_id_1>"]), ("a\u{1F98A}".to_owned(), true));
        assert_eq!(shown(&tokenizer, &ids, &["\u{1F98A}<extra_id_1>"]), ("a".to_owned(), true));
    }
}
