//! `Pace`: how fast large bodies are read, all together. A client that sends as fast as it can would take the processors that
//! running answers need.
use std::time::Duration;

use tokio::sync::Mutex;
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

    /// Waits until so many bytes more may be taken, behind those who came before. Who leaves meanwhile has taken none.
    pub async fn take(&self, bytes: usize) {
        let time = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let mut due = self.due.lock().await;
        let next = Instant::now().max(*due) + time;
        if let Some(soon) = next.checked_sub(BURST) {
            sleep_until(soon).await;
        }
        *due = next;
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

    #[test]
    fn who_leaves_owes_nothing() {
        let threads = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let pace = Pace::new(1_000_000);
        let start = std::time::Instant::now();
        threads.block_on(async {
            for _ in 0..100 {
                let left = tokio::time::timeout(Duration::ZERO, pace.take(1_000_000)).await;
                assert!(left.is_err());
            }
            pace.take(1_000).await;
        });
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    }
}
