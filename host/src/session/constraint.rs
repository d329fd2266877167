//! Constraints of answers: a grammar over the model's tokens, as the engine's matcher.
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::engine::{Constraint, TokenMatcher};
use crate::error::{Category, Error, Result};
use crate::text::{GrammarMatcher, GrammarSource, GrammarTokens, Tokenizer};

/// Grammars that are kept, for a client asks for the same one again and again.
const KEPT: usize = 16;

/// The tokens of a model as grammars need them, made when the first one asks for them, and the grammars that came last.
#[derive(Default)]
pub(super) struct GrammarCache {
    tokens: OnceLock<Result<Arc<GrammarTokens>>>,
    kept: Mutex<VecDeque<(GrammarSource, Constraint)>>,
}

impl GrammarCache {
    /// What `source` asks of an answer of `tokenizer`, which tokens of `eos` end. It takes milliseconds, and for the first of a
    /// model longer.
    ///
    /// # Errors
    /// It is no such schema, expression or grammar, has what is not supported, or would cost too much.
    pub fn constraint(&self, tokenizer: &Tokenizer, source: &GrammarSource, eos: &[u32]) -> Result<Constraint> {
        if eos.is_empty() {
            return Err(Error::new(Category::Input, "An answer's form needs a token that ends it")
                .details("expected an id in eos_token_id, found none, or --ignore-eos")
                .hint("leave --ignore-eos out"));
        }
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = kept().iter().find(|(known, _)| known == source) {
            return Ok(known.clone());
        }
        let tokens = self.tokens.get_or_init(|| GrammarTokens::new(tokenizer, eos).map(Arc::new)).clone()?;
        let grammar = tokens.compile(source)?;
        let constraint = Constraint::new(move || Ok(Box::new(grammar.start())));
        let constraint = if matches!(source, GrammarSource::FreeCalls(_)) { constraint.open() } else { constraint };
        let mut kept = kept();
        kept.truncate(KEPT - 1);
        kept.push_front((source.clone(), constraint.clone()));
        Ok(constraint)
    }
}

impl TokenMatcher for GrammarMatcher {
    fn push(&mut self, token: u32) -> Result<()> {
        GrammarMatcher::push(self, token)
    }

    fn mask(&mut self) -> Result<Vec<u32>> {
        GrammarMatcher::mask(self)
    }
}
