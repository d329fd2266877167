//! How soon the system gives a thread its turn: those that hand on tokens at once, the work on the largest bodies last.
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

/// Has this thread run as soon as it wakes up.
pub fn soon() {
    // Where the system knows no such thing, it is as it was.
    let _ = set(libc::SCHED_OTHER, SHORT_TURN);
}

/// Has this thread, which works on a body of so many bytes, give way to others.
pub fn behind_others(bytes: usize) {
    // On Linux a thread has a priority of its own. Where it stays as it was, the work is done all the same.
    let _ = nice(LARGE_BODY_NICE);
    if is_largest(bytes) {
        let _ = set(SCHED_IDLE, Duration::ZERO);
    }
}

#[cfg(target_os = "linux")]
const SCHED_IDLE: i32 = libc::SCHED_IDLE;

#[cfg(not(target_os = "linux"))]
const SCHED_IDLE: i32 = libc::SCHED_OTHER;

/// Sets how the calling thread is scheduled, its niceness apart; whether that was done.
#[cfg(target_os = "linux")]
fn set(policy: i32, turn: Duration) -> bool {
    let size = size_of::<libc::sched_attr>() as u32;
    let attributes = libc::sched_attr {
        size,
        sched_policy: policy.unsigned_abs(),
        sched_flags: 0,
        sched_nice: nice(0).unwrap_or(0),
        sched_priority: 0,
        sched_runtime: turn.as_nanos() as u64,
        sched_deadline: 0,
        sched_period: 0,
    };
    #[allow(unsafe_code)]
    // SAFETY: the call reads `size` bytes of attributes, which are there, for the thread that calls (0), with no flags (0).
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    done == 0
}

#[cfg(not(target_os = "linux"))]
fn set(_policy: i32, _turn: Duration) -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_thread_is_scheduled_as_it_asks() {
        // Fields 19 and 41 of a thread's line are its niceness and its policy.
        let seen = |work: fn()| {
            thread::spawn(move || {
                work();
                let line = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
                let fields: Vec<&str> = line.rsplit(") ").next().unwrap().split(' ').collect();
                [fields[16], fields[38]].map(|field| field.parse::<i32>().unwrap())
            })
            .join()
            .unwrap()
        };
        let [own, policy] = seen(soon);
        assert_eq!((seen(|| ()), policy), ([own, 0], 0));
        assert_eq!(seen(|| behind_others(LARGEST_BODY - 1)), [19.min(own + LARGE_BODY_NICE), 0]);
        assert_eq!(seen(|| behind_others(LARGEST_BODY))[1], libc::SCHED_IDLE);
    }
}
