//! Many prompts at once: as many as the engine takes run together, results come in the order of the requests.
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use rayon::prelude::*;

use super::Model;
use super::answer::Answer;
use super::generate::Session;
use super::generation::Generation;
use super::prompt::{Prompt, Texts};
use crate::engine::{Request, RequestTicket, Update};
use crate::error::{Error, Result};
use crate::sample::Sampling;
use crate::text::GrammarSource;

/// Results that wait for an earlier one, per sequence that can run, before no further prompt is begun.
const WAITING_RESULTS: usize = 64;

/// Fewest texts that several threads share: to wake them takes as long as a few texts.
const SHARED_TEXTS: usize = 8;

/// How soon an arrival or an interruption is seen while no token comes.
const ARRIVAL: Duration = Duration::from_millis(10);

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
    /// The same for the tokens of the prompt, of which nothing that is cached is used then; none for no such numbers.
    pub prompt_logprobs: Option<usize>,
    /// Most tokens of the reasoning; it is ended there. None for as many as the model likes.
    pub thinking_budget: Option<usize>,
    /// What the answer must be, behind its reasoning; none for what the model likes.
    pub grammar: Option<GrammarSource>,
}

/// What a source of requests has at the moment.
pub enum Arrival {
    /// The next request, or why it is none.
    Request(Box<Result<BatchRequest>>),
    /// None yet.
    Later,
    /// None any more.
    End,
}

