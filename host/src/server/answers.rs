//! The sequences of a request: each waits for its turn, runs, and tells what its tokens bring.
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use axum::http::StatusCode;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, Permit as Room};
use tokio::time::{timeout, timeout_at};

use super::admission::{Permit, QueuePlace};
use super::app::App;
use super::caller::Caller;
use super::error::ApiError;
use super::prepare::Asked;
use crate::session::{Finish, Live, LiveRequest, Piece, PromptLogprob, Sampling, Session};

/// Events that wait for a reader in front of what its sequences keep for it.
const WAITING_EVENTS: usize = 256;

/// What has become of an answer; `index` counts the answers of a request.
pub enum AnswerEvent {
    /// A token, and what it lets be shown.
    Piece { index: usize, piece: Piece },
    /// How likely the prompt's tokens are; of the first answer to each prompt.
    Scored { index: usize, scores: Vec<PromptLogprob> },
    /// Its end.
    End { index: usize, end: End },
    /// Why the request has no answer.
    Failed(ApiError),
}

/// How an answer ended.
pub struct End {
    /// Text that was held back.
    pub rest: String,
    pub finish_reason: &'static str,
    /// The stop text or id of the request's own that came.
    pub stop_reason: Value,
    /// Tokens of the prompt that were computed before.
    pub cached: usize,
}

impl End {
    /// Whether something else than the model ended the text: a limit, or a stop of the request's own.
    pub fn is_cut(&self) -> bool {
        self.finish_reason == "length" || !self.stop_reason.is_null()
    }
}

/// What all sequences of a request have in common.
struct Common {
    app: Arc<App>,
    session: &'static Session,
    caller: Caller,
    asked: Arc<Asked>,
    events: mpsc::Sender<AnswerEvent>,
    /// For each prompt that is scored: closed when its scores are on their way. Before that no other answer to it begins.
    scored: Vec<Semaphore>,
}

/// Starts all answers; they end when nobody takes their events any more.
///
/// # Errors
/// The queue is full.
pub fn start(app: &Arc<App>, caller: &Caller, asked: &Arc<Asked>) -> Result<mpsc::Receiver<AnswerEvent>, ApiError> {
    let session = app.session()?;
    let count = asked.prompts.len() * asked.n;
    let places = app.admission()?.enter(caller.key, count).ok_or_else(|| {
        let message = format!("the queue is full: {} answers wait", app.settings.max_queue);
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, message).code("queue_full").retry_after(1)
    })?;
    let (events, receiver) = mpsc::channel(WAITING_EVENTS);
    let (app, caller, asked) = (app.clone(), caller.clone(), asked.clone());
    let scored = asked.prompts.iter().filter(|_| asked.scored.is_some()).map(|_| Semaphore::new(0)).collect();
    let common = Arc::new(Common { app, session, caller, asked, events, scored });
    for (index, place) in places.into_iter().enumerate() {
        tokio::spawn(sequence(common.clone(), index, place));
    }
    Ok(receiver)
}

async fn sequence(common: Arc<Common>, index: usize, place: QueuePlace) {
    let deadline = tokio::time::Instant::from_std(common.caller.arrived + common.app.settings.request_timeout);
    let outcome = tokio::select! {
        () = common.events.closed() => return common.app.metrics.ended("abort", common.caller.arrived),
        outcome = timeout_at(deadline, answer(&common, index, place)) => outcome,
        error = common.app.is_cut() => Ok(Err(error)),
    };
    let error = match outcome {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error,
        Err(_) => {
            ApiError::new(StatusCode::GATEWAY_TIMEOUT, "the request took longer than --request-timeout").code("timeout")
        }
    };
    common.app.metrics.ended("error", common.caller.arrived);
    if let Some(failure) = common.session.status().failure {
        common.app.fail(failure);
    }
    common.caller.log.fail(error.status);
    let _ = common.events.send(AnswerEvent::Failed(error)).await;
}

