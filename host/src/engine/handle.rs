//! `EngineHandle`: what clients have of an engine that runs on a thread of its own.
//!
//! A handle is cloned and sent to whoever has requests. What becomes of a request comes as updates, in a channel that holds any
//! number of them: a client that is slow holds up no step.
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::runner::{self, Board, Command, EngineStatus, Sink};
use super::{Engine, Request, RequestLimits, Update};
use crate::error::{Category, Error, Result};

/// An engine on its thread, which ends with the last handle and the last stream.
#[derive(Clone)]
pub struct EngineHandle {
    shared: Arc<Shared>,
}

struct Shared {
    commands: Sender<Command>,
    limits: RequestLimits,
    next: AtomicU64,
    board: Board,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl EngineHandle {
    /// Moves an engine to a thread of its own.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn new(engine: Engine) -> Result<EngineHandle> {
        let (commands, received) = mpsc::channel();
        let (limits, board) = (engine.request_limits(), Board::default());
        let shown = board.clone();
        let thread =
            thread::Builder::new().name("engine".to_owned()).spawn(move || runner::run(engine, &received, shown));
        let thread = thread.map_err(|error| {
            Error::new(Category::Device, "The engine cannot start")
                .details(format_args!("a thread was asked for: {error}"))
                .hint("raise the limit on threads (ulimit -u), or end other programs")
        })?;
        let thread = Mutex::new(Some(thread));
        Ok(EngineHandle { shared: Arc::new(Shared { commands, limits, next: AtomicU64::new(0), board, thread }) })
    }

    /// What a request may ask for.
    pub fn limits(&self) -> &RequestLimits {
        &self.shared.limits
    }

    /// Queues a request.
    ///
    /// # Errors
    /// It asks for what [`RequestLimits::check`] refuses, or the engine has failed or was shut down.
    pub fn submit(&self, request: Request) -> Result<UpdateStream> {
        let (sender, updates) = mpsc::channel();
        let ticket = self.submit_to(request, move |update| drop(sender.send(update)))?;
        Ok(UpdateStream { ticket, updates })
    }

    /// As [`EngineHandle::submit`]; `sink` takes the updates, on the engine's thread. It must not wait for anything.
    ///
    /// # Errors
    /// As [`EngineHandle::submit`].
    pub fn submit_to(&self, request: Request, sink: impl FnMut(Update) + Send + 'static) -> Result<RequestTicket> {
        self.shared.limits.check(&request)?;
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        self.send(Command::Submit { number, request: Box::new(request), sink: Sink::new(sink) })?;
        Ok(RequestTicket { number, handle: self.clone() })
    }

    /// How the engine is.
    pub fn status(&self) -> EngineStatus {
        self.shared.board.read()
    }

    /// What `work` makes of the engine, as soon as nothing runs; requests that are queued later wait for it.
    ///
    /// # Errors
    /// The engine has failed or was shut down.
    pub fn call<T: Send + 'static>(&self, work: impl FnOnce(&mut Engine) -> T + Send + 'static) -> Result<T> {
        let (sender, result) = mpsc::channel();
        self.send(Command::Call(Box::new(move |engine, board| {
            let value = work(engine);
            board.write(engine);
            drop(sender.send(value));
        })))?;
        result.recv().map_err(|_| self.stopped())
    }

    /// As [`Engine::logits_in_pieces`], as soon as nothing runs; `take` gets the rows on this thread.
    ///
    /// # Errors
    /// As [`Engine::logits_in_pieces`], and when the engine has failed or was shut down.
    pub fn logits_in_pieces(
        &self,
        prompt: &[u32],
        last: usize,
        take: &mut dyn FnMut(&[f32]) -> ControlFlow<()>,
    ) -> Result<()> {
        // The next piece is computed while one is taken.
        let (sender, pieces) = mpsc::sync_channel::<Vec<f32>>(1);
        let (ended, outcome) = mpsc::channel();
        let prompt = prompt.to_vec();
        self.send(Command::Call(Box::new(move |engine, board| {
            let outcome = engine.logits_in_pieces(&prompt, last, &mut |rows| match sender.send(rows.to_vec()) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            });
            drop(sender);
            board.write(engine);
            drop(ended.send(outcome));
        })))?;
        while let Ok(piece) = pieces.recv()
            && take(&piece).is_continue()
        {}
        drop(pieces);
        outcome.recv().unwrap_or_else(|_| Err(self.stopped()))
    }

    /// Logits of the last `last` rows of `prompt`, `[last, vocab]`, as soon as nothing runs.
    ///
    /// # Errors
    /// As [`EngineHandle::logits_in_pieces`].
    pub fn logits(&self, prompt: &[u32], last: usize) -> Result<Vec<f32>> {
        let prompt = prompt.to_vec();
        self.call(move |engine| engine.logits(&prompt, last))?
    }

    /// Ends what runs and waits, without a further update, and then the thread.
    pub fn shutdown(&self) {
        self.shared.shutdown();
    }

    fn send(&self, command: Command) -> Result<()> {
        if let Some(error) = self.status().failure {
            return Err(error);
        }
        self.shared.commands.send(command).map_err(|_| self.stopped())
    }

    /// Why nothing comes any more.
    fn stopped(&self) -> Error {
        self.status().failure.unwrap_or_else(|| {
            Error::new(Category::Device, "The engine has stopped")
                .details("it was shut down, or its thread ended")
                .hint("load the model again")
        })
    }
}

impl Shared {
    fn shutdown(&self) {
        let _ = self.commands.send(Command::Shutdown);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A sink may hold the last handle: then this is the engine's thread.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            let _ = thread.join();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// A request that was queued. It is cancelled when this is dropped.
pub struct RequestTicket {
    number: u64,
    handle: EngineHandle,
}

impl RequestTicket {
    /// Ends the request, wherever it is; at most the updates of the step that runs still come.
    pub fn cancel(&self) {
        let _ = self.handle.send(Command::Cancel(self.number, None));
    }

    /// As [`RequestTicket::cancel`], where the answer has ended with its `tokens`-th token: what was computed behind it is not kept.
    pub fn end_behind(&self, tokens: usize) {
        let _ = self.handle.send(Command::Cancel(self.number, Some(tokens)));
    }
}

impl Drop for RequestTicket {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// The updates of a request, in their order. It is cancelled when this is dropped.
pub struct UpdateStream {
    ticket: RequestTicket,
    updates: Receiver<Update>,
}

impl UpdateStream {
    /// The next update, which may take as long as it takes.
    ///
    /// # Errors
    /// The engine was shut down, or the request has ended or was cancelled.
    pub fn next(&self) -> Result<Update> {
        self.updates.recv().map_err(|_| self.ticket.handle.stopped())
    }

    /// The next update; none where it does not come within `time`.
    ///
    /// # Errors
    /// As [`UpdateStream::next`].
    pub fn next_within(&self, time: Duration) -> Result<Option<Update>> {
        match self.updates.recv_timeout(time) {
            Ok(update) => Ok(Some(update)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(self.ticket.handle.stopped()),
        }
    }

    /// Ends the request, wherever it is; at most the updates of the step that runs still come.
    pub fn cancel(&self) {
        self.ticket.cancel();
    }

    /// As [`RequestTicket::end_behind`].
    pub fn end_behind(&self, tokens: usize) {
        self.ticket.end_behind(tokens);
    }
}
