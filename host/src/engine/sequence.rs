//! `Sequence`: one prompt and its continuation, and how much of it the device has computed.
use std::sync::Arc;

use gpu_kernels::PAGE_TOKENS;

use super::kept::Kept;
use super::prefix::PrefixId;
use super::request::{Finish, Request, SequenceId};
use crate::forward::Span;
use crate::sample::RowParameters;

/// A sequence, waiting or running.
#[derive(Debug)]
pub struct Sequence {
    pub(super) id: SequenceId,
    request: Request,
    sampling: Option<Arc<RowParameters>>,
    context: usize,
    /// Whether its pages stay when it ends.
    pub(super) keep: bool,
    /// What it begins with, together with others.
    pub(super) prefix: Option<PrefixId>,
    generated: Vec<u32>,
    /// Tokens whose keys and values are in the cache, or will be when the steps in flight are done.
    computed: usize,
    /// Tokens that the device has chosen and the host has not read.
    unread: usize,
    /// Tokens of the prompt that were computed before it started.
    reused: usize,
    slot: usize,
    pages: Vec<usize>,
}

impl Sequence {
    /// A sequence that has no slot yet.
    pub fn new(id: SequenceId, request: Request, context: usize, vocab: usize) -> Sequence {
        let parameters = || Arc::new(RowParameters::new(&request.sampling, request.prompt.len(), &request.eos, vocab));
        let sampling = (!request.sampling.is_greedy()).then(parameters);
        Sequence {
            id,
            request,
            sampling,
            context,
            keep: false,
            prefix: None,
            generated: Vec::new(),
            computed: 0,
            unread: 0,
            reused: 0,
            slot: 0,
            pages: Vec::new(),
        }
    }

    /// Pages for the prompt and all tokens that may follow; the last token is never computed.
    pub fn pages_needed(&self) -> usize {
        let longest = self.request.prompt.len().saturating_add(self.request.max_tokens).min(self.context);
        longest.div_ceil(PAGE_TOKENS as usize)
    }

    /// The prompt.
    pub fn prompt(&self) -> &[u32] {
        &self.request.prompt
    }

    /// Gives the sequence what it needs to run; `pages` hold the first `computed` tokens of the prompt already.
    pub fn start(&mut self, slot: usize, pages: Vec<usize>, computed: usize) {
        self.slot = slot;
        self.pages = pages;
        self.computed = computed;
        self.reused = computed;
    }

    /// Tokens of the prompt that another sequence had computed.
    pub fn reused(&self) -> usize {
        self.reused
    }

    /// Its pages; none before it starts.
    pub fn pages(&self) -> &[usize] {
        &self.pages
    }

    /// Slot and pages, to be used again, with the ids whose keys and values the pages hold.
    ///
    /// The token that came last is not among them, though a device that ran ahead may have computed it; nor is what such
    /// a device has chosen and nobody has read.
    pub fn release(self) -> (usize, Kept) {
        let mut ids = self.request.prompt;
        ids.extend(self.generated.iter().take(self.generated.len().saturating_sub(1)));
        ids.truncate(self.computed);
        (self.slot, Kept { ids, pages: self.pages, slot: None })
    }

    /// The sequence's slot.
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// Tokens in the cache once the steps in flight are done.
    pub fn computed(&self) -> usize {
        self.computed
    }

    /// Tokens that wait to be computed: the rest of the prompt, or the one chosen last. None when the sequence ends
    /// with the token that is on its way.
    pub fn pending(&self) -> usize {
        let total = self.request.prompt.len() + self.generated.len() + self.unread;
        let wanted = self.generated.len() + self.unread < self.request.max_tokens && total < self.context;
        if wanted { total - self.computed } else { 0 }
    }

    /// Pending tokens that one step may take. A step whose logits are read before they are changed runs twice, and a state may be
    /// brought on by one token twice, but not by several: so a prompt's last token is alone then.
    pub fn next_tokens(&self) -> usize {
        let pending = self.pending();
        if pending > 1 && self.wants_logits() && self.changes_logits() { pending - 1 } else { pending }
    }

    /// Whether its prompt may be partly computed already. Penalties and phrases read what the sequence's own steps noted.
    pub fn may_resume(&self) -> bool {
        !self.request.sampling.reads_history()
    }

    /// Whether its tokens come with their logits.
    pub fn wants_logits(&self) -> bool {
        self.request.logits
    }

    /// Whether its choice writes over the logits.
    pub fn changes_logits(&self) -> bool {
        self.request.sampling.changes_logits()
    }

    /// Whether the whole prompt is computed.
    pub fn is_decoding(&self) -> bool {
        self.computed >= self.request.prompt.len()
    }

    /// The next `tokens` tokens as a share of a step.
    pub fn span(&self, tokens: usize) -> Span {
        let samples = tokens == self.pending();
        let ids = if self.is_decoding() {
            vec![-1 - self.slot as i32]
        } else {
            self.request.prompt[self.computed..self.computed + tokens].iter().map(|&id| id as i32).collect()
        };
        let (pages, logit_rows) = (self.pages.clone(), usize::from(samples));
        Span {
            ids,
            position: self.computed,
            pages,
            slot: self.slot,
            logit_rows,
            samples,
            sampling: self.sampling.clone(),
        }
    }

    /// Notes that the next `tokens` tokens are in a step; the last of all pending ones chooses a token.
    pub fn advance(&mut self, tokens: usize) {
        self.unread += usize::from(tokens == self.pending());
        self.computed += tokens;
    }

    /// Tokens of the prompt and generated ones that have been read: the position of the next.
    pub fn tokens(&self) -> usize {
        self.request.prompt.len() + self.generated.len()
    }

    /// Takes the token that the device chose, and says whether the sequence ends with it. The last token of all may be a
    /// forced one: no step reads it.
    pub fn push(&mut self, token: u32) -> (u32, Option<Finish>) {
        self.unread -= 1;
        let last = self.generated.len() + 1 == self.request.max_tokens;
        let token = self.request.sampling.constraints.forced_eos.filter(|_| last).unwrap_or(token);
        self.generated.push(token);
        (token, self.finish(token))
    }

    fn finish(&self, token: u32) -> Option<Finish> {
        if self.request.eos.contains(&token) {
            Some(Finish::Stop)
        } else if self.generated.len() == self.request.max_tokens {
            Some(Finish::Length)
        } else if self.request.prompt.len() + self.generated.len() == self.context {
            Some(Finish::Context)
        } else {
            None
        }
    }
}