impl Session {
    /// Continues all of `requests`, which are asked for as sequences end, and gives `on_result` one result for each, in
    /// their order. Requests that begin alike share what is computed of that. A request that is an
    /// error, or that the engine refuses, is its own result. Once `interrupt` is set, what runs ends as it is and no
    /// further request is asked for.
    ///
    /// # Errors
    /// The device failed, or `on_result` did.
    pub fn generate_batch<E: From<Error>>(
        &mut self,
        requests: impl IntoIterator<Item = Result<BatchRequest>>,
        interrupt: &AtomicBool,
        on_result: impl FnMut(Result<Generation>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let mut requests = requests.into_iter().fuse();
        let source = |_| requests.next().map_or(Arrival::End, |request| Arrival::Request(Box::new(request)));
        self.generate_arriving(source, interrupt, on_result)
    }

    /// As [`Session::generate_batch`], from a source that may have its requests later. It is asked with `true` where
    /// nothing runs: it may then wait a moment, and not so long that a set `interrupt` would go unseen.
    ///
    /// # Errors
    /// As [`Session::generate_batch`].
    pub fn generate_arriving<E: From<Error>>(
        &mut self,
        mut source: impl FnMut(bool) -> Arrival,
        interrupt: &AtomicBool,
        mut on_result: impl FnMut(Result<Generation>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let (model, texts) = self.parts();
        let mut batch = Batch::new(texts);
        // Those that wait behind the running ones begin without a step between.
        let most = 2 * model.engine.limits().sequences;
        let mut ended = false;
        loop {
            let interrupted = interrupt.load(Ordering::Relaxed);
            ended |= interrupted;
            if !ended && batch.done.len() < WAITING_RESULTS * most {
                let room = most.saturating_sub(batch.running.len());
                let requests;
                (requests, ended) = arrived(&mut source, room, batch.running.is_empty());
                batch.begin(model, requests);
            }
            batch.hand_out(&mut on_result)?;
            match batch.running.is_empty() {
                true if ended => return Ok(()),
                true => {}
                false if interrupted => batch.cut(),
                false => batch.take_updates(model)?,
            }
        }
    }
}

/// At most `room` requests that are there, and whether no more will come. For the first it may wait.
fn arrived(source: &mut impl FnMut(bool) -> Arrival, room: usize, wait: bool) -> (Vec<Result<BatchRequest>>, bool) {
    let mut requests = Vec::new();
    while requests.len() < room {
        match source(wait && requests.is_empty()) {
            Arrival::Request(request) => requests.push(*request),
            Arrival::Later => break,
            Arrival::End => return (requests, true),
        }
    }
    (requests, false)
}

/// What runs, and what is done and waits for an earlier one.
struct Batch<'a> {
    texts: &'a Texts,
    /// How many requests there were.
    begun: usize,
    /// By index of the request: what it has become so far.
    running: HashMap<usize, (RequestTicket, Answer<'a>)>,
    /// What becomes of them, and where the engine puts that.
    updates: Receiver<(usize, Update)>,
    sender: Sender<(usize, Update)>,
    done: BTreeMap<usize, Result<Generation>>,
    /// The first result that was not handed out.
    next: usize,
}

impl<'a> Batch<'a> {
    fn new(texts: &'a Texts) -> Batch<'a> {
        let (running, done) = (HashMap::new(), BTreeMap::new());
        let (sender, updates) = mpsc::channel();
        Batch { texts, begun: 0, running, updates, sender, done, next: 0 }
    }

    fn begin(&mut self, model: &Model, requests: Vec<Result<BatchRequest>>) {
        let (texts, eos) = (self.texts, model.spec.eos.clone());
        for encoded in each(requests, |request| request.and_then(|request| encode(texts, request, &eos))) {
            let index = self.begun;
            self.begun += 1;
            self.start(model, index, encoded);
        }
    }

    fn start(&mut self, model: &Model, index: usize, encoded: Result<Encoded<'a>>) {
        match encoded.and_then(|encoded| Ok((self.submit(model, index, encoded.request)?, encoded.answer))) {
            Ok(running) => drop(self.running.insert(index, running)),
            Err(error) => drop(self.done.insert(index, Err(error))),
        }
    }

    fn submit(&self, model: &Model, index: usize, request: Request) -> Result<RequestTicket> {
        let sender = self.sender.clone();
        model.engine.submit_to(request, move |update| drop(sender.send((index, update))))
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

    /// Takes what has become of the requests, as soon as there is something.
    fn take_updates(&mut self, model: &Model) -> Result<()> {
        let mut ended = Vec::new();
        let first = self.updates.recv_timeout(ARRIVAL).ok();
        for (index, update) in first.into_iter().chain(self.updates.try_iter()) {
            let Some((_, answer)) = self.running.get_mut(&index) else { continue };
            let pushed = match update {
                Update::Prompt(_) => continue,
                Update::Scores(scores) => answer.score(&scores),
                Update::Token(event) => answer.push(&event).map(drop),
            };
            if answer.ended() || pushed.is_err() {
                let (ticket, answer) = self.running.remove(&index).expect("it has just been there");
                ticket.end_behind(answer.generation().ids.len());
                ended.push((index, pushed.map(|()| answer)));
            }
        }
        self.done.extend(each(ended, |(index, answer)| (index, answer.and_then(|answer| Ok(answer.end()?.0)))));
        model.engine.status().failure.map_or(Ok(()), Err)
    }

    /// Ends all that runs, as it is.
    fn cut(&mut self) {
        let cut =
            self.running.drain().map(|(index, (_, answer))| (index, answer.end().map(|(generation, _)| generation)));
        self.done.extend(cut);
    }
}

/// What the engine is asked for, and what becomes of its tokens.
struct Encoded<'a> {
    request: Request,
    answer: Answer<'a>,
}

fn encode<'a>(texts: &'a Texts, request: BatchRequest, eos: &[u32]) -> Result<Encoded<'a>> {
    let BatchRequest { prompt, max_tokens, sampling, stop, logprobs, prompt_logprobs, thinking_budget, grammar } =
        request;
    let prompt = texts.without_thinking(texts.encode(&prompt)?, thinking_budget)?;
    let thinking = texts.thinking(&prompt, thinking_budget, grammar.is_some(), texts.tags())?;
    let answer = texts.answer(&prompt, &stop, logprobs)?.scored(prompt_logprobs)?.whole();
    let constraint = grammar.map(|source| texts.constraint(&source, eos)).transpose()?;
    let eos = eos.to_vec();
    let request = Request {
        prompt,
        max_tokens,
        eos,
        sampling,
        logprobs,
        prompt_logprobs,
        thinking,
        constraint,
        ..Request::default()
    };
    Ok(Encoded { request, answer })
}

/// `work` on each of `texts`, in their order; of many, on several threads.
fn each<T: Send, R: Send>(texts: Vec<T>, work: impl Fn(T) -> R + Send + Sync) -> Vec<R> {
    if texts.len() < SHARED_TEXTS {
        texts.into_iter().map(work).collect()
    } else {
        texts.into_par_iter().map(work).collect()
    }
}
