//! `ThinkingBudget`: how many tokens a sequence may reason, and with which its reasoning is ended then.
use std::borrow::Cow;
use std::sync::Arc;

use super::token_marks::TokenMarks;

/// A bound of a sequence's reasoning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThinkingBudget {
    /// Most tokens of the reasoning.
    pub tokens: usize,
    /// The tokens that end it: they come behind the last one as if they were chosen.
    pub end: Arc<[u32]>,
    /// What begins it, where the prompt does not; then it begins the answer, or there is none.
    pub opens: Option<Arc<TokenMarks>>,
    /// What ends it.
    pub closes: Arc<TokenMarks>,
}

fn forbid(mask: &mut [u32], tokens: impl IntoIterator<Item = u32>) {
    for token in tokens {
        mask.get_mut(token as usize / 32).into_iter().for_each(|word| *word &= !(1 << (token % 32)));
    }
}

/// How far the reasoning of a sequence is.
#[derive(Debug)]
pub(super) struct Thinking {
    budget: ThinkingBudget,
    phase: Phase,
    /// Bytes in front that decide what the next token brings.
    begun: Vec<u8>,
    /// The last bytes in front, where a character may be open.
    tail: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Before,
    /// With so many tokens of it.
    Within(usize),
    Over,
}

impl Thinking {
    pub fn new(budget: ThinkingBudget) -> Thinking {
        let phase = if budget.opens.is_some() { Phase::Before } else { Phase::Within(0) };
        Thinking { budget, phase, begun: Vec::new(), tail: Vec::new() }
    }

    /// Whether it reasons.
    pub fn is_within(&self) -> bool {
        matches!(self.phase, Phase::Within(_))
    }

    /// Whether what comes next is the answer.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Has the answer begin at once where what may begin it, by its mask, is what may begin the reasoning too.
    pub fn settle(&mut self, answer: &[u32]) {
        let may = |token: u32| answer.get(token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1);
        let opens = self.budget.opens.as_ref().filter(|_| self.phase == Phase::Before && self.begun.is_empty());
        if opens.is_some_and(|opens| opens.spaces().chain(opens.continuations(&[])).any(may)) {
            self.phase = Phase::Over;
        }
    }

    /// Which tokens may come next where `answer` says which may begin the answer. What may begin the reasoning may come in front
    /// of the answer too, and once it has begun, it goes on; neither a call nor an id of `eos` ends it, for then there
    /// would be no answer of that form.
    pub fn mask<'a>(&self, answer: &'a [u32], eos: &[u32]) -> Cow<'a, [u32]> {
        match self.phase {
            Phase::Within(_) => {
                let mut mask = vec![u32::MAX; answer.len()];
                forbid(&mut mask, self.budget.closes.other_ends(&self.begun).chain(eos.iter().copied()));
                Cow::Owned(mask)
            }
            Phase::Over => Cow::Borrowed(answer),
            Phase::Before => {
                let mut mask = if self.begun.is_empty() { answer.to_vec() } else { vec![0; answer.len()] };
                let Some(opens) = &self.budget.opens else { return Cow::Owned(mask) };
                for token in opens.continuations(&self.begun) {
                    mask.get_mut(token as usize / 32).into_iter().for_each(|word| *word |= 1 << (token % 32));
                }
                Cow::Owned(mask)
            }
        }
    }

    /// Takes the next token; the tokens that are to follow it, where the budget is used up. Inside an end that the model itself
    /// may be writing, and inside a character, they wait for as many tokens as the longest end has bytes.
    pub fn push(&mut self, token: u32) -> Option<Arc<[u32]>> {
        let count = match self.phase {
            Phase::Over => return None,
            Phase::Before => {
                let opens = self.budget.opens.as_ref()?;
                if !opens.begins(&mut self.begun, token)? {
                    self.phase = Phase::Over;
                    return None;
                }
                self.begun.clear();
                0
            }
            Phase::Within(_) if self.budget.closes.follow(&mut self.begun, token) => {
                self.phase = Phase::Over;
                return None;
            }
            Phase::Within(count) => count + 1,
        };
        self.phase = Phase::Within(count);
        let ThinkingBudget { tokens, closes, .. } = &self.budget;
        let is_inside = closes.follow_character(&mut self.tail, token) || !self.begun.is_empty();
        let waits = is_inside && count < tokens.saturating_add(closes.longest());
        (count >= *tokens && !waits).then(|| {
            self.phase = Phase::Over;
            self.budget.end.clone()
        })
    }
}
