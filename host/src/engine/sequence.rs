//! `Sequence`: one prompt and its continuation, and how much of it the device has computed.
mod masked;
mod stops;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use gpu_kernels::PAGE_TOKENS;

use super::cache::Holding;
use super::masks::Constrained;
use super::prefixes::Prefixes;
use super::request::{Finish, Request, SequenceId};
use super::thinking::Thinking;
use crate::forward::{Logprobs, Span};
use crate::sample::RowParameters;

/// Snapshots that others may ask a sequence for: each ends a step of its prompt.
const MOST_ASKED: usize = 8;

/// A sequence, waiting or running.
#[derive(Debug)]
pub struct Sequence {
    pub(super) id: SequenceId,
    /// How often a later one began while it waited.
    pub(super) overtaken: usize,
    /// Its prompt is the beginning of `tokens`.
    request: Request,
    sampling: Option<Arc<RowParameters>>,
    context: usize,
    /// The prompt and what was generated, as far as it was read.
    tokens: Vec<u32>,
    prompt: usize,
    /// How many of `tokens` the host tells the device: those of its start, or of when it was left out of a choice.
    known: usize,
    /// Tokens whose keys and values are in the cache, or will be when the steps in flight are done.
    computed: usize,
    /// Tokens that the device has chosen and the host has not read.
    unread: usize,
    /// Tokens of the prompt that were computed before it started; none before it starts.
    cached: Option<usize>,
    /// Tokens of the prompt whose next one is scored, where that is asked for.
    scored: usize,
    /// Tokens that were computed before it started and that its slot's history has not yet, where that is read.
    unnoted: usize,
    /// Ends of pages where it is to leave snapshots, in no order, and how many others have asked for.
    stops: Vec<usize>,
    asked: usize,
    /// Hash of the tokens up to the end of each whole page.
    prefixes: Prefixes,
    holding: Holding,
    /// How often it began to run.
    starts: u32,
    thinking: Option<Thinking>,
    constrained: Option<Constrained>,
    /// What is to come behind its last token.
    forced: Option<Arc<[u32]>>,
    /// Those of it that come instead of what the device chooses, one after the other, for it tells how likely they are.
    owed: VecDeque<u32>,
}

impl Sequence {
    /// A sequence that has no slot yet.
    pub fn new(id: SequenceId, mut request: Request, context: usize, vocab: usize) -> Sequence {
        let parameters = || Arc::new(RowParameters::new(&request.sampling, request.prompt.len(), &request.eos, vocab));
        let sampling = (!request.sampling.is_greedy()).then(parameters);
        request.max_tokens = request.most_tokens();
        let tokens = std::mem::take(&mut request.prompt);
        let thinking = request.thinking.take().map(Thinking::new);
        let constrained = request.constraint.take().map(|_| Constrained::new());
        Sequence {
            id,
            overtaken: 0,
            request,
            sampling,
            context,
            prompt: tokens.len(),
            known: tokens.len(),
            computed: 0,
            unread: 0,
            cached: None,
            scored: 0,
            unnoted: 0,
            stops: Vec::new(),
            asked: 0,
            prefixes: Prefixes::of(&tokens),
            tokens,
            holding: Holding::default(),
            starts: 0,
            thinking,
            constrained,
            forced: None,
            owed: VecDeque::new(),
        }
    }

    /// Pages for the prompt and all tokens that may follow; the last token is never computed.
    pub fn pages_needed(&self) -> usize {
        pages(self.prompt.saturating_add(self.request.max_tokens).min(self.context))
    }

    /// Pages that the next `tokens` tokens need, those in front of them included.
    pub fn pages_behind(&self, tokens: usize) -> usize {
        pages(self.computed + tokens)
    }

    /// Who shares cached prefixes with it.
    pub fn cache_salt(&self) -> u64 {
        self.request.cache_salt
    }

    /// Tokens of the prompt.
    pub fn prompt_tokens(&self) -> usize {
        self.prompt
    }

    /// The prompt and what was generated, as far as it was read.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Gives the sequence what it needs to run; its pages hold the first `computed` tokens already.
    pub fn start(&mut self, holding: Holding, computed: usize) {
        self.holding = holding;
        self.computed = computed;
        self.known = self.tokens.len();
        self.unnoted = if self.request.sampling.reads_history() { computed } else { 0 };
        self.cached.get_or_insert(computed);
        self.stops.clear();
        self.asked = 0;
        self.starts += 1;
    }

