//! How long the stages of loading a model take.
use std::time::{Duration, Instant};

/// How long a stage of loading took; the tokenizer is read while the device opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageTime {
    /// Its name.
    pub stage: &'static str,
    /// How long it took.
    pub time: Duration,
}

/// A watch that is read at the end of each stage.
pub(super) struct Stages {
    /// When the stage that goes on began.
    pub since: Instant,
    /// Those that have ended.
    pub done: Vec<StageTime>,
}

impl Stages {
    /// Now.
    pub fn new() -> Stages {
        Stages { since: Instant::now(), done: Vec::new() }
    }

    /// Ends the stage that goes on.
    pub fn end(&mut self, stage: &'static str) {
        let now = Instant::now();
        self.done.push(StageTime { stage, time: now - self.since });
        self.since = now;
    }
}
