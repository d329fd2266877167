//! `Masks`: the masks of constrained sequences, made on threads of their own while the step runs that needs them.
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::constraint::{Constraint, TokenMatcher};
use super::request::SequenceId;
use crate::error::{Category, Error, Result};

/// Most threads that make masks: what they do takes a fraction of a step.
const MOST_THREADS: usize = 8;

/// Least threads: one that is at a slow mask holds up no other.
const LEAST_THREADS: usize = 2;

/// Threads for the masks of sequences that wait outside the steps: they hold up no other mask.
const SLOW_THREADS: usize = 2;

/// Bytes of their stacks: a grammar may be nested deeply.
const STACK: usize = 64 << 20;

/// Where the masks of a sequence take longer than that, as they did of late on average, they hold up no step: the sequence
/// waits outside the steps for each.
const QUICK: Duration = Duration::from_millis(2);

/// The weight of the last mask in that average: a rare mask that is slow is waited for.
const LAST: u32 = 8;

/// In how many steps one after the other a sequence takes part though its mask is not there yet; then it waits for it outside.
const MOST_LATE: u32 = 2;

/// What may come next in a sequence: the matcher behind its last token, and its mask.
pub(super) struct Ready {
    matcher: Box<dyn TokenMatcher>,
    pub mask: Vec<u32>,
    /// Whether the sequence waits outside the steps.
    slow: bool,
}

/// What a sequence knows of its constraint.
pub(super) struct Constrained {
    /// None while the first mask, or the one behind the token that was read last, is on its way.
    ready: Option<Ready>,
    /// The token that was read last, where it is the constraint's.
    pub read: Option<u32>,
    /// How long its masks take, 0 before the first: a grammar is compiled before its requests are taken.
    time: Duration,
    /// Steps whose choice the mask that is on its way has missed.
    late: u32,
}

impl Constrained {
    /// A constraint whose first mask is on its way.
    pub fn new() -> Constrained {
        Constrained { ready: None, read: None, time: Duration::ZERO, late: 0 }
    }

    /// Whether the next step may choose a token of it, where `unread` tokens are on their way.
    pub fn may_step(&self, unread: usize) -> bool {
        (self.time <= QUICK && self.late < MOST_LATE) || (unread == 0 && self.ready.is_some())
    }

    /// Notes that a step has chosen without its mask.
    pub fn note_late(&mut self) {
        self.late += 1;
    }

    /// The mask of the next token, where it is there.
    pub fn ready(&self) -> Option<&Ready> {
        self.ready.as_ref()
    }

    /// Takes the matcher, where a token was read that it is to be given.
    pub fn take(&mut self) -> Option<(Ready, u32)> {
        let token = self.read.take()?;
        self.ready.take().map(|ready| (ready, token))
    }

    /// Takes the mask that was made in `time`.
    pub fn set(&mut self, mut ready: Ready, time: Duration) {
        self.time = self.time - self.time / LAST + time / LAST;
        ready.slow = self.time > QUICK;
        self.late = 0;
        self.ready = Some(ready);
    }
}

impl std::fmt::Debug for Constrained {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Constrained").field("time", &self.time).finish_non_exhaustive()
    }
}

/// A mask that was made, or why there is none.
pub(super) struct Made {
    pub sequence: SequenceId,
    pub ready: Result<Ready>,
    pub time: Duration,
}

/// The threads, and what they have made.
pub(super) struct Masks {
    /// Those for sequences in step, and those for others.
    threads: [Option<ThreadPool>; 2],
    made: Sender<Made>,
    taken: Receiver<Made>,
    working: usize,
}

impl Masks {
    pub fn new() -> Masks {
        let (made, taken) = channel();
        Masks { threads: [None, None], made, taken, working: 0 }
    }

    /// Makes the first mask of a sequence.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn start(&mut self, sequence: SequenceId, constraint: Constraint) -> Result<()> {
        self.make(sequence, false, move || {
            let mut matcher = constraint.start()?;
            Ok(Ready { mask: matcher.mask()?, matcher, slow: false })
        })
    }

    /// Makes the mask behind `token`.
    ///
    /// # Errors
    /// As [`Masks::start`].
    pub fn go_on(&mut self, sequence: SequenceId, ready: Ready, token: u32) -> Result<()> {
        self.make(sequence, ready.slow, move || {
            let mut matcher = ready.matcher;
            matcher.push(token)?;
            Ok(Ready { mask: matcher.mask()?, matcher, slow: false })
        })
    }

    fn make(
        &mut self,
        sequence: SequenceId,
        slow: bool,
        work: impl FnOnce() -> Result<Ready> + Send + 'static,
    ) -> Result<()> {
        let pool = &mut self.threads[usize::from(slow)];
        let threads = match pool.take() {
            Some(threads) => threads,
            None => threads(if slow { SLOW_THREADS } else { MOST_THREADS })?,
        };
        let made = self.made.clone();
        threads.spawn(move || {
            let start = Instant::now();
            let ready = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(died(&*panic)));
            // Nobody takes it any more where the engine ends.
            let _ = made.send(Made { sequence, ready, time: start.elapsed() });
        });
        *pool = Some(threads);
        self.working += 1;
        Ok(())
    }

    /// A mask that was made meanwhile.
    pub fn try_take(&mut self) -> Option<Made> {
        let made = self.taken.try_recv().ok()?;
        self.working -= 1;
        Some(made)
    }

    /// The next mask; none where nothing is being made, or it takes longer than `time`.
    pub fn take_within(&mut self, time: Duration) -> Option<Made> {
        if self.working == 0 {
            return None;
        }
        let made = self.taken.recv_timeout(time).ok()?;
        self.working -= 1;
        Some(made)
    }
}

fn threads(most: usize) -> Result<ThreadPool> {
    let count = available_parallelism().map_or(1, |cores| cores.get().div_ceil(2)).clamp(LEAST_THREADS, most);
    let threads = ThreadPoolBuilder::new().num_threads(count).stack_size(STACK);
    let threads = threads.thread_name(|index| format!("mask {index}")).build();
    threads.map_err(|error| {
        Error::new(Category::Device, "Threads for masks cannot start")
            .details(format_args!("{count} were asked for: {error}"))
            .hint("raise the limit on threads (ulimit -u), or end other programs")
    })
}

fn died(panic: &(dyn Any + Send)) -> Error {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::new(Category::Internal, "A constraint has failed")
        .details(said.unwrap_or("it did not say why"))
        .hint("report this with the schema, expression or grammar: it is a fault of the program")
}
