//! Many prompts at once: as many as the engine takes run together, results come in the order of the requests.
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::Model;
use super::answer::Answer;
use super::generate::{Generation, Session};
use super::prompt::{Prompt, Texts};
use crate::engine::{Request, SequenceId};
use crate::error::{Error, Result};
use crate::sample::Sampling;

/// Results that wait for an earlier one, per sequence that can run, before no further prompt is begun.
const WAITING_RESULTS: usize = 64;

/// Fewest texts that several threads share: to wake them takes as long as a few texts.
const SHARED_TEXTS: usize = 8;

/// One prompt of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchRequest {
    /// What is continued.
    pub prompt: Prompt,
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// How each token is chosen.
    pub sampling: Sampling,
    /// Texts that end the generation and are not part of it.
    pub stop: Vec<String>,
    /// How many of the best tokens' log-probabilities come with each token's own; none for no such numbers.
    pub logprobs: Option<usize>,
}

impl Session {
    /// Continues all of `requests`, which are asked for as sequences end, and gives `on_result` one result for each, in
    /// their order. Requests that follow each other with one prompt share what is computed of it. A request that is an
    /// error, or that the engine refuses, is its own result. Once `interrupt` is set, what runs ends as it is and no
    /// further request is asked for.
    ///
    /// # Errors
    /// The device failed, or `on_result` did.
    pub fn generate_batch<E: From<Error>>(
        &mut self,
        requests: impl IntoIterator<Item = Result<BatchRequest>>,
        interrupt: &AtomicBool,
        mut on_result: impl FnMut(Result<Generation>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let (model, texts) = self.parts();
        let mut requests = requests.into_iter().enumerate().fuse();
        let mut batch = Batch { texts, running: HashMap::new(), done: BTreeMap::new(), next: 0, last: None };
        // Those that wait behind the running ones begin without a step between.
        let most = 2 * model.engine.max_sequences();
        loop {
            let interrupted = interrupt.load(Ordering::Relaxed);
            if !interrupted && batch.done.len() < WAITING_RESULTS * most {
                let room = most.saturating_sub(batch.running.len());
                batch.begin(model, requests.by_ref().take(room).collect());
            }
            batch.hand_out(&mut on_result)?;
            if batch.running.is_empty() {
                return Ok(());
            }
            if interrupted {
                batch.cut(model);
            } else {
                batch.step(model)?;
            }
        }
    }
}

/// What runs, and what is done and waits for an earlier one.
struct Batch<'a> {
    texts: &'a Texts,
    /// Index of the request, and what it has become so far.
    running: HashMap<SequenceId, (usize, Answer<'a>)>,
    done: BTreeMap<usize, Result<Generation>>,
    /// The first result that was not handed out.
    next: usize,
    /// The request that was begun last, and its prompt.
    last: Option<(SequenceId, Vec<u32>)>,
}

impl Batch<'_> {
    fn begin(&mut self, model: &mut Model, requests: Vec<(usize, Result<BatchRequest>)>) {
        let (texts, eos) = (self.texts, model.spec.eos.clone());
        for (index, encoded) in each(requests, |(index, request)| (index, request.and_then(|r| encode(texts, r, &eos))))
        {
            match encoded.and_then(|(request, answer)| Ok((self.submit(model, request)?, answer))) {
                Ok((id, answer)) => drop(self.running.insert(id, (index, answer))),
                Err(error) => drop(self.done.insert(index, Err(error))),
            }
        }
    }

    fn submit(&mut self, model: &mut Model, request: Request) -> Result<SequenceId> {
        let prompt = request.prompt.clone();
        let id = model.engine.submit(request)?;
        self.last = Some((id, prompt));
        Ok(id)
    }

    fn hand_out<E>(
        &mut self,
        on_result: &mut impl FnMut(Result<Generation>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        while let Some(result) = self.done.remove(&self.next) {
            self.next += 1;
            on_result(result)?;
        }
        Ok(())
    }

    fn step(&mut self, model: &mut Model) -> Result<()> {
        let mut ended = Vec::new();
        for event in model.engine.step()? {
            let Some((_, answer)) = self.running.get_mut(&event.sequence) else { continue };
            let pushed = answer.push(&event);
            if answer.ended() || pushed.is_err() {
                model.engine.cancel(event.sequence);
                let (index, answer) = self.running.remove(&event.sequence).expect("it has just been there");
                ended.push((index, pushed.map(|_| answer)));
            }
        }
        self.done.extend(each(ended, |(index, answer)| (index, answer.and_then(|answer| Ok(answer.end()?.0)))));
        Ok(())
    }

    /// Ends all that runs, as it is.
    fn cut(&mut self, model: &mut Model) {
        for (id, (index, answer)) in self.running.drain() {
            model.engine.cancel(id);
            self.done.insert(index, answer.end().map(|(generation, _)| generation));
        }
    }
}

/// What the engine is asked for, and what becomes of its tokens.
fn encode<'a>(texts: &'a Texts, request: BatchRequest, eos: &[u32]) -> Result<(Request, Answer<'a>)> {
    let BatchRequest { prompt, max_tokens, sampling, stop, logprobs } = request;
    let prompt = texts.encode(&prompt)?;
    let answer = texts.answer(&prompt, &stop, logprobs)?.whole();
    Ok((Request { prompt, max_tokens, eos: eos.to_vec(), sampling, logits: logprobs.is_some() }, answer))
}

/// `work` on each of `texts`, in their order; of many, on several threads.
fn each<T: Send, R: Send>(texts: Vec<T>, work: impl Fn(T) -> R + Send + Sync) -> Vec<R> {
    if texts.len() < SHARED_TEXTS {
        texts.into_iter().map(work).collect()
    } else {
        texts.into_par_iter().map(work).collect()
    }
}
