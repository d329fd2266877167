//! `Exchange`: where the threads of ranks wait for each other, and read what the others have brought.
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Category, Error, Result};

/// What each rank has brought, in the order of the ranks.
type Brought = Arc<Vec<Vec<f32>>>;

/// The place of one rank in an exchange.
#[derive(Clone, Debug)]
pub struct Seat {
    exchange: Arc<Exchange>,
    rank: usize,
}

#[derive(Debug)]
struct Exchange {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// What the ranks have brought so far to the round that goes on.
    coming: Vec<Option<Vec<f32>>>,
    /// What they brought to the round before.
    brought: Brought,
    rounds: u64,
    /// Runs that each rank has ended.
    ended: Vec<u64>,
    /// The first rank that failed.
    failed: Option<usize>,
}

impl Seat {
    /// The seats of an exchange, one for each rank.
    pub fn of_ranks(ranks: usize) -> Vec<Seat> {
        let state = State {
            coming: vec![None; ranks],
            brought: Arc::default(),
            rounds: 0,
            ended: vec![0; ranks],
            failed: None,
        };
        let exchange = Arc::new(Exchange { state: Mutex::new(state), changed: Condvar::new() });
        (0..ranks).map(|rank| Seat { exchange: exchange.clone(), rank }).collect()
    }

    /// How many ranks there are.
    pub fn ranks(&self) -> usize {
        self.lock().coming.len()
    }

    /// Brings something, waits until every rank has, and returns what all brought.
    ///
    /// # Errors
    /// A rank has failed; or it has ended the run that this one is in, and would never come.
    pub fn meet(&self, own: Vec<f32>) -> Result<Brought> {
        let round = self.come(own);
        loop {
            if let Some(brought) = self.wait(round, Duration::from_secs(3600))? {
                return Ok(brought);
            }
        }
    }

    /// Brings something to the round that goes on, whose number is for [`Seat::wait`].
    pub fn come(&self, own: Vec<f32>) -> u64 {
        let mut state = self.lock();
        let round = state.rounds;
        state.coming[self.rank] = Some(own);
        if state.coming.iter().all(Option::is_some) {
            state.brought = Arc::new(state.coming.iter_mut().filter_map(Option::take).collect());
            state.rounds += 1;
            self.exchange.changed.notify_all();
        }
        round
    }

    /// What all ranks brought to a round that this one has come to last; none where one has not come within `limit`.
    ///
    /// # Errors
    /// As of [`Seat::meet`].
    pub fn wait(&self, round: u64, limit: Duration) -> Result<Option<Brought>> {
        let (start, mut state) = (Instant::now(), self.lock());
        // Nobody brings a round to its end before this rank has come to it: what was brought stays until then.
        while state.rounds == round {
            state.check(self.rank)?;
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            state = self.exchange.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(Some(state.brought.clone()))
    }

    /// A rank that has not come to the round that goes on.
    pub fn late(&self) -> Option<usize> {
        self.lock().coming.iter().position(Option::is_none)
    }

    /// Notes that this rank has ended a run.
    pub fn end_run(&self) {
        self.lock().ended[self.rank] += 1;
        self.exchange.changed.notify_all();
    }

    /// Notes that this rank has failed.
    pub fn give_up(&self) {
        self.lock().failed.get_or_insert(self.rank);
        self.exchange.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.exchange.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether all ranks may still come to where `rank` waits.
    fn check(&self, rank: usize) -> Result<()> {
        let missed = |other: &usize| self.ended[*other] > self.ended[rank];
        let (other, why) = match (self.failed, (0..self.ended.len()).find(missed)) {
            (Some(failed), _) => (failed, "which has failed"),
            (None, Some(other)) => (other, "which has ended its run"),
            (None, None) => return Ok(()),
        };
        Err(Error::new(Category::Device, "A rank waits in vain")
            .details(format_args!("rank {rank} waits in round {} for rank {other}, {why}", self.rounds))
            .hint("what that rank says is the cause; where it says nothing, report this: it is a fault of the program"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each of three ranks gets, each on a thread of its own.
    fn each<T: Send>(work: impl Fn(&Seat, usize) -> T + Sync) -> Vec<T> {
        let seats = Seat::of_ranks(3);
        std::thread::scope(|scope| {
            let work = &work;
            let threads = seats.iter().enumerate().map(|(rank, seat)| scope.spawn(move || work(seat, rank)));
            let threads: Vec<_> = threads.collect();
            threads.into_iter().map(|thread| thread.join().expect("no thread dies")).collect()
        })
    }

    #[test]
    fn every_rank_gets_what_all_brought_in_every_round() {
        let got = each(|seat, rank| {
            let round = |round: usize| seat.meet(vec![(10 * round + rank) as f32]).expect("all come").concat();
            (0..200).flat_map(round).collect::<Vec<f32>>()
        });
        let wanted: Vec<f32> = (0..200).flat_map(|round| [0, 1, 2].map(|rank| (10 * round + rank) as f32)).collect();
        assert!(got.iter().all(|got| *got == wanted));
    }

    #[test]
    fn who_waits_for_a_rank_that_failed_or_left_is_told() {
        let failed = each(|seat, rank| {
            if rank == 1 {
                seat.give_up();
                return String::new();
            }
            seat.meet(Vec::new()).expect_err("rank 1 never comes").to_string()
        });
        assert!([0, 2].iter().all(|rank| failed[*rank].contains("for rank 1, which has failed")), "{failed:?}");
        let left = each(|seat, rank| {
            if rank == 2 {
                seat.end_run();
                return String::new();
            }
            seat.meet(Vec::new()).expect_err("rank 2 never comes").to_string()
        });
        assert!([0, 1].iter().all(|rank| left[*rank].contains("for rank 2, which has ended its run")), "{left:?}");
        let late = each(|seat, rank| {
            let wait =
                |seat: &Seat| seat.wait(seat.come(Vec::new()), Duration::from_millis(20)).expect("nobody failed");
            rank != 0 && wait(seat).is_none() && seat.late() == Some(0)
        });
        assert_eq!(late, [false, true, true]);
    }
}
