//! `Failure`: how a command can end early, and the guard that makes an error of a panic.
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::Mutex;

use crate::error::{Category, Error};

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// Something went wrong; the user is told.
    Error(Error),
    /// Nobody reads the output any more: `| head -1`.
    Closed,
    /// Ctrl-C ended it; what was done is written.
    Interrupted,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Error(error)
    }
}

/// Writing to stdout failed.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::Closed;
        }
        Failure::Error(
            Error::new(Category::Io, "Output cannot be written")
                .details(format!("stdout: {error}"))
                .hint("make room on the disk, or send the output elsewhere"),
        )
    }
}

/// Where the last panic was and what it said.
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Runs `command`; a panic, which is a fault of this program, becomes an error and prints nothing by itself.
pub fn guarded(command: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    set_hook(Box::new(|panic| {
        if let Ok(mut last) = LAST_PANIC.lock() {
            *last = panic.to_string().replace('\n', " ");
        }
    }));
    catch_unwind(AssertUnwindSafe(command)).unwrap_or_else(|_| {
        let last = LAST_PANIC.lock().map(|last| last.clone()).unwrap_or_default();
        Err(Failure::Error(
            Error::new(Category::Internal, "The program made a mistake")
                .details(last.trim_start_matches("panicked at "))
                .hint("please report this, with the command and the model"),
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_that_says_where() {
        let outcome = guarded(|| panic!("page 7\nis lost"));
        drop(std::panic::take_hook());
        let Err(Failure::Error(error)) = outcome else { panic!("an error was expected") };
        let text = error.to_string();
        assert!(text.starts_with("[ERROR] Internal: ") && text.contains("failure.rs:"), "{text}");
        assert!(text.contains("page 7 is lost") && text.lines().count() == 3, "{text}");
    }

    #[test]
    fn a_broken_pipe_is_no_error() {
        assert!(matches!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)), Failure::Closed));
        assert!(matches!(Failure::from(io::Error::from(io::ErrorKind::StorageFull)), Failure::Error(_)));
    }
}
