//! Streaming: pieces of text to an output at once, and Ctrl-C, which ends a generation.
use std::io::Write;
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::console::Loudness;
use super::failure::Failure;
use crate::error::{Category, Error, Result};
use crate::session::{Generation, Note};

/// The exit code of a program that SIGINT ended.
pub const INTERRUPTED: u8 = 130;

/// How long a generation may take to end before the user is told what else to do.
const PATIENCE: Duration = Duration::from_millis(300);

/// Writes each piece of what `generate` gives at once; where nobody reads any more, the generation ends too.
pub fn stream(
    out: &mut impl Write,
    interrupt: &AtomicBool,
    generate: impl FnOnce(&mut dyn FnMut(&str)) -> Result<Generation>,
) -> std::result::Result<Generation, Failure> {
    let mut written = Ok(());
    let generation = generate(&mut |piece| {
        if written.is_ok() {
            written = out.write_all(piece.as_bytes()).and_then(|()| out.flush());
        }
        if written.is_err() {
            interrupt.store(true, Ordering::Relaxed);
        }
    })?;
    written?;
    Ok(generation)
}

/// A flag that Ctrl-C sets; a second Ctrl-C while it is set ends the program at once.
pub fn interrupt(loudness: Loudness) -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let handlers = flag.clone();
    let handler = move || {
        if handlers.swap(true, Ordering::Relaxed) {
            exit(INTERRUPTED.into());
        }
        let still = handlers.clone();
        thread::spawn(move || {
            thread::sleep(PATIENCE);
            if still.load(Ordering::Relaxed) {
                loudness.note(&Note::Info("Interrupted; Ctrl-C again to quit at once".to_owned()));
            }
        });
    };
    ctrlc::set_handler(handler).map_err(|error| {
        Error::new(Category::Io, "Ctrl-C cannot be handled").details(error).hint("another handler is installed")
    })?;
    Ok(flag)
}
