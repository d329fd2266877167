//! The loop: conversations begin when they are due, and what came of their requests is counted as it comes.
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::answer::{Fault, Seen, Streamed};
use super::client::{Client, PromptForm};
use super::figures::Figures;
use super::workload::{Timing, Turn, Workload};

/// Whether all was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All.
    Done,
    /// Ctrl-C came before.
    Interrupted,
}

/// Sends all requests and counts what came; `progress` is shown the count after each.
pub async fn drive(
    client: &Client,
    prompts: PromptForm,
    work: Workload,
    timing: Timing,
    mut progress: impl FnMut(&Figures),
) -> (Figures, Outcome) {
    let (sender, mut seen) = mpsc::unbounded_channel();
    let talk = Talk { client: client.clone(), prompts, work, sender };
    let mut driver = tokio::spawn(begin_all(talk, timing));
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    let mut figures = Figures::default();
    let ended = loop {
        tokio::select! {
            next = seen.recv() => match next {
                Some(seen) => figures.add(&seen),
                None => match (&mut driver).await {
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    _ => break Outcome::Done,
                },
            },
            _ = &mut interrupt => break Outcome::Interrupted,
        }
        progress(&figures);
    };
    // What runs ends with it.
    driver.abort();
    (figures, ended)
}

/// What every conversation needs.
#[derive(Clone)]
struct Talk {
    client: Client,
    prompts: PromptForm,
    work: Workload,
    sender: mpsc::UnboundedSender<Seen>,
}

impl Talk {
    /// Says that no further prompt begins as none before it.
    fn end_of_prompts(&self, sent: usize) {
        let what = format_args!("after {sent} conversations; choose longer --prompt-tokens or a greater --vocab");
        let (now, answer) = (Instant::now(), Err(Fault::new("no further prompt that begins as no other", what)));
        let _ = self.sender.send(Seen { due: now, ended: now, answer });
    }
}

/// Begins conversations, each when it is due, and waits for their ends.
async fn begin_all(talk: Talk, timing: Timing) {
    let start = tokio::time::Instant::now();
    let places = Arc::new(Semaphore::new(timing.concurrency.unwrap_or(Semaphore::MAX_PERMITS)));
    let mut gaps = timing.rate.map(|rate| talk.work.gaps(rate));
    let (mut due, mut running) = (start, JoinSet::new());
    let most = talk.work.most_conversations(talk.prompts.below());
    for number in 0.. {
        let place = match &mut gaps {
            None => {
                let place = places.clone().acquire_owned().await.ok();
                due = tokio::time::Instant::now();
                place
            }
            Some(gaps) => {
                due += Duration::from_secs_f64(gaps.next().unwrap_or_default());
                None
            }
        };
        if timing.duration.is_some_and(|duration| due >= start + duration) {
            break;
        }
        let Some(turns) = talk.work.conversation(number, talk.prompts.below()) else { break };
        // A timer is up to two milliseconds late, which are not the server's: the one that is not needed, and the others.
        if due > tokio::time::Instant::now() {
            sleep_until(due).await;
        }
        if number == most {
            talk.end_of_prompts(number);
            break;
        }
        running.spawn(converse(talk.clone(), turns, Instant::now(), place, places.clone()));
        while let Some(ended) = running.try_join_next() {
            if let Err(error) = ended {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
    drop(talk);
    running.join_all().await;
}

/// The requests of a conversation, one behind the other. One that was due while all places were taken waits, and that counts.
async fn converse(
    talk: Talk,
    turns: Vec<Turn>,
    mut due: Instant,
    place: Option<OwnedSemaphorePermit>,
    places: Arc<Semaphore>,
) {
    let _place = match place {
        Some(place) => Some(place),
        None => places.acquire_owned().await.ok(),
    };
    let mut said: Vec<u32> = Vec::new();
    let mut text = String::new();
    let mut turns = turns.into_iter();
    while let Some(turn) = turns.next() {
        said.extend(&turn.ids);
        let prompt = match talk.prompts {
            PromptForm::Ids(_) => talk.prompts.value(&said),
            PromptForm::Texts => {
                text += talk.prompts.value(&turn.ids).as_str().unwrap_or_default();
                text.clone().into()
            }
        };
        let answer = talk.client.complete(&prompt, turn.max_tokens).await;
        let answer = answer.and_then(|answer| check(&talk, &turn, said.len(), answer));
        let goes_on = answer.as_ref().ok().map(|answer| (answer.ids.clone(), answer.text.clone()));
        let ended = Instant::now();
        let told = talk.sender.send(Seen { due, ended, answer });
        let Some((ids, more)) = goes_on.filter(|_| told.is_ok()) else {
            // A turn is never sent without the answers before it.
            for _ in turns {
                let answer = Err(Fault::new("not sent", "a turn before it failed"));
                let _ = talk.sender.send(Seen { due: ended, ended, answer });
            }
            return;
        };
        // A server that does not name its tokens has others in front of the next turn: its cache reaches as far as the prompt.
        let unnamed = turn.ids.iter().cycle().take(turn.max_tokens).copied();
        said.extend(if ids.is_empty() { unnamed.collect() } else { ids });
        text += &more;
        due = ended;
    }
}

/// An answer as it was asked for.
fn check(talk: &Talk, turn: &Turn, prompt: usize, answer: Streamed) -> Result<Streamed, Fault> {
    if let Some(tokens) = answer.known_tokens().filter(|tokens| *tokens != turn.max_tokens as u64) {
        let what = format_args!("{tokens} tokens came, {} were asked for", turn.max_tokens);
        return Err(Fault::new("an answer of another length", what));
    }
    let PromptForm::Ids(_) = talk.prompts else { return Ok(answer) };
    if let Some(tokens) = answer.prompt_tokens.filter(|tokens| *tokens != prompt as u64) {
        let what = format_args!("usage says {tokens}, {prompt} were sent");
        return Err(Fault::new("a prompt of another length", what));
    }
    match answer.cached_tokens {
        Some(cached) if cached > 0 && !talk.work.repeats() => {
            let what =
                format_args!("{cached} of {prompt} tokens: the server has seen them before; choose another --seed");
            Err(Fault::new("a prompt that was cached", what))
        }
        _ => Ok(answer),
    }
}