    /// How often it began to run: what was on its way before is none of its own.
    pub fn starts(&self) -> u32 {
        self.starts
    }

    /// Takes back what [`Sequence::start`] gave, and says how many tokens the pages hold. What is unread then never is.
    ///
    /// The token that came last is not among them, though a device that ran ahead may have computed it; nor is what such
    /// a device has chosen and nobody has read.
    pub fn stop(&mut self) -> (Holding, usize) {
        let read = self.tokens.len() - usize::from(self.tokens.len() > self.prompt);
        let settled = self.computed.min(read).max(self.holding.shared_tokens());
        (self.computed, self.unread) = (0, 0);
        (std::mem::take(&mut self.holding), settled)
    }

    /// Whether it ran before, and made room for others.
    pub fn was_preempted(&self) -> bool {
        self.cached.is_some()
    }

    /// Tokens of the prompt that another sequence had computed.
    pub fn cached_tokens(&self) -> usize {
        self.cached.unwrap_or(0)
    }

    /// What it has of the cache.
    pub fn holding_mut(&mut self) -> &mut Holding {
        &mut self.holding
    }

    /// What it has of the cache.
    pub fn holding(&self) -> &Holding {
        &self.holding
    }

    /// What it has of the cache, and the tokens that are computed there for good, as far as they are known.
    pub fn computed_tokens(&mut self) -> (&mut Holding, &[u32]) {
        let settled = self.settled().min(self.tokens.len());
        (&mut self.holding, &self.tokens[..settled])
    }

    /// Whole pages that both begin with.
    pub fn common_pages(&self, other: &Sequence) -> usize {
        self.prefixes.common(&other.prefixes)
    }

    /// Tokens of its pages that are in the tree.
    pub fn shared_tokens(&self) -> usize {
        self.holding.shared_tokens()
    }

    /// The sequence's slot.
    pub fn slot(&self) -> usize {
        self.holding.slot
    }

    /// Tokens in the cache once the steps in flight are done.
    pub fn computed(&self) -> usize {
        self.computed
    }

    /// Tokens that wait to be computed: the rest of the prompt, or the one chosen last. None when the sequence ends
    /// with the token that is on its way.
    pub fn pending(&self) -> usize {
        let total = self.tokens.len() + self.unread;
        let wanted = total - self.prompt < self.request.max_tokens && total < self.context;
        if wanted { total - self.computed } else { 0 }
    }

    /// Whether its prompt may be partly computed already: of what was computed before there are no logits.
    pub fn may_resume(&self) -> bool {
        self.scores().is_none()
    }

    /// Tokens in front that the history of its slot lacks, and that are read there.
    pub fn unnoted(&self) -> usize {
        self.unnoted
    }

    /// Those tokens, as spans of at most so many rows, for a step that notes them and computes nothing.
    pub fn take_unnoted(&mut self, rows: usize) -> Vec<Span> {
        let end = std::mem::take(&mut self.unnoted);
        let span = |start: usize| Span {
            ids: self.tokens[start..end.min(start + rows)].iter().map(|&id| id as i32).collect(),
            position: start,
            pages: self.holding.pages.clone(),
            slot: self.holding.slot,
            sampling: self.sampling.clone(),
            ..Span::default()
        };
        (0..end).step_by(rows).map(span).collect()
    }

    /// How many of the best tokens come with the scores of its prompt's tokens; none where no further one is scored.
    pub fn scores(&self) -> Option<usize> {
        self.request.prompt_logprobs.filter(|_| self.scored + 1 < self.prompt)
    }

    /// The positions among its next `tokens` tokens whose rows of logits score the token behind.
    pub fn scored_rows(&self, tokens: usize) -> Range<usize> {
        let end = (self.computed + tokens).min(self.prompt - 1);
        let first = self.computed.max(self.scored).min(end);
        if self.scores().is_some() { first..end } else { end..end }
    }

    /// Notes that the rows of logits in front of position `end` were read.
    pub fn note_scores(&mut self, end: usize) {
        self.scored = end;
    }

    /// Rows of logits of its next `tokens` tokens: the last of them chooses a token, if it is the last one pending.
    pub fn logit_rows(&self, tokens: usize) -> usize {
        self.scored_rows(tokens).len() + usize::from(tokens == self.pending())
    }

