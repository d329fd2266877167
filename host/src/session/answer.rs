//! `Answer`: the tokens of one sequence as they come, its text up to a stop text, and the times.
use std::time::{Duration, Instant};

use super::generate::{Finish, Generation};
use super::logprobs::{self, TokenLogprob};
use super::stop::StopTexts;
use crate::engine::Event;
use crate::error::Result;
use crate::text::{Detokenizer, Tokenizer};

/// A generation that runs.
pub(super) struct Answer<'a> {
    tokenizer: &'a Tokenizer,
    detokenizer: Detokenizer<'a>,
    stops: StopTexts,
    generation: Generation,
    logprobs: Option<usize>,
    started: Instant,
    ended: bool,
    /// Whether nobody reads the text before its end.
    whole: bool,
}

impl<'a> Answer<'a> {
    /// What follows `prompt`, until one of `stops` comes; `logprobs` as in [`super::GenerateOptions`].
    ///
    /// # Errors
    /// A stop text is empty, too many log-probabilities are asked for, or the prompt cannot be decoded.
    pub fn new(
        tokenizer: &'a Tokenizer,
        prompt: &[u32],
        stops: Vec<String>,
        logprobs: Option<usize>,
    ) -> Result<Answer<'a>> {
        logprobs::check(logprobs)?;
        let generation = Generation {
            text: String::new(),
            prompt_tokens: prompt.len(),
            prefilled_tokens: prompt.len(),
            ids: Vec::new(),
            logprobs: Vec::new(),
            finish: Finish::Interrupted,
            prompt_time: Duration::ZERO,
            generation_time: Duration::ZERO,
        };
        let (stops, detokenizer) = (StopTexts::new(stops)?, Detokenizer::new(tokenizer, prompt)?);
        Ok(Answer {
            tokenizer,
            detokenizer,
            stops,
            generation,
            logprobs,
            started: Instant::now(),
            ended: false,
            whole: false,
        })
    }

    /// Gives all text at the end, and none before: unless a stop text is watched for, it is decoded once.
    pub fn whole(self) -> Answer<'a> {
        Answer { whole: self.stops.is_empty(), ..self }
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
            generation.prefilled_tokens = generation.prompt_tokens - event.reused;
        }
        generation.generation_time = since - generation.prompt_time;
        generation.ids.push(token);
        if let Some((logits, count)) = event.logits.as_ref().zip(self.logprobs) {
            generation.logprobs.push(TokenLogprob::new(self.tokenizer, logits, token, count)?);
        }
        generation.finish = event.finish.map_or(Finish::Interrupted, Finish::from);
        self.ended = event.finish.is_some();
        if generation.finish == Finish::Stop {
            return Ok(String::new());
        }
        if self.whole {
            self.detokenizer.hold(token);
            return Ok(String::new());
        }
        let (piece, stopped) = self.stops.push(&self.detokenizer.push(token)?);
        if stopped {
            generation.finish = Finish::StopText;
            self.ended = true;
        }
        generation.text += &piece;
        Ok(piece)
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
        let Answer { detokenizer, mut stops, mut generation, .. } = self;
        if generation.finish == Finish::StopText {
            return Ok((generation, String::new()));
        }
        let (mut rest, stopped) = stops.push(&detokenizer.finish()?);
        if stopped {
            generation.finish = Finish::StopText;
        } else {
            rest += &stops.finish();
        }
        generation.text += &rest;
        Ok((generation, rest))
    }
}
