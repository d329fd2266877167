//! Times by events of the device: of everything between two points of the stream, and of single steps.
use std::thread::sleep;
use std::time::Duration;

use cust::event::{Event, EventFlags};
use cust::stream::Stream;

use super::failure::Answer;
use super::lane::Lane;
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

/// A point of the stream from which time is measured.
pub struct Stopwatch(Event);

impl Stopwatch {
    /// Starts behind all work so far and a pause in which the host gets `launches` launches ahead, so that what is timed is
    /// the device and not the host that feeds it.
    ///
    /// # Errors
    /// The device failed.
    pub fn start(stream: &Stream, launches: usize) -> Result<Stopwatch> {
        hold(stream, launches)?;
        Ok(Stopwatch(recorded(stream)?))
    }

    /// Waits for all work so far and gives the time since the start.
    ///
    /// # Errors
    /// The device failed.
    pub fn stop(self, lane: Lane) -> Result<Duration> {
        let end = recorded(lane.stream)?;
        lane.wait()?;
        end.elapsed(&self.0).or_failed("reading an event")
    }
}

/// The time of each step by itself. Small kernels seem longer than they are: an event costs about 1 µs.
///
/// # Errors
/// The device failed.
pub fn times(steps: &[Prepared], lane: Lane) -> Result<Vec<Duration>> {
    let events = (0..=steps.len()).map(|_| Event::new(EventFlags::DEFAULT).or_failed("creating an event"));
    let events = events.collect::<Result<Vec<_>>>()?;
    // A step is a launch and an event.
    hold(lane.stream, 2 * steps.len())?;
    events[0].record(lane.stream).or_failed("recording an event")?;
    for (step, behind) in steps.iter().zip(&events[1..]) {
        step.enqueue_with_others(lane)?;
        behind.record(lane.stream).or_failed("recording an event")?;
    }
    lane.wait()?;
    events.windows(2).map(|pair| pair[1].elapsed(&pair[0]).or_failed("reading an event")).collect()
}

/// Runs `steps` `runs` times after one run to warm up.
///
/// # Errors
/// The device failed.
pub fn profile(steps: &[Prepared], runs: usize, lane: Lane) -> Result<Vec<StepTime>> {
    let mut all = Vec::new();
    for _ in 0..=runs {
        all.push(times(steps, lane)?);
    }
    let median = |step: usize| {
        let mut times: Vec<Duration> = all[1..].iter().map(|times| times[step]).collect();
        times.sort_unstable();
        times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f32() * 1e6)
    };
    Ok(steps.iter().enumerate().map(|(i, step)| StepTime { name: step.name, microseconds: median(i) }).collect())
}

fn recorded(stream: &Stream) -> Result<Event> {
    let event = Event::new(EventFlags::DEFAULT).or_failed("creating an event")?;
    event.record(stream).or_failed("recording an event")?;
    Ok(event)
}

/// Lets the stream stand still for as long as the host needs for `launches` launches, at some 5 µs each. It is a pause and
/// not a gate, so that a host that is held up by a full queue waits for the pause and not for ever.
fn hold(stream: &Stream, launches: usize) -> Result<()> {
    let pause = Duration::from_micros(500 + 5 * launches as u64);
    stream.add_callback(Box::new(move || sleep(pause))).or_failed("pausing a stream")
}
