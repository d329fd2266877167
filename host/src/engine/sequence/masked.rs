//! What a sequence has to do with masks, where its tokens are constrained.
use std::borrow::Cow;
use std::time::Duration;

use super::super::masks::Ready;
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
