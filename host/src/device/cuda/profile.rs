//! Times of single steps, by events of the device around each.
use cust::event::{Event, EventFlags};
use cust::stream::Stream;

use super::failure::Answer;
use super::gemm::CublasLt;
use super::program::Prepared;
use crate::error::Result;

/// How long a step took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepTime {
    /// Kernel name, or `gemm`.
    pub name: &'static str,
    /// Median over the runs; an event costs about 1 µs of it.
    pub microseconds: f32,
}

/// Runs `steps` `runs` times after one run to warm up.
///
/// # Errors
/// The device failed.
pub fn profile(steps: &[Prepared], runs: usize, cublas: &CublasLt, stream: &Stream) -> Result<Vec<StepTime>> {
    let events = (0..=steps.len()).map(|_| Event::new(EventFlags::DEFAULT).or_failed("creating an event"));
    let events = events.collect::<Result<Vec<_>>>()?;
    let mut times = vec![Vec::new(); steps.len()];
    for run in 0..=runs {
        events[0].record(stream).or_failed("recording an event")?;
        for (step, behind) in steps.iter().zip(&events[1..]) {
            step.enqueue(cublas, stream)?;
            behind.record(stream).or_failed("recording an event")?;
        }
        stream.synchronize().or_failed("running a plan for its profile")?;
        for (times, pair) in times.iter_mut().zip(events.windows(2)).filter(|_| run > 0) {
            times.push(pair[1].elapsed_time_f32(&pair[0]).or_failed("reading an event")? * 1e3);
        }
    }
    let median = |mut times: Vec<f32>| {
        times.sort_by(f32::total_cmp);
        times.get(times.len() / 2).copied().unwrap_or(0.0)
    };
    Ok(steps.iter().zip(times).map(|(step, times)| StepTime { name: step.name, microseconds: median(times) }).collect())
}
