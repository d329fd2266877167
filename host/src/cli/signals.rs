//! Signals as flags: who works looks at one now and then, and ends by itself.
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::console::Verbosity;
use crate::error::{Category, Error, Result};
use crate::session::Note;

/// The exit code of a program that SIGINT ended.
pub const INTERRUPTED: u8 = 130;

/// How long a generation may take to end before the user is told what else to do.
const PATIENCE: Duration = Duration::from_millis(300);

/// A flag that Ctrl-C sets; a second Ctrl-C while it is set ends the program at once.
pub fn interrupt(verbosity: Verbosity) -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let handlers = flag.clone();
    let handler = move || {
        if handlers.swap(true, Ordering::Relaxed) {
            exit(INTERRUPTED.into());
        }
        let still = handlers.clone();
        let reminder = move || {
            thread::sleep(PATIENCE);
            if still.load(Ordering::Relaxed) {
                verbosity.note(&Note::Info("Interrupted; Ctrl-C again to quit at once".to_owned()));
            }
        };
        // Without a thread nobody is reminded, and Ctrl-C works all the same.
        let _ = thread::Builder::new().spawn(reminder);
    };
    ctrlc::set_handler(handler).map_err(unhandled)?;
    Ok(flag)
}

/// As [`interrupt`], for what must not be left half done: SIGTERM sets the flag too.
pub fn interrupt_or_end(verbosity: Verbosity) -> Result<Arc<AtomicBool>> {
    let flag = interrupt(verbosity)?;
    let waits = runtime::Builder::new_current_thread().enable_io().build().map_err(unhandled)?;
    let mut signals = {
        let _entered = waits.enter();
        signal(SignalKind::terminate()).map_err(unhandled)?
    };
    let ended = flag.clone();
    let wait = move || {
        waits.block_on(async {
            while signals.recv().await.is_some() {
                ended.store(true, Ordering::Relaxed);
            }
        });
    };
    thread::Builder::new().spawn(wait).map_err(unhandled)?;
    Ok(flag)
}

fn unhandled(error: impl std::fmt::Display) -> Error {
    Error::new(Category::Io, "Signals cannot be handled").details(error).hint("another handler is installed")
}
