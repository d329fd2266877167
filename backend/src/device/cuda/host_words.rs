//! `HostWords`: words of the host that its threads and the GPUs read and write at any time.
use std::ffi::c_void;
use std::sync::atomic::AtomicI32;

use super::failure::Answer;
use crate::error::Result;

/// Pinned words, mapped for every context.
pub struct HostWords {
    start: *mut AtomicI32,
    count: usize,
}

// SAFETY: the words are atomic, and belong to the process.
unsafe impl Send for HostWords {}
// SAFETY: as above.
unsafe impl Sync for HostWords {}

impl HostWords {
    /// So many zeros. A context is current, then and when they are dropped.
    ///
    /// # Errors
    /// Pinned memory is short.
    pub fn new(count: usize) -> Result<HostWords> {
        let flags = cust_raw::CU_MEMHOSTALLOC_PORTABLE | cust_raw::CU_MEMHOSTALLOC_DEVICEMAP;
        let mut start: *mut c_void = std::ptr::null_mut();
        // SAFETY: `start` is writable.
        unsafe { cust_raw::cuMemHostAlloc(&mut start, count * size_of::<AtomicI32>(), flags) }
            .or_failed("allocating pinned memory")?;
        // SAFETY: the memory was just allocated, page by page, for so many words; zeros are values of them.
        unsafe { start.write_bytes(0, count * size_of::<AtomicI32>()) };
        Ok(HostWords { start: start.cast(), count })
    }

    /// The words.
    pub fn words(&self) -> &[AtomicI32] {
        // SAFETY: the memory holds so many initialised words, and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start, self.count) }
    }

    /// Where the GPU of the current context finds the first.
    ///
    /// # Errors
    /// The driver does not say.
    pub fn address(&self) -> Result<u64> {
        let mut address = 0;
        // SAFETY: the memory is pinned and mapped, and `address` is writable.
        unsafe { cust_raw::cuMemHostGetDevicePointer_v2(&mut address, self.start.cast(), 0) }
            .or_failed("mapping pinned memory")?;
        Ok(address)
    }
}

impl Drop for HostWords {
    fn drop(&mut self) {
        // SAFETY: the memory was allocated by `new`, and this is its only owner.
        unsafe { cust_raw::cuMemFreeHost(self.start.cast()) };
    }
}
