//! `Job`: a request whose prompts are ids: all its generations, whole or as a stream.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use axum::Json;
use axum::response::{IntoResponse, Response};
use futures_util::future::{join_all, try_join_all};
use serde_json::{Value, json};

use super::access::Caller;
use super::admission::Entry;
use super::app::App;
use super::ask::Ask;
use super::choice::{Choice, Piece};
use super::failure::Refusal;
use super::form::{Form, Usage};
use super::outlet::{self, Gone, Outlet};
use super::phase::UnderWay;
use crate::openai::logprobs;
use crate::session::{GenerateOptions, Generation, PromptLogprob, Session};

/// A prompt of a request.
pub struct Asked {
    pub ids: Vec<u32>,
    /// What stands in front of each answer.
    pub echo: Option<String>,
    /// None where nothing is to be generated.
    pub options: Option<GenerateOptions>,
    /// How many of the best tokens come beside the prompt's own.
    pub score: Option<usize>,
}

/// A request.
pub struct Job {
    pub app: Arc<App>,
    pub session: Arc<Session>,
    pub under_way: Option<UnderWay>,
    pub caller: Caller,
    pub entry: Option<Entry>,
    pub started: Instant,
    pub form: Form,
    pub ask: Ask,
    pub prompts: Vec<Asked>,
    /// Generated tokens so far.
    pub generated: AtomicUsize,
}

/// A prompt's own log-probabilities.
pub type Scored = Option<Vec<PromptLogprob>>;

impl Job {
    /// The answer; the log tells of its end, however that comes.
    ///
    /// # Errors
    /// What the engine refuses, or a failure, before the first byte of the answer.
    pub async fn answer(self) -> Result<Response, Refusal> {
        self.prompts.iter().for_each(|prompt| self.app.metrics.prompt(prompt.ids.len()));
        let scored = self.score().await?;
        if !self.ask.stream {
            return self.whole(&scored).await.map(|body| Json(body).into_response());
        }
        Ok(outlet::response(|outlet| async move {
            // Where nobody reads any more there is nobody to tell.
            let _ = self.stream(&outlet, &scored).await;
        }))
    }

    /// How likely the prompts' own tokens are, where that is asked for.
    async fn score(&self) -> Result<Vec<Scored>, Refusal> {
        let mut all = Vec::new();
        for prompt in &self.prompts {
            let Some(count) = prompt.score else {
                all.push(None);
                continue;
            };
            let _alone = self.app.scoring.lock().await;
            let (session, ids) = (self.session.clone(), prompt.ids.clone());
            let scored =
                tokio::task::spawn_blocking(move || session.score_prompt(&ids, count, &AtomicBool::new(false)));
            all.push(Some(scored.await.map_err(|_| Refusal::failed(None))??));
        }
        Ok(all)
    }

    /// The prompt and the number of each choice, in the order of their indices.
    fn choices(&self) -> impl Iterator<Item = (usize, usize)> {
        let n = self.ask.n;
        (0..self.prompts.len() * n).map(move |index| (index, index / n))
    }

    /// Generates one choice; none where nothing is to be generated.
    async fn generate(
        &self,
        index: usize,
        prompt: usize,
        mut show: impl FnMut(Piece) -> bool,
    ) -> Result<Option<Generation>, Refusal> {
        let asked = &self.prompts[prompt];
        let Some(mut options) = asked.options.clone() else { return Ok(None) };
        options.sampling.stream = (index % self.ask.n) as u32;
        // What is quick tells what was asked before: by default only a key's own requests.
        options.cache_salt = if self.app.options.share_cache { 0 } else { self.caller.key as u64 };
        let Some(entry) = &self.entry else { return Ok(None) };
        let (app, session, caller) = (&self.app, &self.session, &self.caller);
        let choice = Choice { app, session, caller, entry, started: self.started };
        let counted = |piece: Piece| {
            self.generated.fetch_add(piece.ids.len(), Ordering::Relaxed);
            show(piece)
        };
        choice.run(asked.ids.clone(), &options, counted).await.map(Some)
    }

