//! The choice of a step whose tokens masks may forbid: the step itself runs while the masks are made, and its tokens are chosen
//! by a plan of its own behind it.
use std::time::{Duration, Instant};

use super::masks::Made;
use super::scheduler::Share;
use super::sequence::Sequence;
use super::{Engine, Event, Flight, SequenceId};
use crate::device::{Device, PlanId};
use crate::error::{Error, Result};
use crate::forward::{Bucket, Span};

/// How long the engine waits for masks before it looks for other work.
const REST: Duration = Duration::from_millis(2);

/// How long it waits for one before it looks whether the step that needs it has run.
const LOOK: Duration = Duration::from_micros(50);

/// What a step takes at least, whatever was measured: the host has work with it too.
const LEAST_STEP: Duration = Duration::from_micros(500);

/// How long masks are waited for at most: a device that stands still is noticed by who reads its tokens.
const MOST_WAIT: Duration = Duration::from_secs(1);

/// A sequence's token in a step.
pub(super) struct Sampled {
    pub id: SequenceId,
    /// How often it had begun.
    pub starts: u32,
    /// Its row of logits.
    row: usize,
}

/// A step whose tokens are not chosen yet.
pub(super) struct Unchosen {
    pub choice: PlanId,
    pub bucket: Bucket,
    pub sampling: Vec<Sampled>,
    /// Sequences that have a share of it.
    pub sequences: usize,
    /// When the device began it.
    pub begun: Instant,
}

/// How long a step waits for masks. While it runs, that costs nothing. Then it costs all of its sequences their time, and to
/// choose without those that are missing costs their sequences a step: the wait ends where both are the same, so it costs
/// twice the better of the two at most.
struct Patience {
    sequences: usize,
    begun: Instant,
    ended: Option<Instant>,
}

impl Patience {
    /// Whether to wait no more for so many masks.
    fn is_over(&mut self, missing: usize, device: &mut dyn Device) -> Result<bool> {
        let now = Instant::now();
        if self.ended.is_none() && device.is_done()? {
            self.ended = Some(now);
        }
        let Some(ended) = self.ended else { return Ok(now - self.begun > MOST_WAIT) };
        let step = (ended - self.begun).clamp(LEAST_STEP, MOST_WAIT);
        Ok((now - ended) * self.sequences as u32 > step * missing as u32)
    }
}

/// Whose tokens a step chooses, and from which rows of logits.
pub(super) fn sampled(shares: &[Share], spans: &[Span], bucket: &Bucket, running: &[Sequence]) -> Vec<Sampled> {
    let mut rows = 0;
    let mut sampling = Vec::new();
    for (share, span) in shares.iter().zip(spans) {
        // In a decode bucket the head takes every row.
        rows += if bucket.is_decode() { 1 } else { span.logit_rows };
        let sequence = &running[share.sequence];
        if span.samples {
            sampling.push(Sampled { id: sequence.id, starts: sequence.starts(), row: rows - 1 });
        }
    }
    sampling
}

impl Engine {
    /// Reads the tokens of the steps in front of one that runs, whose own are chosen later.
    pub(super) fn hold(&mut self, mut unchosen: Unchosen, events: &mut Vec<Event>) -> Result<()> {
        if !self.in_flight.is_empty() {
            self.collect_but(0, events)?;
            // It runs behind what was just read.
            unchosen.begun = Instant::now();
        }
        self.unchosen = Some(unchosen);
        Ok(())
    }

    /// Chooses the tokens of a step that runs, once the masks are there that they need. A sequence whose mask is late is left
    /// out: what the device chooses for it is not read, and it computes its last token again in a step to come.
    pub(super) fn choose(&mut self, unchosen: Unchosen, events: &mut Vec<Event>) -> Result<()> {
        self.wait_for_masks(&unchosen, events)?;
        let Unchosen { choice, bucket, mut sampling, .. } = unchosen;
        sampling.retain(|sampled| self.of(sampled).is_some_and(|index| !self.leave_out(index)));
        if sampling.is_empty() {
            return Ok(());
        }
        let (mut index, mut words) = (vec![-1; bucket.logit_rows], Vec::new());
        for sampled in &sampling {
            if let Some(mask) = self.of(sampled).and_then(|index| self.running[index].mask()) {
                let first = words.len();
                index[sampled.row] = first as i32;
                words.extend_from_slice(bytemuck::cast_slice(&mask));
                words.resize(first + self.layout.mask_words(), 0);
            }
        }
        let [index_target, words_target] = self.layout.masks();
        let inputs: [(_, &[i32]); 2] = [(index_target, &index), (words_target, &words)];
        let ticket = self.device.run(choice, &inputs[..if words.is_empty() { 1 } else { 2 }])?;
        self.in_flight.push_back(Flight { ticket, sampling });
        Ok(())
    }

    /// Waits for the masks of a step that runs, but not for ever.
    fn wait_for_masks(&mut self, unchosen: &Unchosen, events: &mut Vec<Event>) -> Result<()> {
        let mut patience = Patience { sequences: unchosen.sequences, begun: unchosen.begun, ended: None };
        let mut missing: Vec<&Sampled> = unchosen.sampling.iter().collect();
        loop {
            self.take_masks(false, events);
            missing.retain(|sampled| self.of(sampled).is_some_and(|index| self.running[index].waits_for_mask()));
            if missing.is_empty() || patience.is_over(missing.len(), &mut *self.device)? {
                return Ok(());
            }
            if let Some(made) = self.masks.take_within(LOOK) {
                self.note_mask(made, events);
            }
        }
    }

    /// Leaves a running sequence out of the choice where its mask is late, and says whether it is.
    fn leave_out(&mut self, index: usize) -> bool {
        let is_late = self.running[index].waits_for_mask();
        if is_late {
            self.running[index].repeat();
            self.counters.late += 1;
        }
        is_late
    }

    /// Which of the running sequences that is, if it still runs.
    fn of(&self, sampled: &Sampled) -> Option<usize> {
        self.running.iter().position(|sequence| sequence.id == sampled.id && sequence.starts() == sampled.starts)
    }

    /// Takes the masks that were made meanwhile. Where nothing else is to be done, it waits a while for one.
    pub(super) fn take_masks(&mut self, wait: bool, events: &mut Vec<Event>) {
        if wait && let Some(made) = self.masks.take_within(REST) {
            self.note_mask(made, events);
        }
        while let Some(made) = self.masks.try_take() {
            self.note_mask(made, events);
        }
    }

    /// Gives a sequence its mask; without one it ends.
    fn note_mask(&mut self, made: Made, events: &mut Vec<Event>) {
        let mut all = self.running.iter_mut().chain(&mut self.waiting);
        let Some(sequence) = all.find(|sequence| sequence.id == made.sequence) else { return };
        match made.ready {
            Ok(ready) => sequence.set_mask(ready, made.time),
            Err(error) => self.end_unmasked(made.sequence, error, events),
        }
    }

    /// Ends a sequence of which nobody can say how it may go on.
    fn end_unmasked(&mut self, id: SequenceId, error: Error, events: &mut Vec<Event>) {
        let cached_tokens = self.running.iter().find(|sequence| sequence.id == id).map_or(0, Sequence::cached_tokens);
        events.push(Event { sequence: id, token: Err(error), finish: None, cached_tokens, logprobs: None });
        self.retire(id);
    }
}
