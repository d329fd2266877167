//! A weights file that becomes shorter while it is mapped: the command ends with an error instead of a bare signal.
#[cfg(unix)]
mod unix;

use std::path::Path;

use memmap2::Mmap;

#[cfg(unix)]
use unix::Entry;
#[cfg(unix)]
pub use unix::report;

/// A mapped file that the handler of [`report`] knows, as long as it is mapped.
pub struct Watched {
    mapped: Mmap,
    #[cfg(unix)]
    entry: Option<&'static Entry>,
}

impl Watched {
    /// Watches the file of `path`, if [`report`] was called.
    pub fn new(path: &Path, mapped: Mmap) -> Watched {
        Watched {
            #[cfg(unix)]
            entry: unix::watch(path, &mapped),
            mapped,
        }
    }
}

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        &self.mapped
    }
}

#[cfg(unix)]
impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(entry) = self.entry {
            entry.forget();
        }
    }
}

/// Systems without the signal have their own way to say it.
#[cfg(not(unix))]
pub fn report() {
    // Nothing to set.
}
