//! The engine: sequences, KV pages, scheduler, step loop. It does not know that CUDA exists.
//!
//! [`Engine::step`] is four verbs: admit, schedule, run, collect. On a device that runs ahead, step n + 1 is enqueued
//! before the token of step n is read; a step whose sequence turns out to have ended is discarded, and leaves nothing.
mod admission;
mod cache;
mod choosing;
mod config;
mod constraint;
mod handle;
mod history;
mod limits;
mod log_softmax;
mod masks;
mod numbers;
mod patience;
mod plans;
mod prefixes;
mod profile;
mod prompt_logits;
mod request;
mod runner;
mod scheduler;
mod scores;
mod sequence;
mod snapshots;
mod thinking;
mod token_logprobs;
mod token_marks;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use cache::CacheUsage;
pub use config::{CPU_CHUNK, EngineConfig, lay_out};
pub use constraint::{Constraint, StartMatcher, TokenMatcher};
pub use handle::{EngineHandle, RequestTicket, UpdateStream};
pub use limits::RequestLimits;
pub use log_softmax::{TokenScore, log_softmax};
pub use profile::KernelShare;
pub use request::{Event, Finish, Request, SequenceId, Update};
pub use runner::EngineStatus;
pub use thinking::ThinkingBudget;
pub use token_logprobs::{MOST_LOGPROBS, TokenLogprobs};
pub use token_marks::TokenMarks;

use crate::device::{Device, Inputs, PlanId, Ticket};
use crate::error::{Error, Result};
use crate::forward::{Bucket, Layout, Logprobs, Span, StepInputs, WeightSource};
use crate::models::spec::ModelSpec;
use cache::PageCache;
use choosing::{Sampled, Unchosen};
use masks::Masks;
pub use numbers::check_fault;
use patience::StepPace;
use plans::{PREPARING_RUNS, Plans, Prepared};
use sequence::Sequence;

/// What an engine has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Passes over the model.
    pub steps: u64,
    /// Kernels and products of those passes.
    pub launches: u64,
    /// Steps whose inputs the host wrote; the others were advanced on the device.
    pub uploads: u64,
    /// Token rows, pads not counted.
    pub rows: u64,
    /// Tokens of prompts of sequences that have started.
    pub queried: u64,
    /// Those of them that another sequence had computed before.
    pub reused: u64,
    /// Pages whose prefixes were given up because pages were short.
    pub evicted: u64,
    /// Times that a sequence had to wait again, because pages were short.
    pub preempted: u64,
    /// Times that a sequence was left out of a choice, because its mask was late.
    pub late: u64,
    /// Plans made for steps of new shapes.
    pub plans: u64,
    /// Plans that were given up for others.
    pub released_plans: u64,
    /// Host time that these took to be made and to start twice: their kernels are loaded then, and their graphs recorded.
    pub preparing: Duration,
}

/// A loaded model on a device, and the sequences that run on it. [`EngineHandle`] runs one on a thread of its own.
pub struct Engine {
    device: Box<dyn Device>,
    layout: Layout,
    plans: Plans,
    cache: PageCache,
    waiting: VecDeque<Sequence>,
    running: Vec<Sequence>,
    in_flight: VecDeque<Flight>,
    /// The step behind those, whose tokens wait for masks.
    unchosen: Option<Unchosen>,
    pace: StepPace,
    resident: Option<Vec<Resident>>,
    masks: Masks,
    /// Of prompts, and not taken yet.
    scores: Vec<(SequenceId, Vec<TokenScore>)>,
    /// Why there is no matrix library, where the model wants one.
    no_library: Option<Error>,
    next_id: u64,
    counters: Counters,
}

/// A step whose tokens have not been read.
struct Flight {
    ticket: Ticket,
    /// Whose tokens it chooses.
    sampling: Vec<Sampled>,
}

/// A step that runs.
enum Started {
    Chosen(Ticket),
    /// Its tokens are to be chosen by this plan.
    Unchosen(PlanId),
}

/// One sequence of the decode step whose inputs the device still holds, and the position that step wrote.
#[derive(PartialEq, Eq)]
struct Resident {
    id: SequenceId,
    position: usize,
    logprobs: Logprobs,
}

impl Resident {
    /// Whether the device brings the inputs of `before` on to these by itself.
    fn follows(&self, before: &Resident) -> bool {
        self.id == before.id && self.position == before.position + 1 && self.logprobs == before.logprobs
    }
}

