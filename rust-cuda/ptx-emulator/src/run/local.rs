//! The local memory of a warp's threads.

use crate::lanes::LANES;

/// One block of bytes per lane, each byte with a flag that says whether it was written.
#[derive(Default)]
pub struct Local {
    bytes: Vec<u8>,
    defined: Vec<bool>,
    size: usize,
}

impl Local {
    pub fn reset(&mut self, size: usize) {
        self.size = size;
        self.bytes.clear();
        self.bytes.resize(size * LANES, 0xcd);
        self.defined.clear();
        self.defined.resize(size * LANES, false);
    }

    /// Bytes per lane.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The number of up to 8 bytes at `offset`, and whether all of it was written.
    pub fn load(&self, lane: usize, offset: usize, bytes: usize) -> (u64, bool) {
        let at = lane * self.size + offset;
        let mut number = [0; 8];
        number[..bytes].copy_from_slice(&self.bytes[at..at + bytes]);
        (u64::from_le_bytes(number), self.defined[at..at + bytes].iter().all(|d| *d))
    }

    pub fn store(&mut self, lane: usize, offset: usize, bytes: usize, bits: u64, defined: bool) {
        let at = lane * self.size + offset;
        self.bytes[at..at + bytes].copy_from_slice(&bits.to_le_bytes()[..bytes]);
        self.defined[at..at + bytes].fill(defined);
    }
}
