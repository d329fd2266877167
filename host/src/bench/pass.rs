//! `Pass`: a prefill, or some decode steps, as the engine would run them: the same buckets, plans and inputs.

use gpu_kernels::{SequenceShape, StepShape};

use super::gap::GapBuffers;
use super::met::Met;
use super::steps::{KeptInputs, borrowed, by_the_host, inputs};
use super::{Peaks, Times};
use crate::device::{Device, Plan, PlanId, Run};
use crate::error::Result;
use crate::forward::{self, Bucket, Layout, Logprobs, Span};

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A prompt of one sequence, its first token included.
    Prefill {
        /// Its tokens.
        tokens: usize,
    },
    /// One more token for each of some sequences.
    Decode {
        /// Sequences.
        batch: usize,
        /// Tokens of each that are in the cache before.
        depth: usize,
    },
}

impl Work {
    /// Tokens that the work is for: those of the prompt, or one for each sequence.
    pub fn tokens(&self) -> usize {
        match *self {
            Work::Prefill { tokens } => tokens,
            Work::Decode { batch, .. } => batch,
        }
    }

    /// The sequences of every step, `steps` of them for a decode.
    pub(super) fn steps(&self, steps: usize, layout: &Layout) -> Vec<Vec<Span>> {
        match *self {
            Work::Prefill { tokens } => {
                let rows = layout.limits().rows;
                (0..tokens)
                    .step_by(rows)
                    .map(|first| vec![chunk(first, tokens.min(first + rows), tokens, layout)])
                    .collect()
            }
            Work::Decode { batch, depth } => {
                let step = |position| (0..batch).map(|slot| one_token(slot, position, layout)).collect();
                (depth..depth + steps).map(step).collect()
            }
        }
    }
}

/// A part of a prompt; the last one chooses a token.
fn chunk(first: usize, end: usize, tokens: usize, layout: &Layout) -> Span {
    let ids = (first..end).map(|index| (index.wrapping_mul(2_654_435_761) % layout.vocab()) as i32).collect();
    let last = end == tokens;
    Span {
        ids,
        position: first,
        pages: pages(0, layout),
        slot: 0,
        logit_rows: usize::from(last),
        samples: last,
        sampling: None,
        logprobs: Logprobs::None,
        masked: false,
    }
}

/// The next token of a sequence; another one in each slot, for equal ones would all choose the same experts.
fn one_token(slot: usize, position: usize, layout: &Layout) -> Span {
    let ids = vec![((slot + 1).wrapping_mul(2_654_435_761) % layout.vocab()) as i32];
    Span {
        ids,
        position,
        pages: pages(slot, layout),
        slot,
        logit_rows: 1,
        samples: true,
        sampling: None,
        logprobs: Logprobs::None,
        masked: false,
    }
}

/// Each sequence has pages of its own, behind page 0, which pads write.
fn pages(sequence: usize, layout: &Layout) -> Vec<usize> {
    let each = layout.limits().pages_per_sequence();
    let first = 1 + sequence * each;
    (first..first + each).collect()
}

/// Bytes and operations, and the least time that the peaks allow for them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Bytes moved at least.
    pub bytes: u64,
    /// Floating-point operations.
    pub flops: u64,
    /// Seconds in which both could be done, step for step.
    pub least: f64,
    /// Those of `least` that bytes take, not operations.
    pub least_of_bytes: f64,
}

impl Cost {
    /// The cost of some steps, `in_fp8` of products of codes by codes.
    pub fn add(&mut self, bytes: u64, flops: u64, in_fp8: bool, peaks: &Peaks) {
        let least = peaks.least(bytes, flops, in_fp8);
        self.bytes += bytes;
        self.flops += flops;
        self.least += least;
        if peaks.least(bytes, 0, in_fp8) >= least {
            self.least_of_bytes += least;
        }
    }

    /// Adds another cost.
    pub(super) fn include(&mut self, other: &Cost) {
        self.bytes += other.bytes;
        self.flops += other.flops;
        self.least += other.least;
        self.least_of_bytes += other.least_of_bytes;
    }

    fn add_plan(&mut self, plan: &Plan, spans: &[Span], met: &Met, peaks: &Peaks) {
        let sequences = shapes(spans);
        for (index, step) in plan.steps.iter().enumerate() {
            let shape = StepShape { sequences: &sequences, experts: met.at(index) };
            self.add(step.bytes_moved(&shape), step.flops(&shape), step.is_fp8_gemm(), peaks);
        }
    }

