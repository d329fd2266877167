//! How soon the system gives a thread its turn: those that hand on tokens at once, the work on the largest bodies last.
use std::cell::Cell;
use std::time::Duration;

use rustix::process::nice;

/// How long a thread that hands on tokens runs before others may. Linux lets it run as soon as it wakes up where what runs has
/// a longer time, 3 ms unless it says so; a token takes a fraction of this.
const SHORT_TURN: Duration = Duration::from_micros(300);

/// How much the work on a large body gives way to running answers.
const LARGE_BODY_NICE: i32 = 15;

/// A body of so many bytes has the processors only while nobody else wants them.
const LARGEST_BODY: usize = 1 << 20;

/// Whether a body of so many bytes waits for processors that nobody else wants: others must not wait for it.
pub fn is_largest(bytes: usize) -> bool {
    bytes >= LARGEST_BODY
}

/// Has this thread run as soon as it wakes up. A policy that somebody chose for the process (`chrt`) stays.
pub fn soon() {
    // Where the system knows no such thing, it is as it was.
    let _ = change(Change::Turn(SHORT_TURN));
}

/// As [`soon`], the first time that this thread asks.
pub fn soon_once() {
    thread_local!(static ASKED: Cell<bool> = const { Cell::new(false) });
    if !ASKED.replace(true) {
        soon();
    }
}

/// Has this thread run as long as any other: one that hands on tokens may have started it, and threads inherit their turn.
pub fn as_usual() {
    let _ = change(Change::Turn(Duration::ZERO));
}

/// Has this thread, which works on a body of so many bytes, give way to others; it keeps a policy that somebody chose.
pub fn behind_others(bytes: usize) {
    // On Linux a thread has a priority of its own. Where it stays as it was, the work is done all the same.
    let _ = nice(LARGE_BODY_NICE);
    as_usual();
    if is_largest(bytes) {
        let _ = change(Change::Idle);
    }
}

/// What is changed of how a thread is scheduled.
enum Change {
    /// How long it runs before others may; zero for as long as the system says.
    Turn(Duration),
    /// It runs while nobody else wants to.
    Idle,
}

/// Changes how the calling thread is scheduled if its policy is the usual one, `SCHED_OTHER`; whether that was done.
#[cfg(target_os = "linux")]
fn change(change: Change) -> bool {
    let Some(mut attributes) = attributes().filter(|own| own.sched_policy == libc::SCHED_OTHER.unsigned_abs()) else {
        return false;
    };
    match change {
        Change::Turn(turn) => attributes.sched_runtime = turn.as_nanos() as u64,
        Change::Idle => attributes.sched_policy = libc::SCHED_IDLE.unsigned_abs(),
    }
    #[allow(unsafe_code)]
    // SAFETY: the call reads `size` bytes of attributes, which are there, for the thread that calls (0), with no flags (0).
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    done == 0
}

/// How the calling thread is scheduled, where the system tells it.
#[cfg(target_os = "linux")]
fn attributes() -> Option<libc::sched_attr> {
    let size = size_of::<libc::sched_attr>() as u32;
    let mut own = libc::sched_attr {
        size,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    #[allow(unsafe_code)]
    // SAFETY: the call writes at most `size` bytes of attributes, which are there, for the thread that calls (0).
    let done = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut own, size, 0) };
    (done == 0).then_some(own)
}

#[cfg(not(target_os = "linux"))]
fn change(_change: Change) -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::thread;

    /// Niceness, policy, and how long it runs before others may, of the calling thread.
    fn seen() -> (i32, i32, Duration) {
        let own = attributes().unwrap();
        (own.sched_nice, own.sched_policy as i32, Duration::from_nanos(own.sched_runtime))
    }

    fn behind<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        thread::spawn(work).join().unwrap()
    }

    /// Has this thread be one of a batch job, as `chrt --batch` does.
    fn batch() {
        let own = libc::sched_attr { sched_policy: libc::SCHED_BATCH as u32, ..attributes().unwrap() };
        #[allow(unsafe_code)]
        // SAFETY: as in `change`.
        let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const own, 0) };
        assert_eq!(done, 0);
    }

    #[test]
    fn a_thread_is_scheduled_as_it_asks() {
        let (own, policy, usual) = behind(seen);
        assert_eq!(policy, libc::SCHED_OTHER);
        let after = |work: fn()| {
            behind(move || {
                work();
                seen()
            })
        };
        let (nice, policy, turn) = after(soon);
        // Before Linux 6.12 a thread's turn is not told.
        assert!((nice, policy) == (own, 0) && [SHORT_TURN, usual].contains(&turn), "{turn:?}");
        let (nice, policy, _) = after(|| behind_others(LARGEST_BODY - 1));
        assert_eq!((nice, policy), (19.min(own + LARGE_BODY_NICE), 0));
        assert_eq!(after(|| behind_others(LARGEST_BODY)).1, libc::SCHED_IDLE);
    }

    #[test]
    fn a_policy_that_somebody_chose_stays() {
        for work in [soon, soon_once, as_usual, || behind_others(LARGEST_BODY)] {
            let [before, after] = behind(move || {
                batch();
                let before = seen();
                work();
                [before, seen()]
            });
            assert_eq!((before.1, after.1, after.2), (libc::SCHED_BATCH, libc::SCHED_BATCH, before.2));
        }
    }

    #[test]
    fn only_threads_that_hand_on_tokens_ask_for_a_short_turn() {
        let turns = |before: fn()| {
            behind(move || {
                before();
                let threads = super::super::threads().unwrap();
                // A worker that had nothing to do is asked.
                thread::sleep(Duration::from_millis(50));
                // The worker starts the thread of the text.
                let both = async { (seen(), tokio::task::spawn_blocking(seen).await.unwrap()) };
                let (worker, other) = threads.block_on(async { tokio::spawn(both).await.unwrap() });
                (seen(), worker, other)
            })
        };
        let (own, worker, other) = turns(|| ());
        assert_eq!(other, own);
        assert!([SHORT_TURN, own.2].contains(&worker.2), "{worker:?}");
        let (own, worker, other) = turns(batch);
        assert_eq!((own.1, worker, other), (libc::SCHED_BATCH, own, own));
    }
}
