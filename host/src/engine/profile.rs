//! The times of a step's kernels, for those who ask where the time went: the same plans as generation, step by step.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use gpu_kernels::{PAGE_TOKENS, SequenceShape, StepShape};

use super::Engine;
use crate::device::Inputs;
use crate::error::{Category, Error, Result};
use crate::forward::{self, Bucket, Logprobs, Span, StepInputs};
use crate::sample::{RowParameters, Sampling};

/// Runs of the step behind one to warm up; each kernel's fastest counts.
const RUNS: usize = 5;

/// All launches of one kernel in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelShare {
    /// Kernel name, or `gemm`.
    pub name: &'static str,
    /// How many there are.
    pub launches: usize,
    /// How long they take together, on a GPU with about 1 µs for the event behind each.
    pub time: Duration,
    /// The fewest bytes that they must move.
    pub bytes: u64,
}

impl Engine {
    /// Token rows of the largest step.
    pub fn most_rows(&self) -> usize {
        self.layout.limits().rows
    }

    /// Times the kernels of a step that adds `rows` tokens to a sequence of `position` tokens and chooses one by `sampling`, with
    /// log-probabilities or without, those that take longest first. The engine must be idle; cached prefixes are given up. Only a
    /// device that runs ahead is asked: on another, this would take as long as what it explains.
    ///
    /// # Errors
    /// A sequence runs, the step is larger than the engine's, or the device failed.
    pub fn profile(
        &mut self,
        position: usize,
        rows: usize,
        sampling: &Sampling,
        logprobs: bool,
    ) -> Result<Vec<KernelShare>> {
        let limits = *self.layout.limits();
        self.land()?;
        if !self.is_idle() || rows == 0 || rows > limits.rows || position + rows > limits.context {
            return Err(Error::new(Category::Input, "A step can not be timed")
                .details(format!("{rows} tokens behind {position}, engine idle: {}", self.is_idle()))
                .hint(format!("ask an idle engine for 1 to {} tokens within {}", limits.rows, limits.context)));
        }
        if !self.device.runs_ahead() {
            return Ok(Vec::new());
        }
        self.forget();
        let pages = (position + rows).div_ceil(PAGE_TOKENS as usize);
        let pages = self.cache.take(pages).expect("an idle engine has its pages");
        let ids = vec![0; rows];
        // Behind the step begins what penalties count: nothing.
        let parameters = || Arc::new(RowParameters::new(sampling, position + rows, &[], self.layout.vocab()));
        let sampling = (!sampling.is_greedy()).then(parameters);
        let slot = self.cache.free_slot().expect("an idle engine has its slots");
        let logprobs = if logprobs { Logprobs::Chosen } else { Logprobs::None };
        let span = Span { ids, position, pages, slot, logit_rows: 1, samples: true, sampling, logprobs, masked: false };
        let shares = self.shares(&span);
        self.cache.put(span.pages);
        shares
    }

    /// Waits for steps whose sequences have all ended meanwhile.
    pub(super) fn land(&mut self) -> Result<()> {
        // Nobody waits for tokens that are not chosen yet.
        self.unchosen.take_if(|_| self.running.is_empty());
        while self.running.is_empty()
            && let Some(flight) = self.in_flight.pop_front()
        {
            self.collect(flight, &mut Vec::new())?;
        }
        Ok(())
    }

    fn shares(&mut self, span: &Span) -> Result<Vec<KernelShare>> {
        let spans = std::slice::from_ref(span);
        let bucket = Bucket::of(spans, self.layout.limits());
        let plan = self.plan(bucket)?.plan;
        let inputs = StepInputs::new(spans, &bucket, self.layout.limits());
        self.resident = None;
        let device = &mut self.device;
        let times = self.layout.with_inputs(&inputs, |inputs: &Inputs| {
            let runs: Result<Vec<_>> = (0..=RUNS).map(|_| device.time_steps(plan, inputs)).collect();
            runs.map(|runs| runs[1..].iter().cloned().reduce(faster).unwrap_or_default())
        })?;
        let sequences = [SequenceShape { new_tokens: span.rows() as u32, length: span.length() as u32 }];
        let shape = StepShape { sequences: &sequences, experts: None };
        let mut shares: HashMap<&str, KernelShare> = HashMap::new();
        for (step, time) in forward::plan(&self.layout, &bucket).steps.iter().zip(times) {
            let name = step.name();
            let none = KernelShare { name, launches: 0, time: Duration::ZERO, bytes: 0 };
            let share = shares.entry(name).or_insert(none);
            share.launches += 1;
            share.time += time;
            share.bytes += step.bytes_moved(&shape);
        }
        let mut shares: Vec<KernelShare> = shares.into_values().collect();
        shares.sort_by_key(|share| (std::cmp::Reverse(share.time), share.name));
        Ok(shares)
    }
}

fn faster(a: Vec<Duration>, b: Vec<Duration>) -> Vec<Duration> {
    a.into_iter().zip(b).map(|(a, b)| a.min(b)).collect()
}
