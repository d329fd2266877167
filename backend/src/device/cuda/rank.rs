//! `Rank`: a GPU among those that hold a model together: it waits for what is enqueued, but not for a rank that does not come.
use std::sync::Arc;
use std::time::{Duration, Instant};

use cust::error::CudaResult;

use super::communicator::{COUNTERS, Communicator, late, left};
use super::failure::{RANK_TIMEOUT, failed, lost};
use super::host_words::HostWords;
use crate::device::Seat;
use crate::error::{Category, Error, Result};

/// Looks at the GPU's counters before ranks that stand still are given up.
const LOOKS: u32 = 8;
/// How many times as long a thread may take: it loads what was not used before.
const LOADING: u32 = 15;
/// How long a wait asks again and again before it sleeps between two questions.
const SPIN: Duration = Duration::from_millis(20);
/// How long it sleeps.
const NAP: Duration = Duration::from_micros(50);

/// One of several ranks.
pub struct Rank {
    /// Where counters are copied to.
    seen: HostWords,
    number: usize,
    seat: Seat,
    timeout: Duration,
    communicator: Arc<Communicator>,
}

impl Rank {
    /// Rank `number`, whose context is current.
    ///
    /// # Errors
    /// Pinned memory is short.
    pub fn new(number: usize, seat: Seat, communicator: Arc<Communicator>, timeout: Duration) -> Result<Rank> {
        Ok(Rank { seen: HostWords::new(COUNTERS)?, number, seat, timeout, communicator })
    }

    /// Which of the ranks.
    pub fn number(&self) -> usize {
        self.number
    }

    /// What it shares with the others.
    pub fn communicator(&self) -> &Communicator {
        &self.communicator
    }

    /// Waits until the threads of all ranks have come here. Behind it none of them allocates, loads or frees in front of the next
    /// kernel in which ranks meet: the driver may have such calls wait for GPUs that wait for this one.
    ///
    /// # Errors
    /// Another rank has failed, or does not come; or the GPU stands still, which needs no thread any more to get on.
    pub fn meet_on_host(&self) -> Result<()> {
        let round = self.seat.come(Vec::new());
        let (start, mut watch) = (Instant::now(), Watch::start(self.timeout));
        while self.seat.wait(round, self.timeout / LOOKS)?.is_none() {
            let now = Instant::now();
            self.look(&mut watch, now)?;
            if let Some(other) = self.seat.late().filter(|_| now > start + self.timeout * LOADING) {
                return Err(self.in_vain(other));
            }
        }
        Ok(())
    }

    /// Notes that a run is enqueued whole.
    pub fn end_run(&self) {
        self.seat.end_run();
    }

    /// Has the others, their threads and GPUs, wait for this rank no longer.
    pub fn give_up(&self) {
        self.communicator.abort();
        self.seat.give_up();
    }

    /// Waits until the GPU has done something.
    ///
    /// # Errors
    /// It failed; or it, or a rank that it waits for, stands still.
    pub fn wait(&self, is_done: impl Fn() -> CudaResult<bool>) -> Result<()> {
        let start = Instant::now();
        let mut watch = Watch::start(self.timeout);
        while !is_done().map_err(lost)? {
            let now = Instant::now();
            if now >= watch.next {
                self.look(&mut watch, now)?;
            }
            if now > start + SPIN {
                std::thread::sleep(NAP);
            }
        }
        match self.communicator.given_up(self.number) {
            Some(other) => Err(self.in_vain(other)),
            None => Ok(()),
        }
    }

    /// Looks whether the GPU gets on.
    fn look(&self, watch: &mut Watch, now: Instant) -> Result<()> {
        if !watch.stands_still(self.counters(self.number)?, now, self.timeout) {
            return Ok(());
        }
        if self.communicator.is_aborted() {
            return Err(failed(format_args!("ending what rank {} waits for", self.number), "its GPU does not answer"));
        }
        let waits_for = match late(&watch.counters, self.number, self.seat.ranks()) {
            Some(other) => Some(self.in_vain(other)),
            None => self.left(&watch.counters)?.map(|other| self.deserted(other)),
        };
        // Where there is nobody it is at work, or one that it waits for is.
        waits_for.map_or(Ok(()), |error| {
            self.communicator.abort();
            Err(error)
        })
    }

    /// Who has left the meeting that the GPU is in, whose counters were `seen`.
    fn left(&self, seen: &[i32]) -> Result<Option<usize>> {
        // A GPU whose counters cannot be read tells nothing: that it stands still is said elsewhere.
        let counters: Option<Vec<_>> = (0..self.seat.ranks()).map(|rank| self.counters(rank).ok()).collect();
        let other = counters.and_then(|counters| left(&counters, self.number));
        if other.is_some() {
            // One that has just left has sent all: this GPU has it by then.
            std::thread::sleep(SPIN);
        }
        Ok(if self.counters(self.number)? == seen { other } else { None })
    }

    /// The flags and epochs of a rank as they are now.
    fn counters(&self, rank: usize) -> Result<Vec<i32>> {
        self.communicator.counters(rank, self.number, &self.seen)
    }

    fn in_vain(&self, other: usize) -> Error {
        self.waits_for(other, "does not come").hint(format_args!(
            "what that rank says is the cause; {RANK_TIMEOUT} is how many seconds a rank may stand still, by default 4"
        ))
    }

    fn deserted(&self, other: usize) -> Error {
        self.waits_for(other, "has sent it less and gone on")
            .hint("report this with the command and the model: the ranks do not run the same plan")
    }

    fn waits_for(&self, other: usize, does: &str) -> Error {
        let ordinal = |rank| self.communicator.ordinal(rank);
        Error::new(Category::Device, "A rank waits in vain").details(format_args!(
            "rank {} on GPU {} waits for rank {other} on GPU {}, which {does}",
            self.number,
            ordinal(self.number),
            ordinal(other)
        ))
    }
}

/// What a wait has seen of its GPU.
struct Watch {
    next: Instant,
    /// When the counters changed last.
    moved: Instant,
    counters: Vec<i32>,
}

impl Watch {
    fn start(timeout: Duration) -> Watch {
        let now = Instant::now();
        Watch { next: now + timeout / LOOKS, moved: now, counters: Vec::new() }
    }

    /// Whether the counters, which are these `now`, have not changed for `timeout`. A look that comes much too late begins anew: the
    /// process was stopped, and with it the threads that give the others their work.
    fn stands_still(&mut self, counters: Vec<i32>, now: Instant, timeout: Duration) -> bool {
        if counters != self.counters || now > self.next + timeout / 2 {
            (self.counters, self.moved) = (counters, now);
        }
        self.next = now + timeout / LOOKS;
        now >= self.moved + timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_stands_still_where_its_counters_do_while_somebody_looks() {
        let timeout = Duration::from_secs(4);
        let mut watch = Watch::start(timeout);
        let start = watch.moved;
        let mut look =
            |counter, eighths: u32| watch.stands_still(vec![counter], start + timeout / 8 * eighths, timeout);
        assert!((1..9).all(|eighths| !look(1, eighths)));
        assert!(!look(2, 9), "it gets on");
        assert!((10..17).all(|eighths| !look(2, eighths)));
        assert!(look(2, 17), "it stands still");
        assert!(!look(2, 1000), "the process was stopped");
        assert!((1001..1008).all(|eighths| !look(2, eighths)));
        assert!(look(2, 1008));
    }
}
