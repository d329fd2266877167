//! Many prompts at once: as many as the engine takes run together, results come in the order of the requests.
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};

use super::Model;
use super::answer::Answer;
use super::generate::{Generation, Session};
use super::prompt::{Prompt, Texts};
use crate::engine::{Request, SequenceId};
use crate::error::{Error, Result};
use crate::sample::Sampling;

/// Results that wait for an earlier one, per sequence that can run, before no further prompt is begun.
const WAITING_RESULTS: usize = 64;

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
            while !interrupted && batch.running.len() < most && batch.done.len() < WAITING_RESULTS * most {
                let Some((index, request)) = requests.next() else { break };
                batch.begin(model, index, request);
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
    /// The request that was begun last, and its ids.
    last: Option<(SequenceId, Prompt, Vec<u32>)>,
}

impl Batch<'_> {
    fn begin(&mut self, model: &mut Model, index: usize, request: Result<BatchRequest>) {
        let submitted = request.and_then(|BatchRequest { prompt, max_tokens, sampling, stop, logprobs }| {
            let before = self.last.take().filter(|(_, before, _)| *before == prompt);
            let (earlier, ids) = match before {
                Some((earlier, _, ids)) => (Some(earlier), ids),
                None => (None, self.texts.encode(&prompt)?),
            };
            model.engine.check(&ids)?;
            let answer = self.texts.answer(&ids, &stop, logprobs)?.whole();
            let (eos, logits) = (model.spec.eos.clone(), logprobs.is_some());
            let request = Request { prompt: ids.clone(), max_tokens, eos, sampling, logits };
            let id = match earlier {
                Some(earlier) => model.engine.submit_fork(request, earlier)?,
                None => model.engine.submit(request)?,
            };
            self.last = Some((id, prompt, ids));
            Ok((id, answer))
        });
        match submitted {
            Ok((id, answer)) => drop(self.running.insert(id, (index, answer))),
            Err(error) => drop(self.done.insert(index, Err(error))),
        }
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
        for event in model.engine.step()? {
            let Some((_, answer)) = self.running.get_mut(&event.sequence) else { continue };
            let pushed = answer.push(&event);
            if answer.ended() || pushed.is_err() {
                model.engine.cancel(event.sequence);
                let (index, answer) = self.running.remove(&event.sequence).expect("it has just been there");
                self.done.insert(index, pushed.and_then(|_| Ok(answer.end()?.0)));
            }
        }
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
