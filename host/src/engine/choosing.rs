//! The choice of a step whose tokens masks may forbid: the step itself runs while the masks are made, and its tokens are chosen
//! by a plan of its own behind it.
use std::time::{Duration, Instant};

use super::masks::Made;
use super::patience::Patience;
use super::scheduler::Share;
use super::sequence::Sequence;
use super::{Engine, Event, Flight, SequenceId};
use crate::device::PlanId;
use crate::error::{Error, Result};
use crate::forward::{Bucket, Span};

/// How long the engine waits for masks before it looks for other work.
const REST: Duration = Duration::from_millis(2);

/// How long it waits for one before it looks whether the step that needs it has run.
const LOOK: Duration = Duration::from_micros(50);

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

/// Masks as the choice takes them: where each row's begin, and their words.
struct Rows {
    index: Vec<i32>,
    words: Vec<i32>,
    mask_words: usize,
}

impl Rows {
    fn add(&mut self, row: usize, mask: &[u32]) {
        let first = self.words.len();
        self.index[row] = first as i32;
        self.words.extend_from_slice(bytemuck::cast_slice(mask));
        self.words.resize(first + self.mask_words, 0);
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
        let enqueued = Instant::now();
        if !self.in_flight.is_empty() {
            self.collect_but(0, events)?;
            // It runs behind what was just read.
            unchosen.begun = Instant::now();
        }
        self.pace.note(enqueued, unchosen.begun, unchosen.bucket.is_decode());
        self.unchosen = Some(unchosen);
        Ok(())
    }

    /// Chooses the tokens of a step that runs, once the masks are there that they need. A sequence whose mask is late is left
    /// out: what the device chooses for it is not read, and it computes its last token again in a step to come.
    pub(super) fn choose(&mut self, unchosen: Unchosen, events: &mut Vec<Event>) -> Result<()> {
        let rows = self.wait_for_masks(&unchosen, events)?;
        self.pace.note_waited(Instant::now());
        let Unchosen { choice, mut sampling, .. } = unchosen;
        sampling.retain(|sampled| self.of(sampled).is_some_and(|index| !self.leave_out(index)));
        if sampling.is_empty() {
            return Ok(());
        }
        let [index_target, words_target] = self.layout.masks();
        let inputs: [(_, &[i32]); 2] = [(index_target, &rows.index), (words_target, &rows.words)];
        let ticket = self.device.run(choice, &inputs[..if rows.words.is_empty() { 1 } else { 2 }])?;
        self.in_flight.push_back(Flight { ticket, sampling });
        Ok(())
    }

    /// Waits for the masks of a step that runs, but not for ever, and gives those that came.
    fn wait_for_masks(&mut self, unchosen: &Unchosen, events: &mut Vec<Event>) -> Result<Rows> {
        let Unchosen { bucket, begun, sequences, .. } = *unchosen;
        let deadline = self.pace.deadline(begun, bucket.is_decode()).filter(|_| self.device.runs_ahead());
        let mut patience = Patience::new(sequences, begun, deadline);
        let mask_words = self.layout.mask_words();
        let mut rows = Rows { index: vec![-1; bucket.logit_rows], words: Vec::new(), mask_words };
        let mut missing: Vec<&Sampled> = unchosen.sampling.iter().collect();
        loop {
            self.take_masks(false, events);
            missing.retain(|sampled| {
                let Some(sequence) = self.of(sampled).map(|index| &self.running[index]) else { return false };
                if !sequence.waits_for_mask() {
                    // Put there now, while others are still waited for.
                    sequence.mask().into_iter().for_each(|mask| rows.add(sampled.row, &mask));
                }
                sequence.waits_for_mask()
            });
            if missing.is_empty() || patience.is_over(missing.len(), || self.device.is_done())? {
                return Ok(rows);
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
        self.cancel(id);
    }
}
