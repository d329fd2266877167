//! What a sequence has to do with masks, where its tokens are constrained.
use std::borrow::Cow;
use std::time::Duration;

use gpu_kernels::PAGE_TOKENS;

use super::super::masks::{Constrained, Ready};
use super::super::thinking::Thinking;
use super::Sequence;

impl Sequence {
    /// Notes the token that was read where it is the constraint's: one that begins no reasoning is, one that ends it is not.
    pub(super) fn note_answer(&mut self, token: u32, reasoned: bool) {
        let answers = !reasoned && self.thinking.as_ref().is_none_or(Thinking::is_over);
        if let Some(constrained) = self.constrained.as_mut().filter(|_| answers) {
            constrained.read = Some(token);
        }
    }

    /// Whether a step may take part of it now: one that is constrained waits for a mask that takes long.
    pub fn may_step(&self) -> bool {
        self.constrained.as_ref().is_none_or(|constrained| constrained.may_step(self.unread))
    }

    /// Whether its mask is on its way.
    pub fn waits_for_mask(&self) -> bool {
        self.constrained.as_ref().is_some_and(|constrained| constrained.ready().is_none())
    }

    /// Has its last token computed again, for its mask was late for what a step would have chosen behind it. The token is the
    /// host's to tell then: the device has chosen another one for its slot, which nobody reads.
    pub fn repeat(&mut self) {
        debug_assert!(
            self.unread == 1 && self.computed == self.tokens.len(),
            "a mask is of the token that was read last"
        );
        self.unread -= 1;
        self.computed -= 1;
        self.known = self.tokens.len();
        self.constrained.iter_mut().for_each(Constrained::note_late);
    }

    /// Tokens that are computed, or will be when the steps in flight are done, and are never computed again.
    pub(super) fn settled(&self) -> usize {
        self.computed - usize::from(self.unread > 0 && self.waits_for_mask())
    }

    /// How many of its next `tokens` tokens it may compute in one step. The last may have to be computed again; a step of several
    /// that ends with a page leaves no state that one goes back from, see `gpu_kernels::ssm`.
    pub fn tokens_to_repeat(&self, tokens: usize) -> usize {
        let is_last = tokens > 1 && tokens == self.pending();
        let ends_page = (self.computed + tokens).is_multiple_of(PAGE_TOKENS as usize);
        tokens - usize::from(is_last && ends_page && self.waits_for_mask())
    }

    /// Which tokens may come next, where not all of them may.
    pub fn mask(&self) -> Option<Cow<'_, [u32]>> {
        let mask = &self.constrained.as_ref()?.ready()?.mask;
        Some(self.thinking.as_ref().map_or(Cow::Borrowed(mask), |thinking| thinking.mask(mask, &self.request.eos)))
    }

    /// Takes the mask that was made in `time`.
    pub fn set_mask(&mut self, ready: Ready, time: Duration) {
        if let Some(thinking) = &mut self.thinking {
            thinking.settle(&ready.mask);
        }
        if let Some(constrained) = &mut self.constrained {
            constrained.set(ready, time);
        }
    }

    /// What the next mask is made of, where the token that came last is the constraint's: it is on its way from now on.
    pub fn take_mask(&mut self) -> Option<(Ready, u32)> {
        self.constrained.as_mut()?.take()
    }
}
