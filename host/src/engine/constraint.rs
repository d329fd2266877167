//! `Constraint`: which tokens a sequence may have, as a mask for each of its places.
use std::sync::Arc;
use std::{fmt, ptr};

use crate::error::Result;

/// What may come next in one sequence. It moves from thread to thread, and is asked on none of the engine's own.
pub trait TokenMatcher: Send {
    /// Takes the next token.
    ///
    /// # Errors
    /// It may not come here.
    fn push(&mut self, token: u32) -> Result<()>;

    /// The tokens that may come next, one at least: token `t` where bit `t % 32` of word `t / 32` is set. A word that is missing
    /// at the end allows nothing.
    ///
    /// # Errors
    /// It would take too long to say.
    fn mask(&mut self) -> Result<Vec<u32>>;
}

/// Makes the matcher of a sequence, at its beginning.
pub type StartMatcher = dyn Fn() -> Result<Box<dyn TokenMatcher>> + Send + Sync;

/// What the tokens of an answer must be. Where a request has [`ThinkingBudget`](super::ThinkingBudget) too, it holds behind the
/// reasoning.
#[derive(Clone)]
pub struct Constraint(Arc<StartMatcher>);

impl Constraint {
    /// A constraint whose matchers `start` makes.
    pub fn new(start: impl Fn() -> Result<Box<dyn TokenMatcher>> + Send + Sync + 'static) -> Constraint {
        Constraint(Arc::new(start))
    }

    /// The matcher of another sequence.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn start(&self) -> Result<Box<dyn TokenMatcher>> {
        (self.0)()
    }
}

impl PartialEq for Constraint {
    /// Whether both are the same one.
    fn eq(&self, other: &Constraint) -> bool {
        ptr::addr_eq(Arc::as_ptr(&self.0), Arc::as_ptr(&other.0))
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Constraint")
    }
}
