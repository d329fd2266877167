//! The handler of the signal, and the ranges that it knows.
use std::path::Path;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use crate::error::{Category, Error};

/// A mapped range, the error that a fault in it becomes, and the entry that was made before it.
///
/// Entries are never freed, so the handler can walk them at any moment: one for each file that is opened.
pub struct Entry {
    start: usize,
    end: AtomicUsize,
    message: String,
    next: AtomicPtr<Entry>,
}

static ENTRIES: AtomicPtr<Entry> = AtomicPtr::new(ptr::null_mut());
static REPORTS: AtomicBool = AtomicBool::new(false);

impl Entry {
    /// The range is no longer mapped.
    pub fn forget(&self) {
        self.end.store(self.start, Ordering::Release);
    }
}

/// From now on, a fault in a weights file that became shorter prints an error and ends the process with code 1. For
/// a command, not for a library: it takes the signal of the whole process.
#[expect(unsafe_code, reason = "a handler of a signal is set by the system's own call")]
pub fn report() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_fault;
        // SAFETY: all zeros is a valid `sigaction`; `sigemptyset` and `sigaction` get pointers to it, which live
        // through the calls. The handler has the signature that SA_SIGINFO asks for and calls only what POSIX lets
        // a handler call.
        let set = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(libc::SIGBUS, &action, ptr::null_mut())
        };
        REPORTS.store(set == 0, Ordering::Release);
    });
}

/// Makes the range known to the handler, if there is one.
pub fn watch(path: &Path, mapped: &[u8]) -> Option<&'static Entry> {
    if !REPORTS.load(Ordering::Acquire) || mapped.is_empty() {
        return None;
    }
    let error = Error::new(Category::Model, "Model file became shorter while it was in use")
        .details(format_args!("{}: had {} bytes when it was opened", path.display(), mapped.len()))
        .hint("do not write to a model that is loaded; download the file again and start anew");
    let start = mapped.as_ptr().addr();
    let entry: &'static Entry = Box::leak(Box::new(Entry {
        start,
        end: AtomicUsize::new(start + mapped.len()),
        message: format!("{error}\n"),
        next: AtomicPtr::new(ENTRIES.load(Ordering::Acquire)),
    }));
    let new = ptr::from_ref(entry).cast_mut();
    let push = |first| {
        entry.next.store(first, Ordering::Release);
        Some(new)
    };
    let _ = ENTRIES.fetch_update(Ordering::AcqRel, Ordering::Acquire, push);
    Some(entry)
}

#[expect(unsafe_code, reason = "the system hands the handler a pointer, and only its own calls are safe in one")]
extern "C" fn on_fault(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the system gives a handler with SA_SIGINFO a valid `info`, which has an address for SIGBUS.
    let address = unsafe { (*info).si_addr() }.addr();
    let mut next = ENTRIES.load(Ordering::Acquire);
    // SAFETY: the pointers come from leaked boxes, which are never written to but through atomics.
    while let Some(entry) = unsafe { next.as_ref() } {
        // The last page of a mapping ends behind the file.
        if (entry.start..entry.end.load(Ordering::Acquire)).contains(&address) {
            let text = entry.message.as_bytes();
            // SAFETY: `write` and `_exit` may be called in a handler; the text is as long as it says.
            unsafe {
                libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len());
                libc::_exit(1);
            }
        }
        next = entry.next.load(Ordering::Acquire);
    }
    // SAFETY: the fault is none of ours: the default is set, and the instruction that is run again ends the process.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}
