//! Bytes of a stored tensor, copied from its file a core's cache full at a time.
use std::cell::Cell;
use std::ops::Range;

use crate::checkpoint::StoredTensor;
use crate::device::FileRange;
use crate::error::Result;

/// Bytes of codes that are read together, to become rows while they are in a core's cache.
pub const SCRATCH: usize = 128 << 10;

/// Shows `what` some of a tensor's bytes: where each is looked at once, to copy them is faster than to map their pages.
///
/// # Errors
/// The file has become shorter, or its disk fails.
pub fn read<R>(tensor: &StoredTensor, bytes: Range<usize>, what: impl FnOnce(&[u8]) -> R) -> Result<R> {
    thread_local! {
        static COPIED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    let mut copied = COPIED.take();
    copied.resize(copied.len().max(bytes.len()), 0);
    let target = &mut copied[..bytes.len()];
    let (file, start) = tensor.place();
    let read = FileRange { file, path: tensor.file.clone(), start }.read(bytes.start as u64, target);
    let result = read.map(|()| what(target));
    COPIED.set(copied);
    result
}