impl Engine {
    /// Lays out the model's buffers on `device`, weights included.
    ///
    /// # Errors
    /// A tensor is missing or of a wrong shape, or the device's memory does not hold the buffers.
    pub fn new(
        mut device: Box<dyn Device>,
        spec: &ModelSpec,
        weights: WeightSource,
        config: EngineConfig,
    ) -> Result<Engine> {
        let (layout, memory, no_library) = lay_out(spec, config.limits(), device.as_ref())?;
        device.allocate(memory.load(weights)?)?;
        let limits = layout.limits();
        let cache = PageCache::new(limits.pages, limits.scrap_slot(), layout.has_state());
        Ok(Engine {
            device,
            layout,
            plans: Plans::default(),
            cache,
            waiting: VecDeque::new(),
            running: Vec::new(),
            in_flight: VecDeque::new(),
            unchosen: None,
            pace: StepPace::default(),
            resident: None,
            masks: Masks::new(),
            scores: Vec::new(),
            no_library,
            next_id: 0,
            counters: Counters::default(),
        })
    }

    /// Why there is no matrix library, where the model wants one.
    pub fn no_library(&self) -> Option<&Error> {
        self.no_library.as_ref()
    }

    /// Lines that tell the user what the device is; the first is its name.
    pub fn description(&self) -> Vec<String> {
        self.device.description()
    }

    /// Tokens that one sequence may have.
    pub fn context(&self) -> usize {
        self.layout.limits().context
    }

    /// What has been done so far.
    pub fn counters(&self) -> Counters {
        Counters { evicted: self.cache.evicted(), ..self.counters }
    }

    /// Where the pages of the cache are.
    pub fn cache_usage(&self) -> CacheUsage {
        self.cache.usage()
    }

    /// Plans that are on the device.
    pub fn kept_plans(&self) -> usize {
        self.plans.count()
    }

    /// What a request may ask for.
    pub fn request_limits(&self) -> RequestLimits {
        let limits = self.layout.limits();
        let pages = self.cache.usage().pages;
        RequestLimits { context: limits.context, vocab: self.layout.vocab(), pages, sequences: limits.sequences }
    }

    /// Sequences that run, and that wait.
    pub fn queue(&self) -> (usize, usize) {
        (self.running.len(), self.waiting.len())
    }

    /// How many sequences run at the same time.
    pub fn max_sequences(&self) -> usize {
        self.layout.limits().sequences
    }

    /// KV pages that no running sequence reads: free ones, and those of cached prefixes.
    pub fn free_pages(&self) -> usize {
        self.cache.room()
    }

