//! `Pace`: how fast large bodies are read, all together. A client that sends as fast as it can would take the processors that
//! running answers need.
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How far ahead of its rate a body may be: timers wake up each millisecond.
const BURST: Duration = Duration::from_millis(4);

/// A rate, and when the next byte is due.
pub struct Pace {
    bytes_per_second: u64,
    due: Mutex<Instant>,
}

impl Pace {
    /// So many bytes per second.
    pub fn new(bytes_per_second: u64) -> Pace {
        Pace { bytes_per_second, due: Mutex::new(Instant::now()) }
    }

    /// Waits until so many bytes more may be taken.
    pub async fn take(&self, bytes: usize) {
        let time = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let due = {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            *due = Instant::now().max(*due) + time;
            *due
        };
        if let Some(due) = due.checked_sub(BURST) {
            sleep_until(due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_together_are_as_fast_as_the_rate_says() {
        let threads = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let pace = Pace::new(1_000_000);
        let start = std::time::Instant::now();
        threads.block_on(async { tokio::join!(pace.take(30_000), pace.take(30_000)) });
        assert!(start.elapsed() >= Duration::from_millis(56), "{:?}", start.elapsed());
    }
}
