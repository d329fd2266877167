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
pub struct Constraint {
    start: Arc<StartMatcher>,
    is_open: bool,
}

impl Constraint {
    /// A constraint whose matchers `start` makes.
    pub fn new(start: impl Fn() -> Result<Box<dyn TokenMatcher>> + Send + Sync + 'static) -> Constraint {
        Constraint { start: Arc::new(start), is_open: false }
    }

    /// The same, of which more may come wherever a text may end: so the least tokens of a request hold.
    pub fn open(self) -> Constraint {
        Constraint { is_open: true, ..self }
    }

    /// Whether more may come wherever a text may end.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// The matcher of another sequence.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn start(&self) -> Result<Box<dyn TokenMatcher>> {
        (self.start)()
    }
}

impl PartialEq for Constraint {
    /// Whether both are the same one.
    fn eq(&self, other: &Constraint) -> bool {
        ptr::addr_eq(Arc::as_ptr(&self.start), Arc::as_ptr(&other.start))
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Constraint")
    }
}
