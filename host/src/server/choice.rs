//! One generation among many: its place in the queue, its tokens, its text.
use std::ops::Range;
use std::time::Instant;

use tokio::sync::mpsc::unbounded_channel;

use super::access::Caller;
use super::admission::Entry;
use super::app::App;
use super::failure::Refusal;
use crate::session::{GenerateOptions, Generation, Session, TokenLogprob};

/// What a generation has newly.
pub struct Piece<'a> {
    pub text: &'a str,
    /// The new tokens.
    pub ids: &'a [u32],
    /// One for each of them, where they were asked for.
    pub logprobs: &'a [TokenLogprob],
}

/// A prompt, and what is asked of it.
pub struct Choice<'a> {
    pub app: &'a App,
    pub session: &'a Session,
    pub caller: &'a Caller,
    pub entry: &'a Entry,
    pub started: Instant,
}

impl Choice<'_> {
    /// Generates; `show` takes each piece and says whether somebody still reads.
    ///
    /// # Errors
    /// The time in the queue or of the request is over, or the engine refuses or fails.
    pub async fn run(
        &self,
        prompt: Vec<u32>,
        options: &GenerateOptions,
        show: impl FnMut(Piece) -> bool,
    ) -> Result<Generation, Refusal> {
        let run = self.run_in_turn(prompt, options, show);
        match self.app.options.request_timeout {
            None => run.await,
            Some(time) => match tokio::time::timeout_at((self.started + time).into(), run).await {
                Ok(ended) => ended,
                Err(_) => Err(Refusal::unavailable("the request took longer than --request-timeout")),
            },
        }
    }

    async fn run_in_turn(
        &self,
        prompt: Vec<u32>,
        options: &GenerateOptions,
        mut show: impl FnMut(Piece) -> bool,
    ) -> Result<Generation, Refusal> {
        let turn = self.entry.turn(self.caller.key);
        let _turn = match self.app.options.queue_timeout {
            None => turn.await,
            Some(time) => tokio::time::timeout_at((self.started + time).into(), turn)
                .await
                .map_err(|_| Refusal::unavailable("the request waited longer than --queue-timeout"))?,
        };
        let (sender, mut updates) = unbounded_channel();
        let mut running = self.session.start(prompt, options, move |update| drop(sender.send(update)))?;
        let (mut seen, mut last) = (0, None);
        while !running.ended() {
            let Some(update) = updates.recv().await else { return Err(self.stopped()) };
            let text = running.take(update).inspect_err(|_| self.app.phase.look())?;
            let new: Range<usize> = seen..running.ids().len();
            if new.is_empty() {
                continue;
            }
            self.time(&mut last);
            seen = new.end;
            let logprobs = running.logprobs().get(new.clone()).unwrap_or_default();
            if !show(Piece { text: &text, ids: &running.ids()[new], logprobs }) {
                return Err(Refusal::unavailable("nobody reads the answer"));
            }
        }
        let (generation, rest) = running.end()?;
        if !rest.is_empty() && !show(Piece { text: &rest, ids: &[], logprobs: &[] }) {
            return Err(Refusal::unavailable("nobody reads the answer"));
        }
        self.app.metrics.end(generation.finish, self.started.elapsed());
        Ok(generation)
    }

    /// Notes when a token came.
    fn time(&self, last: &mut Option<Instant>) {
        let now = Instant::now();
        match last.replace(now) {
            None => self.app.metrics.first_token(now - self.started),
            Some(before) => self.app.metrics.next_token(now - before),
        }
    }

    /// Why nothing comes any more.
    fn stopped(&self) -> Refusal {
        self.app.phase.look();
        Refusal::failed(self.session.status().failure.as_ref())
    }
}
