//! A block's shared memory, with a stamp of the last write and of the last reads for every byte.

use super::clock::Knowledge;
use super::mailbox::Mailbox;
use super::stamp::{Clocks, Stamp, Who};
use std::collections::BTreeMap;

/// Why an access to shared memory is refused.
#[derive(Debug)]
pub enum Refusal {
    Undefined,
    InFlight,
    /// Written, but for ordinary accesses alone: a product reads it, and its writer was behind no proxy fence.
    Unpublished {
        writer: u32,
    },
    /// The other thread (of the block), and whether its access was a write.
    Race {
        other: u32,
        wrote: bool,
    },
}

/// Contents and stamps, by word; stamps one per byte.
#[derive(Default)]
pub struct Shared {
    words: Vec<u32>,
    writes: Vec<[Stamp; 4]>,
    reads: Vec<[Stamp; 4]>,
    /// For each thread, the tick up to which products see its writes.
    published: Vec<u32>,
    /// By address.
    pub mailboxes: BTreeMap<usize, Mailbox>,
    bytes: usize,
    /// Stamps up to this one belong to earlier blocks.
    stale: u32,
}

impl Shared {
    /// Memory of `bytes` bytes for a block whose clocks begin at `start`; 1 forgets all earlier stamps.
    pub fn reset(&mut self, bytes: usize, start: u32) {
        let words = bytes.div_ceil(16) * 4;
        if start == 1 {
            self.writes.clear();
            self.reads.clear();
        }
        self.words.resize(words, 0);
        self.writes.resize(words, Default::default());
        self.reads.resize(words, Default::default());
        // Copies that no one waited for carry the highest stamp and would outlive their block.
        for write in self.writes.iter_mut().flatten().filter(|s| **s == Stamp::IN_FLIGHT) {
            *write = Stamp::default();
        }
        self.published.clear();
        self.mailboxes.clear();
        self.bytes = bytes;
        self.stale = (start - 1) << 12 | 0xfff;
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A number of 1, 2, 4 or 8 bytes at a multiple of its size.
    #[inline(always)]
    pub fn load(&self, offset: usize, bytes: usize) -> u64 {
        let shifted = u64::from(self.words[offset / 4]) >> (offset % 4 * 8);
        match bytes {
            1 => shifted & 0xff,
            2 => shifted & 0xffff,
            4 => shifted,
            _ => shifted | u64::from(self.words[offset / 4 + 1]) << 32,
        }
    }

    #[inline(always)]
    pub fn store(&mut self, offset: usize, bytes: usize, bits: u64) {
        let word = &mut self.words[offset / 4];
        match bytes {
            4 => *word = bits as u32,
            8 => {
                *word = bits as u32;
                self.words[offset / 4 + 1] = (bits >> 32) as u32;
            }
            _ => {
                let shift = offset % 4 * 8;
                let mask = ((1u32 << (bytes * 8)) - 1) << shift;
                *word = *word & !mask | (bits as u32) << shift & mask;
            }
        }
    }

    /// Stamps a read of `bytes` bytes by `thread`.
    #[inline(always)]
    pub fn read(&mut self, clocks: &Clocks, thread: u32, at: usize, bytes: usize, strong: bool) -> Result<(), Refusal> {
        if bytes >= 4 {
            return (at / 4..(at + bytes) / 4).try_for_each(|word| self.read_word(clocks, thread, word, strong));
        }
        (at..at + bytes).try_for_each(|byte| self.read_byte(clocks, thread, byte, strong))
    }

    #[inline(always)]
    fn read_word(&mut self, clocks: &Clocks, thread: u32, word: usize, strong: bool) -> Result<(), Refusal> {
        let known = clocks.all_known() - self.stale;
        let fresh = |s: Stamp| s.0.wrapping_sub(self.stale).wrapping_sub(1) < known;
        let w = self.writes[word];
        let ordered = fresh(w[0]) & fresh(w[1]) & fresh(w[2]) & fresh(w[3]);
        let mine = Stamp::new(clocks.now, Who::Thread, thread);
        if ordered && !strong {
            let r = &mut self.reads[word];
            let limit = clocks.all_known();
            if r.iter().all(|s| s.0 <= limit) || *r == [mine; 4] {
                *r = [mine; 4];
                return Ok(());
            }
            if r[0] == r[1] && r[1] == r[2] && r[2] == r[3] {
                *r = [merged(clocks, r[0], thread); 4];
                return Ok(());
            }
        }
        (word * 4..word * 4 + 4).try_for_each(|byte| self.read_byte(clocks, thread, byte, strong))
    }

    fn read_byte(&mut self, clocks: &Clocks, thread: u32, at: usize, strong: bool) -> Result<(), Refusal> {
        let write = self.writes[at / 4][at % 4];
        if write == Stamp::IN_FLIGHT {
            return Err(Refusal::InFlight);
        }
        if write.0 <= self.stale {
            return Err(Refusal::Undefined);
        }
        let both_strong = strong && write.who() == Who::Strong;
        if write.thread() != thread && !both_strong && !clocks.knows(write) {
            return Err(Refusal::Race { other: write.thread(), wrote: true });
        }
        if !strong {
            let read = &mut self.reads[at / 4][at % 4];
            *read = merged(clocks, *read, thread);
        }
        Ok(())
    }

    /// Says that products see what `thread` has written so far.
    pub fn publish(&mut self, clocks: &Clocks, thread: u32) {
        let thread = thread as usize;
        if self.published.len() <= thread {
            self.published.resize(thread + 1, 0);
        }
        self.published[thread] = clocks.now;
    }

    /// Stamps a product's read of `bytes` bytes, whole words, for `thread`.
    pub fn read_published(&mut self, clocks: &Clocks, thread: u32, at: usize, bytes: usize) -> Result<(), Refusal> {
        self.read(clocks, thread, at, bytes, false)?;
        let seen = |s: &Stamp| s.clock() <= self.published.get(s.thread() as usize).copied().unwrap_or(0);
        let missing = self.writes[at / 4..(at + bytes) / 4].iter().flatten().find(|s| !seen(s));
        missing.map_or(Ok(()), |stamp| Err(Refusal::Unpublished { writer: stamp.thread() }))
    }

    /// What stands for the last writer of each of four words.
    pub fn writers(&self, at: usize) -> [u32; 4] {
        std::array::from_fn(|word| self.writes[at / 4 + word][0].0)
    }

    /// Stamps a write of `bytes` bytes by `thread`.
    #[inline(always)]
    pub fn write(
        &mut self,
        clocks: &Clocks,
        thread: u32,
        at: usize,
        bytes: usize,
        strong: bool,
    ) -> Result<(), Refusal> {
        let who = if strong { Who::Strong } else { Who::Thread };
        self.overwrite(clocks, thread, (at, bytes), Stamp::new(clocks.now, who, thread))
    }

    /// Checks a write by `thread` and leaves `stamp` on its bytes.
    #[inline(always)]
    fn overwrite(
        &mut self,
        clocks: &Clocks,
        thread: u32,
        (at, bytes): (usize, usize),
        stamp: Stamp,
    ) -> Result<(), Refusal> {
        let strong = stamp.who() == Who::Strong && stamp != Stamp::IN_FLIGHT;
        if bytes >= 4 {
            let limit = clocks.all_known();
            for word in at / 4..(at + bytes) / 4 {
                let (w, r) = (self.writes[word], self.reads[word]);
                let known = |s: Stamp| s.0 <= limit;
                if !(w.into_iter().all(known) && r.into_iter().all(known)) {
                    (word * 4..word * 4 + 4).try_for_each(|byte| self.check_write(clocks, thread, byte, strong))?;
                }
                self.writes[word] = [stamp; 4];
            }
            return Ok(());
        }
        for byte in at..at + bytes {
            self.check_write(clocks, thread, byte, strong)?;
            self.writes[byte / 4][byte % 4] = stamp;
        }
        Ok(())
    }

    fn check_write(&self, clocks: &Clocks, thread: u32, at: usize, strong: bool) -> Result<(), Refusal> {
        let (write, read) = (self.writes[at / 4][at % 4], self.reads[at / 4][at % 4]);
        if write == Stamp::IN_FLIGHT {
            return Err(Refusal::InFlight);
        }
        let both_strong = strong && write.who() == Who::Strong;
        if write.0 > self.stale && write.thread() != thread && !both_strong && !clocks.knows(write) {
            return Err(Refusal::Race { other: write.thread(), wrote: true });
        }
        let own = read.thread() == thread && read.who() == Who::Thread;
        if read.0 > self.stale && !own && !clocks.knows(read) {
            return Err(Refusal::Race { other: read.thread(), wrote: false });
        }
        Ok(())
    }

    /// Marks the destination of an asynchronous copy (4, 8 or 16 bytes, aligned), checked like a write by `thread`.
    pub fn begin_copy(&mut self, clocks: &Clocks, thread: u32, at: usize, bytes: usize) -> Result<(), Refusal> {
        self.overwrite(clocks, thread, (at, bytes), Stamp::IN_FLIGHT)
    }

    /// Writes what another block has sent, whole words that nobody has touched but as the sender knows from what was `handed` to it; they
    /// stay in flight. Whether that is so.
    pub fn begin_receipt(&mut self, at: usize, data: &[u8], handed: &Knowledge) -> bool {
        let words = at / 4..(at + data.len()) / 4;
        let untouched = |s: &Stamp| s.0 <= self.stale || handed.covers(*s);
        let mut stamps = self.writes[words.clone()].iter().chain(&self.reads[words.clone()]).flatten();
        if !stamps.all(untouched) {
            return false;
        }
        for (word, bytes) in words.zip(data.chunks_exact(4)) {
            self.words[word] = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            self.writes[word] = [Stamp::IN_FLIGHT; 4];
        }
        true
    }

    /// From here on what was sent is an ordinary write by `thread`.
    pub fn end_receipt(&mut self, clocks: &Clocks, thread: u32, (at, bytes): (usize, usize)) {
        self.writes[at / 4..(at + bytes) / 4].fill([Stamp::new(clocks.now, Who::Thread, thread); 4]);
    }

    /// Delivers an asynchronous copy: from here on it is an ordinary write by `thread`.
    pub fn end_copy(&mut self, clocks: &Clocks, thread: u32, at: usize, data: &[u8]) {
        let stamp = Stamp::new(clocks.now, Who::Thread, thread);
        for (word, bytes) in (at / 4..).zip(data.chunks_exact(4)) {
            self.words[word] = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            self.writes[word] = [stamp; 4];
        }
    }
}

/// The stamp of a byte's reads after one more by `thread`. `before` is dropped where the new read is ordered behind it.
fn merged(clocks: &Clocks, before: Stamp, thread: u32) -> Stamp {
    let same = before.thread() == thread && before.who() == Who::Thread;
    if same || clocks.knows(before) {
        return Stamp::new(clocks.now, Who::Thread, thread);
    }
    let who = if before.warp() == clocks.warp && before.who() != Who::Block { Who::Warp } else { Who::Block };
    Stamp::new(clocks.now.max(before.clock()), who, thread)
}