    /// Whether no sequence waits or runs.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty() && self.in_flight.is_empty() && self.unchosen.is_none()
    }

    /// Queues a request; its tokens come as events of later steps. Of its prompt only what follows the longest cached prefix is
    /// computed, and what it computes is cached for others. A prompt that is scored is computed as a whole.
    ///
    /// # Errors
    /// As [`RequestLimits::check`]; the system gives no threads for masks.
    pub fn submit(&mut self, mut request: Request) -> Result<SequenceId> {
        self.request_limits().check(&request)?;
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        if let Some(constraint) = &request.constraint {
            self.masks.start(id, constraint.clone())?;
            if !constraint.is_open() {
                // It says by itself where a text ends.
                request.sampling.constraints.end_anywhere();
            }
        }
        self.waiting.push_back(Sequence::new(id, request, self.context(), self.layout.vocab()));
        Ok(id)
    }

    /// Gives up all cached prefixes that no running sequence reads.
    pub fn forget(&mut self) {
        self.cache.forget();
    }

    /// Tokens of a sequence's prompt that are computed; none once it has ended.
    pub fn prompt_progress(&self, id: SequenceId) -> Option<u64> {
        let sequence = self.waiting.iter().chain(&self.running).find(|sequence| sequence.id == id)?;
        Some(sequence.computed().min(sequence.prompt_tokens()) as u64)
    }

    /// One pass over the model for the sequences that the scheduler chose, and the tokens that are known by then.
    ///
    /// # Errors
    /// The device failed; the engine is of no further use.
    pub fn step(&mut self) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        // Its masks were made while the events of the step before were told.
        if let Some(unchosen) = self.unchosen.take() {
            self.choose(unchosen, &mut events)?;
        }
        self.admit();
        // Reading the logits of prompts waits for the device anyway.
        let ahead = self.device.runs_ahead() && !self.running.iter().any(|sequence| sequence.scores().is_some());
        if !ahead {
            self.collect_but(0, &mut events)?;
        }
        self.take_masks(false, &mut events);
        self.note_prefixes()?;
        let shares = self.schedule(&mut events)?;
        if shares.is_empty() {
            self.collect_but(0, &mut events)?;
            self.take_masks(true, &mut events);
        } else if let Some(unchosen) = self.launch(&shares, &mut events)? {
            self.hold(unchosen, &mut events)?;
        } else {
            self.collect_but(usize::from(ahead), &mut events)?;
        }
        Ok(events)
    }

    /// Reads the tokens of all steps in flight but the last `keep`.
    fn collect_but(&mut self, keep: usize, events: &mut Vec<Event>) -> Result<()> {
        while self.in_flight.len() > keep {
            let flight = self.in_flight.pop_front().expect("a flight is left");
            self.collect(flight, events)?;
        }
        Ok(())
    }

    /// Starts a step of `shares`; where masks may forbid tokens, these are still to be chosen.
    fn launch(&mut self, shares: &[scheduler::Share], events: &mut Vec<Event>) -> Result<Option<Unchosen>> {
        let spans: Vec<Span> = shares.iter().map(|share| self.running[share.sequence].span(share.tokens)).collect();
        let decode = shares.iter().all(|share| self.running[share.sequence].is_decoding() && share.tokens == 1);
        let residents = decode.then(|| {
            let id = |share: &scheduler::Share| self.running[share.sequence].id;
            let resident = |(share, Span { position, logprobs, .. }): (_, &Span)| Resident {
                id: id(share),
                position: *position,
                logprobs: *logprobs,
            };
            shares.iter().zip(&spans).map(resident).collect()
        });
        let bucket = Bucket::of(&spans, self.layout.limits());
        let sampling = choosing::sampled(shares, &spans, &bucket, &self.running);
        let begun = Instant::now();
        let started = self.run(bucket, &spans, residents)?;
        let failed = self.score(shares, &spans)?;
        for share in shares {
            self.running[share.sequence].advance(share.tokens);
            self.give(share.sequence);
        }
        self.end_unscorable(failed, events);
        Ok(match started {
            Started::Chosen(ticket) => {
                self.in_flight.push_back(Flight { ticket, sampling });
                None
            }
            Started::Unchosen(choice) => Some(Unchosen { choice, bucket, sampling, sequences: shares.len(), begun }),
        })
    }

    /// Runs `spans`; when the device's inputs are those of the step before, each a position behind, it advances them.
    fn run(&mut self, bucket: Bucket, spans: &[Span], residents: Option<Vec<Resident>>) -> Result<Started> {
        let start = Instant::now();
        self.copy_slots()?;
        let Prepared { plan, choice, launches, runs, .. } = self.plan(bucket)?;
        let continues = match (&self.resident, &residents) {
            (Some(before), Some(now)) => {
                before.len() == now.len() && before.iter().zip(now).all(|(before, now)| now.follows(before))
            }
            _ => false,
        };
        let device = &mut self.device;
        let mut run = |inputs: &Inputs| match choice {
            None => device.run(plan, inputs).map(Started::Chosen),
            Some(choice) => device.enqueue(plan, inputs).map(|()| Started::Unchosen(choice)),
        };
        let started = if continues {
            run(&[])?
        } else {
            let inputs = StepInputs::new(spans, &bucket, self.layout.limits());
            self.counters.uploads += 1;
            self.layout.with_inputs(&inputs, run)?
        };
        self.resident = residents;
        if runs < PREPARING_RUNS {
            self.counters.preparing += start.elapsed();
        }
        self.counters.steps += 1;
        self.counters.launches += launches;
        self.counters.rows += spans.iter().map(|span| span.rows() as u64).sum::<u64>();
        Ok(started)
    }

    /// Reads a step's tokens. A sequence that has ended meanwhile has no further event.
    fn collect(&mut self, flight: Flight, events: &mut Vec<Event>) -> Result<()> {
        let sampled = self.device.sampled(flight.ticket)?;
        for Sampled { id, starts, .. } in flight.sampling {
            let is_own = |sequence: &&mut Sequence| sequence.id == id && sequence.starts() == starts;
            let Some(sequence) = self.running.iter_mut().find(is_own) else { continue };
            let (slot, cached_tokens) = (sequence.slot(), sequence.cached_tokens());
            let fault = sampled[self.layout.limits().slots() + slot];
            let place = format_args!("sequence {}, position {}", id.0, sequence.tokens().len());
            if let Err(error) = check_fault(fault, place) {
                events.push(Event { sequence: id, token: Err(error), finish: None, cached_tokens, logprobs: None });
                self.give_up(id);
                continue;
            }
            let words = self.layout.logprobs_of(slot);
            let logprobs = sequence.logprobs().map(|count| TokenLogprobs::new(&sampled[words], count));
            let (token, finish) = sequence.push(sampled[slot] as u32);
            events.push(Event { sequence: id, token: Ok(token), finish, cached_tokens, logprobs });
            match sequence.take_forced() {
                _ if finish.is_some() => self.cancel(id),
                Some(forced) => self.force(id, &forced, events),
                None => {
                    if let Some((ready, token)) = sequence.take_mask() {
                        self.masks.go_on(id, ready, token)?;
                    }
                }
            }
        }
        Ok(())
    }
}
