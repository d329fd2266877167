//! `Times`: the same thing timed again and again.
use std::time::Duration;

use crate::error::Result;

/// Samples are taken until they add up to this, but a few of them always, and never too many.
const ENOUGH: Duration = Duration::from_secs(1);
const FEWEST: usize = 3;
const MOST: usize = 25;
/// A first run that took longer than this has warmed everything up.
const WARM: Duration = Duration::from_millis(300);

/// Seconds of one thing, over several samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    /// Half of the samples took longer.
    pub median: f64,
    /// The fastest.
    pub min: f64,
    /// The slowest.
    pub max: f64,
    /// How many samples.
    pub samples: usize,
}

impl Times {
    /// Calls `run`, which says how long it took, until enough is known; `parts` equal things happen in each call. What
    /// happens first is no sample: a plan is recorded when it has run a few times.
    ///
    /// # Errors
    /// Those of `run`.
    pub fn of(parts: usize, mut run: impl FnMut() -> Result<Duration>) -> Result<Times> {
        for _ in 0..4 {
            if run()? > WARM {
                break;
            }
        }
        let mut samples = Vec::new();
        while samples.len() < FEWEST || (samples.len() < MOST && samples.iter().sum::<Duration>() < ENOUGH) {
            samples.push(run()?);
        }
        samples.sort_unstable();
        let seconds = |sample: Duration| sample.as_secs_f64() / parts as f64;
        Ok(Times {
            median: seconds(samples[samples.len() / 2]),
            min: seconds(samples[0]),
            max: seconds(samples[samples.len() - 1]),
            samples: samples.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_runs_are_no_samples_and_parts_share_the_time() {
        let mut calls = 0;
        let times = Times::of(2, || {
            calls += 1;
            Ok(Duration::from_millis(if calls <= 4 { 200 } else { 100 + calls }))
        });
        let times = times.unwrap();
        assert_eq!((times.samples as u64, times.min, times.max), (calls - 4, 0.0525, (100 + calls) as f64 / 2e3));
        assert!(times.min < times.median && times.median < times.max);
    }
}
