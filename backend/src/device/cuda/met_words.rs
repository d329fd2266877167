//! `MetWords`: words that the GPUs of all ranks read and write: in the memory of one of them, or in the host's.
use std::sync::atomic::{AtomicI32, Ordering};

use cust::memory::DeviceBuffer;
use cust::stream::Stream;

use super::failure::Answer;
use super::host_words::HostWords;
use super::reach::MetIn;
use crate::error::Result;

/// Words of the system's scope; zeros at first.
pub enum MetWords {
    /// In the memory of the GPU whose context was current.
    Gpu(DeviceBuffer<i32>),
    /// In the host's, and where GPUs find them: in one place, for a 64-bit system has one space of addresses.
    Host(HostWords, u64),
}

impl MetWords {
    /// So many zeros, in the memory of the current context's GPU or in the host's.
    ///
    /// # Errors
    /// There is not as much.
    pub fn new(count: usize, met: MetIn) -> Result<MetWords> {
        if met == MetIn::Peers {
            let buffer = DeviceBuffer::zeroed(count).or_failed("allocating what ranks meet in");
            return Ok(MetWords::Gpu(buffer?));
        }
        let words = HostWords::new(count)?;
        let address = words.address()?;
        Ok(MetWords::Host(words, address))
    }

    /// Where GPUs find the first.
    pub fn address(&self) -> u64 {
        match self {
            MetWords::Gpu(buffer) => buffer.as_device_ptr().as_raw(),
            MetWords::Host(_, address) => *address,
        }
    }

    /// Writes the first words to pinned words of the host, when what is in `stream` has run.
    ///
    /// # Errors
    /// The device failed.
    pub fn read(&self, to: &[AtomicI32], stream: &Stream) -> Result<()> {
        match self {
            MetWords::Gpu(buffer) => copy(buffer, to, stream),
            MetWords::Host(words, _) => {
                let words = words.words().iter().zip(to);
                words.for_each(|(from, to)| to.store(from.load(Ordering::Relaxed), Ordering::Relaxed));
                Ok(())
            }
        }
    }
}

/// Enqueues a copy of the first words of a GPU's to pinned words of the host.
///
/// # Errors
/// The device failed.
pub fn copy(from: &DeviceBuffer<i32>, to: &[AtomicI32], stream: &Stream) -> Result<()> {
    assert!(to.len() <= from.len(), "there are as many words");
    // SAFETY: both are as long, and the words are atomic.
    unsafe {
        let to_start = to.as_ptr().cast_mut().cast();
        cust_raw::cuMemcpyDtoHAsync_v2(to_start, from.as_device_ptr().as_raw(), size_of_val(to), stream.as_inner())
    }
    .or_failed("looking at a rank's counters")
}
