//! One allocation: its words, and a bit per byte that says whether the byte was ever written.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Fills fresh memory, so that a value that escapes the checks is conspicuous (as f32, -4.3e8).
const POISON: u32 = 0xcdcd_cdcd;

pub struct Allocation {
    pub name: String,
    pub base: u64,
    pub bytes: usize,
    words: Box<[AtomicU32]>,
    /// Bit b of word w: byte 32·w + b was written.
    defined: Box<[AtomicU32]>,
}

impl Allocation {
    pub fn new(name: &str, base: u64, bytes: usize) -> Allocation {
        let words = (0..bytes.div_ceil(4)).map(|_| AtomicU32::new(POISON)).collect();
        let defined = (0..bytes.div_ceil(32)).map(|_| AtomicU32::new(0)).collect();
        Allocation { name: name.to_string(), base, bytes, words, defined }
    }

    /// The aligned word that holds byte `offset`.
    #[inline(always)]
    pub fn word(&self, offset: usize) -> u32 {
        self.words[offset / 4].load(Relaxed)
    }

    /// A number of 1, 2, 4 or 8 bytes at a multiple of its size.
    #[inline(always)]
    pub fn load(&self, offset: usize, bytes: usize) -> u64 {
        let shifted = u64::from(self.word(offset)) >> (offset % 4 * 8);
        match bytes {
            1 => shifted & 0xff,
            2 => shifted & 0xffff,
            4 => shifted,
            _ => shifted | u64::from(self.word(offset + 4)) << 32,
        }
    }

    /// Stores the low 1, 2, 4 or 8 bytes of `bits` at a multiple of that size.
    #[inline(always)]
    pub fn store(&self, offset: usize, bytes: usize, bits: u64) {
        match bytes {
            8 => {
                self.words[offset / 4].store(bits as u32, Relaxed);
                self.words[offset / 4 + 1].store((bits >> 32) as u32, Relaxed);
            }
            4 => self.words[offset / 4].store(bits as u32, Relaxed),
            _ => self.store_part(offset, bytes, bits as u32),
        }
    }

    /// Another thread may be storing the rest of the word, so this is a read-modify-write.
    fn store_part(&self, offset: usize, bytes: usize, bits: u32) {
        let shift = offset % 4 * 8;
        let mask = ((1u32 << (bytes * 8)) - 1) << shift;
        let set = |word: u32| Some(word & !mask | bits << shift & mask);
        // The closure always returns a value, so the update cannot fail.
        let _ = self.words[offset / 4].fetch_update(Relaxed, Relaxed, set);
    }

    /// Replaces the word or double word at `offset` by `f` of it and returns the old value.
    pub fn update(&self, offset: usize, bytes: usize, f: impl Fn(u64) -> u64) -> u64 {
        let old = self.load(offset, bytes);
        self.store(offset, bytes, f(old));
        old
    }

    /// Whether the `bytes` (up to 32, and within one aligned group of 32) bytes at `offset` were all written.
    #[inline(always)]
    pub fn is_defined(&self, offset: usize, bytes: usize) -> bool {
        let want = (1u64 << bytes) - 1;
        u64::from(self.defined[offset / 32].load(Relaxed)) >> (offset % 32) & want == want
    }

    #[inline(always)]
    pub fn define(&self, offset: usize, bytes: usize) {
        let bits = (((1u64 << bytes) - 1) << (offset % 32)) as u32;
        let cell = &self.defined[offset / 32];
        if cell.load(Relaxed) & bits != bits {
            cell.fetch_or(bits, Relaxed);
        }
    }

    pub fn undefine(&self, offset: usize, bytes: usize) {
        for (cell, bits) in groups(offset, bytes) {
            self.defined[cell].fetch_and(!bits, Relaxed);
        }
    }

    pub fn write(&self, offset: usize, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let here = offset + at;
            if here.is_multiple_of(4) && bytes.len() - at >= 4 {
                let word = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
                self.words[here / 4].store(word, Relaxed);
                at += 4;
            } else {
                self.store_part(here, 1, u32::from(bytes[at]));
                at += 1;
            }
        }
        for (cell, bits) in groups(offset, bytes.len()) {
            self.defined[cell].fetch_or(bits, Relaxed);
        }
    }

    pub fn read(&self, offset: usize, bytes: &mut [u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let here = offset + at;
            let word = self.word(here).to_le_bytes();
            let taken = (4 - here % 4).min(bytes.len() - at);
            bytes[at..at + taken].copy_from_slice(&word[here % 4..here % 4 + taken]);
            at += taken;
        }
    }
}

/// The shadow words of a range, each with the bits that belong to it.
fn groups(offset: usize, bytes: usize) -> impl Iterator<Item = (usize, u32)> {
    let end = offset + bytes;
    (offset / 32..end.div_ceil(32)).map(move |cell| {
        let from = offset.max(cell * 32) - cell * 32;
        let to = end.min(cell * 32 + 32) - cell * 32;
        (cell, ((((1u64 << to) - 1) >> from) << from) as u32)
    })
}
