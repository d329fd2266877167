//! The choice of a step whose tokens masks may forbid: the step itself runs while the masks are made, and its tokens are chosen
//! by a plan of its own behind it.
use std::time::Duration;

use super::masks::Made;
use super::scheduler::Share;
use super::sequence::Sequence;
use super::{Engine, Event, Flight, SequenceId};
use crate::device::PlanId;
use crate::error::{Error, Result};
use crate::forward::{Bucket, Span};

/// How long the engine waits for masks before it looks for other work.
const LOOK: Duration = Duration::from_millis(2);

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
    /// Chooses the tokens of a step that runs, once the masks are there that they need.
    pub(super) fn choose(&mut self, unchosen: Unchosen, events: &mut Vec<Event>) -> Result<()> {
        let Unchosen { choice, bucket, sampling } = unchosen;
        while sampling.iter().any(|sampled| self.of(sampled).is_some_and(Sequence::waits_for_mask)) {
            if let Some(made) = self.masks.take_within(LOOK) {
                self.note_mask(made, events);
            }
        }
        let (mut index, mut words) = (vec![-1; bucket.logit_rows], Vec::new());
        for sampled in &sampling {
            if let Some(mask) = self.of(sampled).and_then(Sequence::mask) {
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

    fn of(&self, sampled: &Sampled) -> Option<&Sequence> {
        self.running.iter().find(|sequence| sequence.id == sampled.id && sequence.starts() == sampled.starts)
    }

    /// Takes the masks that were made meanwhile. Where nothing else is to be done, it waits a while for one.
    pub(super) fn take_masks(&mut self, wait: bool, events: &mut Vec<Event>) {
        if wait && let Some(made) = self.masks.take_within(LOOK) {
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
