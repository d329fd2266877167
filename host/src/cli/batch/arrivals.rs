//! `Arrivals`: the lines of a batch as they come. A thread of its own reads them, so that none waits for the input's end.
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::time::Duration;

use super::text::{Read, Text, unreadable};
use crate::error::{Category, Error, Result};

/// Bytes that are read and not yet asked for, before no more are read.
const MOST_WAITING: usize = 64 << 20;

/// How long somebody who may wait waits.
const MOMENT: Duration = Duration::from_millis(20);

/// What came.
pub enum Came {
    /// A line, and its number, from 1 on.
    Line(u64, Result<String>),
    /// Nothing yet.
    Nothing,
    /// Nothing more will come.
    End,
}

/// The lines of a batch.
pub struct Arrivals {
    name: String,
    lines: Receiver<Read>,
    /// Bytes that were read and not asked for.
    waiting: Arc<AtomicUsize>,
    /// Whether there is a file, whose lines are all there.
    is_file: bool,
}

impl Arrivals {
    /// Begins to read lines of at most `most` bytes.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn of(text: Text, most: usize) -> Result<Arrivals> {
        let (sender, lines) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let (name, is_file, ahead) = (text.name().to_owned(), text.is_file(), waiting.clone());
        // Nobody waits for this thread: where stdin says nothing, it ends with the program.
        let reader = move || {
            for read in text.lines(most) {
                while ahead.load(Ordering::Relaxed) > MOST_WAITING {
                    std::thread::sleep(Duration::from_millis(1));
                }
                ahead.fetch_add(read.bytes(), Ordering::Relaxed);
                if sender.send(read).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("lines".to_owned()).spawn(reader).map_err(|error| {
            Error::new(Category::Io, "Lines cannot be read")
                .details(format_args!("a thread was asked for: {error}"))
                .hint("raise the limit on threads (ulimit -u), or end other programs")
        })?;
        Ok(Arrivals { name, lines, waiting, is_file })
    }

    /// The next line; with `wait`, after a moment if there is none yet.
    pub fn next(&self, wait: bool) -> Came {
        let read = match (self.is_file, wait) {
            (true, _) => self.lines.recv().map_err(|_| TryRecvError::Disconnected),
            (false, false) => self.lines.try_recv(),
            (false, true) => self.lines.recv_timeout(MOMENT).map_err(|error| match error {
                RecvTimeoutError::Timeout => TryRecvError::Empty,
                RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
            }),
        };
        match read {
            Err(TryRecvError::Empty) => Came::Nothing,
            Err(TryRecvError::Disconnected) => Came::End,
            Ok(read) => {
                self.waiting.fetch_sub(read.bytes(), Ordering::Relaxed);
                match read {
                    Read::Line(number, text) => Came::Line(number, Ok(text)),
                    Read::Bad(number, what) => Came::Line(number, Err(bad_line(&self.name, number, what))),
                    Read::Failed(number, error) => Came::Line(number, Err(unreadable(Path::new(&self.name), &error))),
                }
            }
        }
    }

    /// Where the lines come from.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The error of a line that is not understood.
pub fn bad_line(name: &str, number: u64, what: impl std::fmt::Display) -> Error {
    Error::new(Category::Input, "A line of the batch is not understood")
        .details(format_args!("{name}, line {number}: {what}"))
        .hint("each line is a prompt, or an object such as {\"prompt\": \"Hello\", \"temperature\": 0.7}")
}
