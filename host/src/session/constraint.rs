//! Constraints of answers: a grammar over the model's tokens, as the engine's matcher.
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::engine::{Constraint, TokenMatcher};
use crate::error::{Category, Error, Result};
use crate::text::{GrammarMatcher, GrammarSource, GrammarTokens, Tokenizer};

/// Grammars that are kept, for a client asks for the same one again and again.
const KEPT: usize = 16;

/// A form of answers that a model's tokens were held against.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerForm(pub(super) Constraint);

/// The tokens of a model as grammars need them, made when the first one asks for them, and the grammars that were asked for last,
/// the last one in front.
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
        if let Some(known) = asked_again(&mut kept(), source) {
            return Ok(known);
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

fn asked_again(kept: &mut VecDeque<(GrammarSource, Constraint)>, source: &GrammarSource) -> Option<Constraint> {
    let place = kept.iter().position(|(known, _)| known == source)?;
    let found = kept.remove(place)?;
    let constraint = found.1.clone();
    kept.push_front(found);
    Some(constraint)
}

impl TokenMatcher for GrammarMatcher {
    fn push(&mut self, token: u32) -> Result<()> {
        GrammarMatcher::push(self, token)
    }

    fn mask(&mut self) -> Result<Vec<u32>> {
        GrammarMatcher::mask(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grammar_that_is_asked_for_again_and_again_stays() {
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/storyteller");
        let tokenizer = Tokenizer::open(std::path::Path::new(model)).expect("the demo model");
        let cache = GrammarCache::default();
        let asked = |text: &str| cache.constraint(&tokenizer, &GrammarSource::Choice(vec![text.into()]), &[2]);
        let first = asked("a").expect("a choice");
        for other in 0..2 * KEPT {
            asked(&format!("b{other}")).expect("a choice");
            assert!(asked("a").expect("a choice") == first, "{other}");
        }
        assert!(cache.kept.lock().expect("nobody died").len() == KEPT);
        for other in 0..KEPT {
            asked(&format!("c{other}")).expect("a choice");
        }
        assert!(asked("a").expect("a choice") != first);
    }
}
