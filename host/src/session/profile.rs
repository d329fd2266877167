//! Where a generation's time went, kernel by kernel.
use super::{Generation, Session};
use crate::engine::KernelShare;
use crate::error::Result;
use crate::sample::Sampling;

/// The kernels of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepProfile {
    /// Tokens of the sequence before the step.
    pub position: usize,
    /// Tokens that the step adds.
    pub rows: usize,
    /// Its kernels, those that take longest first.
    pub kernels: Vec<KernelShare>,
}

impl Session {
    /// Times the kernels of a prompt's first step and of the last decode step, with tokens chosen by `sampling`, and
    /// log-probabilities where the generation has them, on a device that can tell: the steps run again, one kernel behind the other. What is cached of a conversation is given up.
    ///
    /// # Errors
    /// The device failed.
    pub fn profile(&mut self, generation: &Generation, sampling: &Sampling) -> Result<Vec<StepProfile>> {
        let (model, _) = self.parts();
        let (sampling, prompt_tokens) = (sampling.clone(), generation.prompt_tokens);
        let (tokens, logprobs) = (prompt_tokens + generation.ids.len(), !generation.logprobs.is_empty());
        model.engine.call(move |engine| {
            let prompt = (0, prompt_tokens.min(engine.most_rows()));
            let last = tokens.min(engine.context()).saturating_sub(1);
            let mut profiles = Vec::new();
            for (position, rows) in [prompt, (last, 1)] {
                let kernels = engine.profile(position, rows, &sampling, logprobs)?;
                if !kernels.is_empty() {
                    profiles.push(StepProfile { position, rows, kernels });
                }
            }
            Ok(profiles)
        })?
    }
}
