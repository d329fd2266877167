//! `Pinned`: host memory that the GPU copies from by itself.
use memmap2::MmapMut;
use rayon::prelude::*;

use super::failure::{Answer, failed};
use crate::error::Result;

/// A huge page, where the system has such.
const HUGE: usize = 2 << 20;
/// The smallest page of any system.
const PAGE: usize = 4096;

/// Memory for the chunks of an upload, in huge pages that all threads touch before the driver takes them: 0.1 ms a MB, where memory of
/// the driver's own takes 0.5, and what is written to it is written faster.
pub struct Pinned {
    memory: MmapMut,
    first: usize,
    bytes: usize,
}

impl Pinned {
    /// So many bytes.
    ///
    /// # Errors
    /// Memory is short, or the driver does not take it.
    pub fn new(bytes: usize) -> Result<Pinned> {
        let doing = "allocating pinned memory for the upload";
        let mut memory = MmapMut::map_anon(bytes + HUGE).map_err(|error| failed(doing, error.to_string()))?;
        let first = memory.as_ptr().align_offset(HUGE);
        // Small pages do as well.
        #[cfg(target_os = "linux")]
        let _ = memory.advise(memmap2::Advice::HugePage);
        let chunks = &mut memory[first..][..bytes];
        chunks.par_chunks_mut(HUGE).for_each(|chunk| chunk.iter_mut().step_by(PAGE).for_each(|byte| *byte = 0));
        let start = chunks.as_mut_ptr();
        // SAFETY: the memory is there, and is unregistered before it is unmapped.
        unsafe { cust_raw::cuMemHostRegister_v2(start.cast(), bytes, 0) }.or_failed(doing)?;
        Ok(Pinned { memory, first, bytes })
    }
}

impl AsMut<[u8]> for Pinned {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.first..][..self.bytes]
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let start = self.as_mut().as_mut_ptr();
        // SAFETY: it was registered, in the context that is current here too, and no copy of it is under way.
        let _ = unsafe { cust_raw::cuMemHostUnregister(start.cast()) };
    }
}
