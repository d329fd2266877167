//! The engine's thread: commands between two steps, and updates behind each.
use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{CacheUsage, Counters, Engine, Event, Request, SequenceId, Update};
use crate::error::{Error, Result};

/// Where the updates of a request go.
pub struct Sink(Box<dyn FnMut(Update) + Send>);

impl Sink {
    /// Gives them to `take`.
    pub fn new(take: impl FnMut(Update) + Send + 'static) -> Sink {
        Sink(Box::new(take))
    }
}

/// What is done to an engine; its status is written before anybody hears of the result.
type Work = Box<dyn FnOnce(&mut Engine, &Board) + Send>;

/// What clients ask for.
pub enum Command {
    /// A request, by a number that its client knows.
    Submit { number: u64, request: Box<Request>, sink: Sink },
    /// That number's request is of no more use.
    Cancel(u64, Option<usize>),
    /// Work on the engine, as soon as nothing runs. Requests that come later wait for it.
    Call(Work),
    /// Nothing more.
    Shutdown,
}

/// How an engine is, behind its last step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineStatus {
    /// What it has done so far.
    pub counters: Counters,
    /// Where the pages of the cache are.
    pub cache: CacheUsage,
    /// Plans on the device.
    pub plans: usize,
    /// Sequences that run.
    pub running: usize,
    /// Sequences that wait.
    pub waiting: usize,
    /// Why it has stopped, if a step failed.
    pub failure: Option<Error>,
}

/// The status, as it is seen from all threads.
#[derive(Clone, Default)]
pub struct Board(Arc<Mutex<EngineStatus>>);

impl Board {
    /// The status.
    pub fn read(&self) -> EngineStatus {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, EngineStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows how the engine is now.
    pub fn write(&self, engine: &Engine) {
        let (running, waiting) = engine.queue();
        let (counters, cache, plans) = (engine.counters(), engine.cache_usage(), engine.kept_plans());
        *self.lock() = EngineStatus { counters, cache, plans, running, waiting, failure: None };
    }
}

/// A request that waits or runs.
struct Open {
    number: u64,
    sink: Sink,
    /// Tokens of the prompt that the client knows to be computed; none once there is a token.
    prompt: Option<u64>,
}

/// The thread: runs until it is shut down, nobody can ask for anything more, or a step fails.
pub fn run(engine: Engine, commands: &Receiver<Command>, board: Board) {
    board.write(&engine);
    let mut runner = Runner {
        engine,
        board,
        open: HashMap::new(),
        sequences: HashMap::new(),
        work: VecDeque::new(),
        held: Vec::new(),
    };
    while runner.obey(commands) {
        if let Err(error) = runner.step() {
            return runner.fail(&error);
        }
    }
}

struct Runner {
    engine: Engine,
    board: Board,
    open: HashMap<SequenceId, Open>,
    sequences: HashMap<u64, SequenceId>,
    /// Work that waits until nothing runs, and requests that wait for it.
    work: VecDeque<Work>,
    held: Vec<(u64, Box<Request>, Sink)>,
}

impl Runner {
    /// Does what was asked for, and waits for something to do where nothing runs. False where the thread is to end.
    fn obey(&mut self, commands: &Receiver<Command>) -> bool {
        loop {
            self.work_where_idle();
            let command = if self.engine.is_idle() {
                commands.recv().map_err(|_| TryRecvError::Disconnected)
            } else {
                commands.try_recv()
            };
            match command {
                Ok(Command::Submit { number, request, sink }) if self.work.is_empty() => {
                    self.submit(number, request, sink)
                }
                Ok(Command::Submit { number, request, sink }) => self.held.push((number, request, sink)),
                Ok(Command::Cancel(number, tokens)) => self.cancel(number, tokens),
                Ok(Command::Call(work)) => self.work.push_back(work),
                Err(TryRecvError::Empty) => return true,
                Ok(Command::Shutdown) | Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn work_where_idle(&mut self) {
        while self.engine.is_idle()
            && let Some(work) = self.work.pop_front()
        {
            work(&mut self.engine, &self.board);
            self.board.write(&self.engine);
            if self.work.is_empty() {
                let held = std::mem::take(&mut self.held);
                held.into_iter().for_each(|(number, request, sink)| self.submit(number, request, sink));
            }
        }
    }

    fn submit(&mut self, number: u64, request: Box<Request>, mut sink: Sink) {
        match self.engine.submit(*request) {
            Ok(id) => {
                self.open.insert(id, Open { number, sink, prompt: Some(0) });
                self.sequences.insert(number, id);
            }
            Err(error) => (sink.0)(Update::Token(refused(SequenceId(u64::MAX), error))),
        }
    }

    /// Ends a request, behind so many tokens of its answer.
    fn cancel(&mut self, number: u64, tokens: Option<usize>) {
        self.held.retain(|(held, ..)| *held != number);
        if let Some(id) = self.sequences.remove(&number) {
            self.engine.end_behind(id, tokens.unwrap_or(usize::MAX));
            self.open.remove(&id);
            self.board.write(&self.engine);
        }
    }

    fn step(&mut self) -> Result<()> {
        let events = self.engine.step()?;
        self.board.write(&self.engine);
        self.tell_progress();
        for (id, scores) in self.engine.take_scores() {
            self.open.entry(id).and_modify(|open| (open.sink.0)(Update::Scores(scores)));
        }
        for event in events {
            let id = event.sequence;
            let Some(open) = self.open.get_mut(&id) else { continue };
            open.prompt = None;
            let update = Update::Token(event);
            let last = update.is_last();
            (open.sink.0)(update);
            if last && let Some(open) = self.open.remove(&id) {
                self.sequences.remove(&open.number);
            }
        }
        Ok(())
    }

    fn tell_progress(&mut self) {
        for (id, open) in &mut self.open {
            let Some(known) = &mut open.prompt else { continue };
            let computed = self.engine.prompt_progress(*id).unwrap_or(*known);
            if computed > *known {
                *known = computed;
                (open.sink.0)(Update::Prompt(computed as usize));
            }
        }
    }

    /// Tells everybody why nothing more comes.
    fn fail(self, error: &Error) {
        // Known before anybody hears of it.
        self.board.lock().failure = Some(error.clone());
        for (id, mut open) in self.open {
            (open.sink.0)(Update::Token(refused(id, error.clone())));
        }
    }
}

/// The event of a sequence that ends with an error.
fn refused(sequence: SequenceId, error: Error) -> Event {
    Event { sequence, token: Err(error), finish: None, cached_tokens: 0, logprobs: None }
}
