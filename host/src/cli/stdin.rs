//! Who reads stdin: it is one text, so one option alone can have it.
use std::sync::OnceLock;

use crate::error::{Category, Error, Result};

static TAKEN: OnceLock<&'static str> = OnceLock::new();

/// Notes that stdin is `what`.
///
/// # Errors
/// It is something else already.
pub fn take(what: &'static str) -> Result<()> {
    TAKEN.set(what).map_err(|_| {
        let before = TAKEN.get().copied().unwrap_or(what);
        Error::new(Category::Input, "Two options read stdin")
            .details(format_args!("expected - once, found it for the {before} and for the {what}"))
            .hint("name a file for one of them")
    })
}
