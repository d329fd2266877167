//! The logits of a prompt's rows, for `verify` and for scores of a prompt: the same plans as generation, with more rows at the head.
use std::ops::ControlFlow;

use super::Engine;
use super::numbers::check_row;
use crate::error::{Category, Error, Result};
use crate::forward::{Bucket, Logprobs, Span};
use gpu_kernels::PAGE_TOKENS;

impl Engine {
    /// Logits of the last `last` rows of `prompt`, `[last, vocab]`. The engine must be idle.
    ///
    /// # Errors
    /// As [`Engine::submit`], and when a sequence runs, or `last` is not a number of rows of the prompt; and when
    /// a row is no numbers.
    pub fn logits(&mut self, prompt: &[u32], last: usize) -> Result<Vec<f32>> {
        let mut logits = Vec::with_capacity(last.min(prompt.len()) * self.layout.vocab());
        self.logits_in_pieces(prompt, last, &mut |rows| {
            logits.extend(rows);
            ControlFlow::Continue(())
        })?;
        Ok(logits)
    }

    /// As [`Engine::logits`]; each step's rows are given to `take`, in order, and not kept. No further step follows where it
    /// breaks off.
    ///
    /// # Errors
    /// As [`Engine::logits`].
    pub fn logits_in_pieces(
        &mut self,
        prompt: &[u32],
        last: usize,
        take: &mut dyn FnMut(&[f32]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.request_limits().check_prompt(prompt)?;
        self.land()?;
        if !self.is_idle() || last == 0 || last > prompt.len() {
            return Err(Error::new(Category::Input, "Logits can not be read")
                .details(format!("{last} rows of a prompt of {} tokens, engine idle: {}", prompt.len(), self.is_idle()))
                .hint("ask an idle engine for 1 row up to the prompt's length"));
        }
        self.forget();
        let pages = self.cache.take(prompt.len().div_ceil(PAGE_TOKENS as usize)).expect("an idle engine has its pages");
        let outcome = self.prompt_logits(prompt, last, &pages, take);
        self.cache.put(pages);
        outcome
    }

    fn prompt_logits(
        &mut self,
        prompt: &[u32],
        last: usize,
        pages: &[usize],
        take: &mut dyn FnMut(&[f32]) -> ControlFlow<()>,
    ) -> Result<()> {
        let limits = *self.layout.limits();
        let first_wanted = prompt.len() - last;
        let mut done = 0;
        while done < prompt.len() {
            let mut end = prompt.len().min(done + limits.rows);
            end = end.min(done.max(first_wanted) + limits.logit_rows());
            let wanted = end.saturating_sub(done.max(first_wanted));
            let ids = prompt[done..end].iter().map(|&id| id as i32).collect();
            let slot = self.cache.free_slot().expect("an idle engine has its slots");
            let span = Span {
                ids,
                position: done,
                pages: pages.to_vec(),
                slot,
                logit_rows: wanted,
                samples: false,
                sampling: None,
                logprobs: Logprobs::None,
                masked: false,
            };
            let spans = [span];
            self.run(Bucket::of(&spans, self.layout.limits()), &spans, None)?;
            if wanted > 0 {
                let rows = self.device.read_f32(self.layout.logits(), wanted * self.layout.vocab())?;
                for (row, position) in rows.chunks(self.layout.vocab()).zip(end - wanted..) {
                    check_row(row, format_args!("a prompt of {} tokens, position {position}", prompt.len()))?;
                }
                if take(&rows).is_break() {
                    return Ok(());
                }
            }
            done = end;
        }
        Ok(())
    }
}
