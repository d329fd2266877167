//! `Budget`: how much a template may do, so that a hostile one ends soon with an error.
use std::cell::Cell;

use super::fault::{Fault, Result};

/// Statements, expressions and items; about a second of work.
const STEPS: u64 = 20_000_000;

/// Bytes of all values that a rendering makes, whether it keeps them or not.
const BYTES: u64 = 1 << 29;

/// Bytes of one value that cost as much as one step.
const BYTES_A_STEP: u64 = 64;

/// Statements and expressions inside one another while a template runs, macro calls counted in.
const DEPTH: u32 = 2_000;

/// What a value holds besides its text.
const BYTES_A_VALUE: usize = 48;

/// What is left of a rendering's steps and memory.
pub(super) struct Budget {
    steps: Cell<u64>,
    bytes: Cell<u64>,
    depth: Cell<u32>,
}

impl Budget {
    pub fn new() -> Budget {
        Budget { steps: Cell::new(STEPS), bytes: Cell::new(BYTES), depth: Cell::new(0) }
    }

    /// Takes `count` steps.
    pub fn steps(&self, count: usize) -> Result<()> {
        let left = self.steps.get().checked_sub(count as u64);
        self.steps.set(left.ok_or_else(|| Fault::limit(format!("it took more than {STEPS} steps")))?);
        Ok(())
    }

    /// Takes the memory of a text, before it is made.
    pub fn bytes(&self, count: usize) -> Result<()> {
        self.steps(1 + count / BYTES_A_STEP as usize)?;
        let left = self.bytes.get().checked_sub(count as u64);
        let too_much = || Fault::limit(format!("it made more than {} MiB of text and values", BYTES >> 20));
        self.bytes.set(left.ok_or_else(too_much)?);
        Ok(())
    }

    /// Takes the memory of `count` items, before they are made.
    pub fn items(&self, count: usize) -> Result<()> {
        self.steps(count)?;
        self.bytes(count.saturating_mul(BYTES_A_VALUE))
    }

    /// Runs `work` one level deeper.
    pub fn deeper<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let depth = self.depth.get() + 1;
        if depth > DEPTH {
            return Err(Fault::limit(format!("maximum recursion depth exceeded ({DEPTH} levels)")));
        }
        self.depth.set(depth);
        let result = work();
        self.depth.set(depth - 1);
        result
    }
}
