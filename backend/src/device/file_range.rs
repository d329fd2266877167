//! `FileRange`: where the bytes of a tensor are in a file.
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Category, Error, Result};

/// A tensor's bytes in a file.
#[derive(Clone, Debug)]
pub struct FileRange {
    /// The open file.
    pub file: Arc<File>,
    /// Its name.
    pub path: Arc<Path>,
    /// Where the tensor starts, in bytes.
    pub start: u64,
}

impl FileRange {
    /// Fills `target` from byte `first` of the tensor on.
    ///
    /// # Errors
    /// The file ends before that, or its disk fails.
    pub fn read(&self, first: u64, target: &mut [u8]) -> Result<()> {
        let at = self.start + first;
        self.file.read_exact_at(target, at).map_err(|error| {
            Error::new(Category::Model, "A weight could not be read")
                .details(format_args!("{}: {} bytes from byte {at} on: {error}", self.path.display(), target.len()))
                .hint("the file has changed since it was opened, or its disk fails: download the checkpoint again")
        })
    }
}