    async fn whole(&self, scored: &[Scored]) -> Result<Value, Refusal> {
        let all = self.choices().map(|(index, prompt)| self.generate(index, prompt, |_| true));
        let generations = try_join_all(all).await?;
        let mut usage = Usage::default();
        self.prompts.iter().for_each(|prompt| usage.prompt += prompt.ids.len());
        let mut choices = Vec::new();
        for ((index, prompt), generation) in self.choices().zip(&generations) {
            usage.add(generation.as_ref());
            let (asked, scored) = (&self.prompts[prompt], scored[prompt].as_deref());
            let mut choice = self.form.choice(index, asked, scored, generation.as_ref(), self.session.tokenizer())?;
            if self.ask.return_token_ids {
                choice["token_ids"] = json!(generation.as_ref().map(|generation| &generation.ids));
                choice["prompt_token_ids"] = json!(asked.ids);
            }
            choices.push(choice);
        }
        let mut body = self.form.frame(&self.app, &self.caller, false);
        body["choices"] = choices.into();
        body["usage"] = usage.object();
        if self.form == Form::Chat {
            body["prompt_logprobs"] = scored[0].as_deref().map_or(Value::Null, logprobs::of_prompt);
            body["prompt_token_ids"] = if self.ask.return_token_ids { json!(self.prompts[0].ids) } else { Value::Null };
        }
        Ok(body)
    }

    async fn stream(mut self, outlet: &Outlet, scored: &[Scored]) -> Result<(), Gone> {
        let all = self.choices().map(|(index, prompt)| self.stream_choice(outlet, index, prompt, scored));
        let mut usage = Usage::default();
        self.prompts.iter().for_each(|prompt| usage.prompt += prompt.ids.len());
        for ended in join_all(all).await {
            match ended? {
                Ok(generation) => usage.add(generation.as_ref()),
                Err(refusal) => outlet.send(&refusal.object())?,
            }
        }
        if self.ask.include_usage {
            let mut frame = self.form.frame(&self.app, &self.caller, true);
            frame["choices"] = json!([]);
            frame["usage"] = usage.object();
            outlet.send(&frame)?;
        }
        // The request is over before its reader knows.
        drop((self.under_way.take(), self.entry.take()));
        outlet.done()
    }

    /// Sends what becomes of one choice; the inner error is the choice's own, and ends it.
    async fn stream_choice(
        &self,
        outlet: &Outlet,
        index: usize,
        prompt: usize,
        scored: &[Scored],
    ) -> Result<Result<Option<Generation>, Refusal>, Gone> {
        let asked = &self.prompts[prompt];
        let tokenizer = self.session.tokenizer();
        let mut chunks = match self.form.chunks(index, asked, scored[prompt].as_deref(), &self.session) {
            Ok(chunks) => chunks,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let send = |choice: Value| {
            let mut frame = self.form.frame(&self.app, &self.caller, true);
            frame["choices"] = json!([choice]);
            if self.ask.include_usage {
                frame["usage"] = Value::Null;
            }
            outlet.send(&frame)
        };
        match chunks.begin(tokenizer) {
            Ok(begin) => begin.into_iter().try_for_each(send)?,
            Err(refusal) => return Ok(Err(refusal)),
        }
        let with_ids = self.ask.return_token_ids;
        let generated = self.generate(index, prompt, |piece| match chunks.piece(&piece, with_ids) {
            Some(choice) => send(choice).is_ok(),
            None => true,
        });
        let generation = match generated.await {
            Ok(generation) => generation,
            Err(refusal) => return Ok(Err(refusal)),
        };
        send(chunks.end(generation.as_ref()))?;
        Ok(Ok(generation))
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let prompt: usize = self.prompts.iter().map(|prompt| prompt.ids.len()).sum();
        let generated = self.generated.load(Ordering::Relaxed);
        let milliseconds = self.started.elapsed().as_millis();
        let (request, key) = (&self.caller.request, self.caller.key);
        tracing::info!(request, key, prompt, generated, milliseconds, "generation");
    }
}