    /// How many of its pending tokens have no more than `rows` rows of logits.
    pub fn tokens_within(&self, tokens: usize, rows: usize) -> usize {
        let over = self.logit_rows(tokens).saturating_sub(rows);
        tokens - over.min(tokens)
    }

    /// How many of the best tokens come with each of its tokens, if any are asked for.
    pub fn logprobs(&self) -> Option<usize> {
        self.request.logprobs
    }

    /// Which log-probability comes with the token that is chosen next, or that comes instead of it.
    fn told(&self) -> Logprobs {
        if self.request.logprobs.is_none() {
            return Logprobs::None;
        }
        let position = self.tokens.len() + self.unread;
        let last = position + 1 - self.prompt == self.request.max_tokens;
        let forced = last.then(|| self.request.sampling.forced_last(position)).flatten();
        self.owed.front().copied().or(forced).map_or(Logprobs::Chosen, Logprobs::Of)
    }

    /// Whether all tokens are computed that the host tells.
    pub fn is_decoding(&self) -> bool {
        self.computed >= self.known
    }

    /// The next `tokens` tokens as a share of a step.
    pub fn span(&self, tokens: usize) -> Span {
        let samples = tokens == self.pending();
        let slot = self.holding.slot;
        let ids = if self.is_decoding() {
            vec![-1 - slot as i32]
        } else {
            self.tokens[self.computed..self.computed + tokens].iter().map(|&id| id as i32).collect()
        };
        let (pages, logit_rows) = (self.holding.pages.clone(), self.logit_rows(tokens));
        let logprobs = if samples { self.told() } else { Logprobs::None };
        let (position, sampling) = (self.computed, self.sampling.clone());
        let masked = self.constrained.is_some();
        Span { ids, position, pages, slot, logit_rows, samples, sampling, logprobs, masked }
    }

    /// Notes that the next `tokens` tokens are in a step; the last of all pending ones chooses a token.
    pub fn advance(&mut self, tokens: usize) {
        self.unread += usize::from(tokens == self.pending());
        self.computed += tokens;
    }

    /// Takes the token that the device chose, and says whether the sequence ends with it. The last token of all may be a
    /// forced one: no step reads it. Behind an owed one the sequence begins again.
    pub fn push(&mut self, token: u32) -> (u32, Option<Finish>) {
        self.unread -= 1;
        if let Some(owed) = self.owed.pop_front() {
            self.forced = Some(Arc::default());
            return (owed, self.append(owed));
        }
        let last = self.generated() + 1 == self.request.max_tokens;
        let token = if last { self.request.sampling.forced_last(self.tokens.len()).unwrap_or(token) } else { token };
        let reasoned = self.thinking.as_ref().is_some_and(Thinking::is_within);
        self.forced = self.thinking.as_mut().and_then(|thinking| thinking.push(token));
        self.note_answer(token, reasoned);
        (token, self.append(token))
    }

    /// What is to come behind the token that came last, instead of what the device chooses.
    pub fn take_forced(&mut self) -> Option<Arc<[u32]>> {
        self.forced.take()
    }

    /// Has tokens come instead of those that the device chooses next.
    pub fn owe(&mut self, tokens: &[u32]) {
        self.owed.extend(tokens);
    }

    /// Appends a token, and says whether the sequence ends with it.
    pub fn append(&mut self, token: u32) -> Option<Finish> {
        self.tokens.push(token);
        self.prefixes.push(token);
        self.finish(token)
    }

    fn generated(&self) -> usize {
        self.tokens.len() - self.prompt
    }

    fn finish(&self, token: u32) -> Option<Finish> {
        // What is to come has room as a whole: a part of it would end no reasoning, and be none.
        let next = self.forced.as_ref().map_or(1, |forced| forced.len().max(1));
        if self.request.eos.contains(&token) {
            Some(Finish::Stop)
        } else if self.generated() + next > self.request.max_tokens {
            Some(Finish::Length)
        } else if self.tokens.len() + next > self.context {
            Some(Finish::Context)
        } else {
            None
        }
    }
}

/// Pages of so many tokens.
fn pages(tokens: usize) -> usize {
    tokens.div_ceil(PAGE_TOKENS as usize)
}
