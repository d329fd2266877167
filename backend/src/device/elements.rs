//! What the elements of a part come from: a file as they are, a conversion of each, or rows that are made.
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::Result;

/// A tensor's elements, row-major.
#[derive(Clone, Debug)]
pub(super) enum Elements {
    /// In the part's format, aligned: they can be read where they are.
    InPlace(Bytes),
    /// Each by itself becomes one of the part's format.
    Converted(Converted),
    /// Whole rows are made.
    Rows(Rows),
}

/// A tensor's elements that are not in the part's format as they stand in the file, or not aligned.
#[derive(Clone)]
pub struct Converted {
    /// Their bytes, row-major.
    pub data: Bytes,
    /// Bytes of one.
    pub element_bytes: usize,
    /// Turns the bytes of some elements into those of as many in the part's format.
    pub convert: fn(&[u8], &mut [u8]),
    /// All of them in the part's format, aligned, in memory that those share who ask.
    pub whole: Arc<dyn Fn() -> Bytes + Send + Sync>,
}

impl fmt::Debug for Converted {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Converted({} bytes of {} each)", self.data.len(), self.element_bytes)
    }
}

/// Makes rows of a weight from what a file has.
pub trait RowSource: Send + Sync {
    /// Fills `target` with rows `rows`, in the part's format; of NVFP4 with the codes of all of them, then with their scales, as a file
    /// has them.
    ///
    /// # Errors
    /// What the file has is not what a weight can be made of.
    fn fill(&self, rows: Range<usize>, target: &mut [u8]) -> Result<()>;
}

/// A source of rows.
#[derive(Clone)]
pub(super) struct Rows(pub Arc<dyn RowSource>);

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Rows")
    }
}

/// A function that refuses bytes in a part's format.
type Refusal = dyn Fn(&[u8]) -> Result<()> + Send + Sync;

/// What bytes in a part's format must pass.
#[derive(Clone)]
pub struct Check(pub Arc<Refusal>);

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Check")
    }
}

/// Lets words be the bytes that they are, with their alignment.
pub(super) struct Words(pub Vec<u32>);

impl AsRef<[u8]> for Words {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}
