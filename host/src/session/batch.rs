//! Many prompts at once: as many as the engine takes run together, results come in the order of the requests.
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Model;
use super::generate::{Finish, Generation, Session, encode};
use crate::engine::{Event, Request, SequenceId};
use crate::error::{Error, Result};
use crate::sample::Sampling;
use crate::text::{Detokenizer, Tokenizer};

/// Results that wait for an earlier one, per sequence that can run, before no further prompt is begun.
const WAITING_RESULTS: usize = 64;

/// One prompt of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchRequest {
    /// Its text.
    pub prompt: String,
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// How each token is chosen.
    pub sampling: Sampling,
}

impl Session {
    /// Continues all of `requests`, which are asked for as sequences end, and gives `on_result` one result for each, in
    /// their order. A request that is an error, or that the engine refuses, is its own result. Once `interrupt` is set,
    /// what runs ends as it is and no further request is asked for.
    ///
    /// # Errors
    /// The device failed, or `on_result` did.
    pub fn generate_batch<E: From<Error>>(
        &mut self,
        requests: impl IntoIterator<Item = Result<BatchRequest>>,
        interrupt: &AtomicBool,
        mut on_result: impl FnMut(Result<Generation>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let (model, tokenizer) = self.parts();
        let mut requests = requests.into_iter().enumerate().fuse();
        let mut batch = Batch { tokenizer, running: HashMap::new(), done: BTreeMap::new(), next: 0 };
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
    tokenizer: &'a Tokenizer,
    running: HashMap<SequenceId, Running<'a>>,
    done: BTreeMap<usize, Result<Generation>>,
    /// The first result that was not handed out.
    next: usize,
}

impl Batch<'_> {
    fn begin(&mut self, model: &mut Model, index: usize, request: Result<BatchRequest>) {
        let submitted = request.and_then(|BatchRequest { prompt, max_tokens, sampling }| {
            let prompt = encode(self.tokenizer, &prompt, true)?;
            model.engine.check(&prompt)?;
            let running = Running::new(self.tokenizer, index, &prompt)?;
            let request = Request { prompt, max_tokens, eos: model.spec.eos.clone(), sampling };
            Ok((model.engine.submit(request)?, running))
        });
        match submitted {
            Ok((id, running)) => drop(self.running.insert(id, running)),
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
            let Some(running) = self.running.get_mut(&event.sequence) else { continue };
            let pushed = running.push(&event);
            if event.finish.is_some() || pushed.is_err() {
                model.engine.cancel(event.sequence);
                let running = self.running.remove(&event.sequence).expect("it has just been there");
                self.done.insert(running.index, pushed.and_then(|()| running.end()));
            }
        }
        Ok(())
    }

    /// Ends all that runs, as it is.
    fn cut(&mut self, model: &mut Model) {
        for (id, running) in self.running.drain() {
            model.engine.cancel(id);
            self.done.insert(running.index, running.end());
        }
    }
}

/// A request that runs.
struct Running<'a> {
    index: usize,
    detokenizer: Detokenizer<'a>,
    generation: Generation,
    started: Instant,
}

impl<'a> Running<'a> {
    fn new(tokenizer: &'a Tokenizer, index: usize, prompt: &[u32]) -> Result<Running<'a>> {
        let generation = Generation {
            text: String::new(),
            prompt_tokens: prompt.len(),
            prefilled_tokens: prompt.len(),
            ids: Vec::new(),
            finish: Finish::Interrupted,
            prompt_time: Duration::ZERO,
            generation_time: Duration::ZERO,
        };
        let detokenizer = Detokenizer::new(tokenizer, prompt)?;
        Ok(Running { index, detokenizer, generation, started: Instant::now() })
    }

    fn push(&mut self, event: &Event) -> Result<()> {
        let (generation, since) = (&mut self.generation, self.started.elapsed());
        if generation.ids.is_empty() {
            generation.prompt_time = since;
        }
        generation.generation_time = since - generation.prompt_time;
        generation.ids.push(event.token);
        generation.finish = event.finish.map_or(Finish::Interrupted, Finish::from);
        if generation.finish != Finish::Stop {
            generation.text += &self.detokenizer.push(event.token)?;
        }
        Ok(())
    }

    fn end(mut self) -> Result<Generation> {
        self.generation.text += &self.detokenizer.finish()?;
        Ok(self.generation)
    }
}
