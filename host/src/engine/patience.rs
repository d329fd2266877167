//! How long a step waits for masks that are late.
use std::time::{Duration, Instant};

use crate::error::Result;

/// What a step takes at least, whatever was measured: the host has work with it too.
const LEAST_STEP: Duration = Duration::from_micros(500);

/// How long masks are waited for at most: a device that stands still is noticed by who reads its tokens.
const MOST_WAIT: Duration = Duration::from_secs(1);

/// How fast steps with masks follow each other.
#[derive(Debug, Default)]
pub struct StepPace {
    /// When the device began the step before, where its sequences decode.
    begun: Option<Instant>,
    /// From one beginning to the next, on average.
    period: Duration,
    /// When the wait for the masks of the step before was over.
    waited: Option<Instant>,
    /// From there until the next step was enqueued, on average.
    lead: Duration,
}

/// The weight of the last measurement in an average.
const LAST: u32 = 8;

impl StepPace {
    /// Notes that a step was enqueued just now, and what stood in front of it has been read. Whether each of its sequences
    /// `decodes`, that is adds one token: steps with prompts take as long as these are, and tell nothing of others.
    pub fn note(&mut self, enqueued: Instant, begun: Instant, decodes: bool) {
        let average = |old: Duration, new: Duration| if old.is_zero() { new } else { old - old / LAST + new / LAST };
        if let (Some(waited), Some(before)) = (self.waited.take(), self.begun) {
            self.lead = average(self.lead, enqueued - waited);
            self.period = average(self.period, begun - before);
        }
        self.begun = decodes.then_some(begun);
    }

    /// Notes that a wait for masks is over.
    pub fn note_waited(&mut self, now: Instant) {
        self.waited = Some(now);
    }

    /// When the choice of the step that began last, and the next one, have to be on their way so that the device does not rest;
    /// none where nothing tells how long that step takes.
    pub fn deadline(&self, begun: Instant, decodes: bool) -> Option<Instant> {
        (decodes && !self.period.is_zero()).then(|| begun + self.period.saturating_sub(self.lead))
    }
}

/// How long a step waits for masks. While it runs, that costs nothing, but what is enqueued behind it takes the host some time.
/// Then it costs all of its sequences their time, and to choose without those that are missing costs their sequences a step: the
/// wait ends where both are the same, so it costs twice the better of the two at most.
pub struct Patience {
    sequences: usize,
    begun: Instant,
    deadline: Option<Instant>,
    ended: Option<Instant>,
}

impl Patience {
    /// With a step of so many sequences that has just begun, and whose choice is best enqueued by `deadline`.
    pub fn new(sequences: usize, begun: Instant, deadline: Option<Instant>) -> Patience {
        Patience { sequences, begun, deadline, ended: None }
    }

    /// Whether to wait no more for so many masks; `is_done` says whether the step has ended.
    ///
    /// # Errors
    /// As of `is_done`.
    pub fn is_over(&mut self, missing: usize, is_done: impl FnOnce() -> Result<bool>) -> Result<bool> {
        let now = Instant::now();
        if self.ended.is_none() && is_done()? {
            self.ended = Some(now);
        }
        let late = self.deadline.filter(|deadline| *deadline < now).into_iter().chain(self.ended).min();
        let Some(late) = late else { return Ok(now - self.begun > MOST_WAIT) };
        let step = (late - self.begun).clamp(LEAST_STEP, MOST_WAIT);
        Ok((now - late) * self.sequences as u32 > step * missing as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, microseconds: u64) -> Instant {
        start + Duration::from_micros(microseconds)
    }

    #[test]
    fn a_deadline_leaves_the_host_its_time() {
        let (start, mut pace) = (Instant::now(), StepPace::default());
        for step in 0..3 {
            let begun = 3000 * step;
            pace.note(at(start, begun), at(start, begun), true);
            pace.note_waited(at(start, begun + 2600));
        }
        // The wait is over 2600 µs behind each beginning, and the next step enqueued 400 µs later.
        assert_eq!(pace.deadline(at(start, 6000), true), Some(at(start, 6000 + 2600)));
        assert_eq!(StepPace::default().deadline(start, true), None, "nothing was measured");
    }

    #[test]
    fn a_step_with_a_prompt_tells_nothing_of_others() {
        let (start, mut pace) = (Instant::now(), StepPace::default());
        for (begun, decodes) in [(0, true), (3000, true), (6000, false), (90_000, true)] {
            pace.note(at(start, begun), at(start, begun), decodes);
            pace.note_waited(at(start, begun + 2600));
        }
        assert_eq!(pace.deadline(at(start, 90_000), true), Some(at(start, 90_000 + 2600)));
        assert_eq!(pace.deadline(at(start, 90_000), false), None, "it may run for long: waiting costs nothing");
    }

    #[test]
    fn one_mask_of_many_sequences_is_waited_for_a_short_while() {
        let ago = Instant::now() - Duration::from_millis(10);
        let over = |sequences, deadline, missing| {
            let mut patience = Patience::new(sequences, ago, Some(at(ago, deadline)));
            patience.is_over(missing, || Ok(true)).expect("it does not fail")
        };
        assert!(over(64, 4_000, 1), "6 ms for 64 sequences, where one would lose 4 ms");
        assert!(!over(1, 6_000, 1), "alone it waits");
        assert!(!over(64, 9_990, 64), "all are late");
    }
}