    /// The cost of one of `parts` equal parts.
    pub(super) fn of_each(&self, parts: usize) -> Cost {
        let divided = |value: u64| value / parts as u64;
        let (least, least_of_bytes) = (self.least / parts as f64, self.least_of_bytes / parts as f64);
        Cost { bytes: divided(self.bytes), flops: divided(self.flops), least, least_of_bytes }
    }
}

/// What the costs of a step depend on.
pub(super) fn shapes(spans: &[Span]) -> Vec<SequenceShape> {
    let shape = |span: &Span| SequenceShape { new_tokens: span.rows() as u32, length: span.length() as u32 };
    spans.iter().map(shape).collect()
}

/// How long a pass took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PassTime {
    /// What was timed.
    pub work: Work,
    /// By the device's clock, of the prompt or of one decode step.
    pub device: Times,
    /// By the host's clock, inputs and the reading of tokens included: until the first token is known, or of one decode step.
    pub host: Times,
    /// Mean seconds that the device stands still between two steps of a decode, by its own clock.
    pub gap: Option<f64>,
    /// The cost of the prompt, or of one decode step.
    pub cost: Cost,
}

impl PassTime {
    /// Tokens per second of the device's time.
    pub fn tokens_per_second(&self) -> f64 {
        self.work.tokens() as f64 / self.device.median
    }

    /// Share of the peaks, in percent: 100 if no byte and no operation could be faster.
    pub fn percent_of_peak(&self) -> f64 {
        100.0 * self.cost.least / self.device.median
    }
}

/// Work, ready to be run again and again.
pub(super) struct Pass {
    work: Work,
    runs: Vec<(PlanId, KeptInputs)>,
    /// The plan of a decode step between two looks at the clock.
    clocked: Option<PlanId>,
    /// The prompt is one part, each decode step is one.
    parts: usize,
    cost: Cost,
}

impl Pass {
    /// Prepares `work`, a decode as `steps` steps of which the host writes the inputs of the first.
    ///
    /// # Errors
    /// The device has no kernel for it.
    pub fn new(
        work: Work,
        steps: usize,
        (layout, gaps, peaks): (&Layout, &GapBuffers, &Peaks),
        device: &mut dyn Device,
    ) -> Result<Pass> {
        let steps = work.steps(steps, layout);
        let mut cost = Cost::default();
        let mut runs = Vec::new();
        if let Work::Decode { .. } = work {
            let deepest = steps.last().expect("at least one step");
            let bucket = Bucket::of(deepest, layout.limits());
            let plan = forward::plan(layout, &bucket);
            let first = inputs(&steps[0], &bucket, layout);
            let met = Met::count(forward::plan(layout, &bucket), &steps[0], &first, device)?;
            steps.iter().for_each(|spans| cost.add_plan(&plan, spans, &met, peaks));
            let id = device.prepare(plan)?;
            let clocked = Some(device.prepare(gaps.around(forward::plan(layout, &bucket)))?);
            runs.extend(std::iter::once((id, first)).chain((1..steps.len()).map(|_| (id, KeptInputs::new()))));
            return Ok(Pass { work, parts: runs.len(), runs, clocked, cost });
        }
        for spans in &steps {
            let bucket = Bucket::of(spans, layout.limits());
            let plan = forward::plan(layout, &bucket);
            let inputs = inputs(spans, &bucket, layout);
            let met = Met::count(forward::plan(layout, &bucket), spans, &inputs, device)?;
            cost.add_plan(&plan, spans, &met, peaks);
            runs.push((device.prepare(plan)?, inputs));
        }
        Ok(Pass { work, runs, clocked: None, parts: 1, cost })
    }

    /// Times the work by both clocks.
    ///
    /// # Errors
    /// The device failed.
    pub fn time(&self, gaps: &GapBuffers, device: &mut dyn Device) -> Result<PassTime> {
        let inputs: Vec<_> = self.runs.iter().map(|(_, inputs)| borrowed(inputs)).collect();
        let runs: Vec<Run> =
            self.runs.iter().zip(&inputs).map(|((plan, _), inputs)| (*plan, inputs.as_slice())).collect();
        Ok(PassTime {
            work: self.work,
            device: Times::of(self.parts, || device.time(&runs))?,
            host: Times::of(self.parts, || by_the_host(&runs, device))?,
            gap: match self.clocked {
                Some(plan) => gaps.measure(plan, &inputs[0], runs.len(), device)?,
                None => None,
            },
            cost: self.cost.of_each(self.parts),
        })
    }
}