async fn answer(common: &Common, index: usize, place: QueuePlace) -> Result<(), ApiError> {
    let _permit = begin(common, place).await?;
    let (number, stream) = (index / common.asked.n, (index % common.asked.n) as u32);
    let asked = &common.asked.prompts[number].request;
    if stream == 0 {
        common.app.metrics.prompt_tokens.inc_by(asked.prompt.len() as u64);
        common.caller.log.prompt(asked.prompt.len());
    } else if let Some(scored) = common.scored.get(number) {
        let _ = scored.acquire().await;
    }
    let scored = common.asked.scored.filter(|_| stream == 0);
    let sampling = Sampling { stream, ..asked.sampling.clone() };
    // A prompt that is scored alone is continued by a token that nobody sees.
    let max_tokens = asked.max_tokens.max(1);
    let request = LiveRequest { sampling, max_tokens, prompt_logprobs: scored, ..asked.clone() };
    if asked.max_tokens == 0 {
        if scored.is_some() {
            pieces(common, index, &request, true).await?;
        }
        let end = End { rest: String::new(), finish_reason: "length", stop_reason: Value::Null, cached: 0 };
        common.app.metrics.ended("length", common.caller.arrived);
        return common.send(AnswerEvent::End { index, end }).await;
    }
    let live = pieces(common, index, &request, false).await?;
    let stop_text = live.stopped_by().map(str::to_owned);
    let (generation, rest) = live.end().map_err(|error| ApiError::engine(&error))?;
    let finish_reason = match generation.finish {
        Finish::Stop | Finish::StopText => "stop",
        Finish::Length | Finish::Context | Finish::Interrupted => "length",
    };
    let stop_reason = match generation.finish {
        Finish::StopText => stop_text.filter(|text| request.stop.contains(text)).map_or(Value::Null, Value::from),
        Finish::Stop => {
            generation.ids.last().filter(|id| request.stop_ids.contains(id)).map_or(Value::Null, |id| Value::from(*id))
        }
        _ => Value::Null,
    };
    let cached = generation.prompt_tokens - generation.prefilled_tokens;
    common.app.metrics.ended(finish_reason, common.caller.arrived);
    common.send(AnswerEvent::End { index, end: End { rest, finish_reason, stop_reason, cached } }).await
}

/// Waits for the turn of a sequence.
async fn begin(common: &Common, place: QueuePlace) -> Result<Permit, ApiError> {
    match timeout(common.app.settings.queue_timeout, place.permit()).await {
        Ok(Some(permit)) => Ok(permit),
        _ => {
            let message = "the request waited longer than --queue-timeout for its turn";
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).code("queue_timeout").retry_after(5))
        }
    }
}

/// Runs the sequence to its end; a prompt that is `only_scored` until its scores are there.
async fn pieces<'a>(
    common: &'a Common,
    index: usize,
    request: &LiveRequest,
    only_scored: bool,
) -> Result<Live<'a>, ApiError> {
    let (sender, mut updates) = mpsc::unbounded_channel();
    let sink = move |update| drop(sender.send(update));
    let mut live = common.session.live(request, sink).map_err(|error| ApiError::engine(&error))?;
    let (mut last, mut unscored): (Option<Instant>, _) = (None, request.prompt_logprobs.is_some());
    // What a slow reader has not taken yet; updates with their rows of logits never wait for it.
    let mut kept = VecDeque::new();
    loop {
        if unscored && let Some(scores) = live.scores() {
            unscored = false;
            kept.push_back(AnswerEvent::Scored { index, scores: scores.to_vec() });
        }
        let ended = live.ended() || only_scored && !unscored;
        if ended && kept.is_empty() {
            return Ok(live);
        }
        let update = tokio::select! {
            biased;
            room = common.events.reserve(), if !kept.is_empty() => {
                kept.pop_front().into_iter().zip(room).for_each(|(event, room)| common.hand_on(room, event));
                continue;
            }
            update = updates.recv(), if !ended => update,
        };
        let stopped = || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the engine has stopped");
        let piece = live.push(update.ok_or_else(stopped)?).map_err(|error| ApiError::engine(&error))?;
        let Some(piece) = piece else { continue };
        let now = Instant::now();
        common.app.metrics.token(common.caller.arrived, last.replace(now), now);
        common.caller.log.token();
        let event = AnswerEvent::Piece { index, piece };
        match common.events.try_reserve() {
            Ok(room) if kept.is_empty() => common.hand_on(room, event),
            _ => kept.push_back(event),
        }
    }
}

impl Common {
    /// Hands an event on; other answers to a prompt begin behind its scores.
    fn hand_on(&self, room: Room<'_, AnswerEvent>, event: AnswerEvent) {
        let scored =
            if let AnswerEvent::Scored { index, .. } = event { self.scored.get(index / self.asked.n) } else { None };
        room.send(event);
        scored.inspect(|scored| scored.close());
    }

    /// Hands an event on, as soon as the reader has taken enough of those in front of it.
    async fn send(&self, event: AnswerEvent) -> Result<(), ApiError> {
        self.events.send(event).await.map_err(|_| ApiError::new(StatusCode::BAD_REQUEST, "the client has gone"))
    }
}
