//! What each of several devices sees of one memory: a word that one stores may stay unseen by others until it is released, and
//! a word that another has made visible may still be read as it was until that is acquired.
//!
//! A device's stores wait in a buffer of its own, by word, and the device reads them there. They become visible when a thread
//! releases them at the scope of the system (those of its block, and those of others of the device that the block has acquired),
//! or sooner, one by one, as chance has it. When a word becomes visible its old contents are kept; a block that has acquired
//! nothing of the system since then may read either. That covers accesses that the hardware delays, and those it does early.

use super::{Allocation, Memory};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// A word's value, and which of its four bytes were written.
#[derive(Clone, Copy, Default)]
struct Word {
    bits: u32,
    written: u8,
}

impl Word {
    fn over(self, under: Word) -> Word {
        let mask = (0..4).fold(0u32, |mask, b| mask | (u32::from(self.written >> b & 1) * (0xff << (8 * b))));
        Word { bits: self.bits & mask | under.bits & !mask, written: self.written | under.written }
    }
}

/// A store that others do not see yet.
struct Pending {
    word: Word,
    block: Option<u64>,
    time: u64,
}

/// What a word was before a device's store became visible.
struct Before {
    word: Word,
    device: usize,
    time: u64,
}

/// What a block knows of others.
#[derive(Clone, Copy, Default)]
struct Known {
    /// When it last acquired at the scope of the system.
    system: u64,
    /// When it last acquired of its own device.
    device: u64,
}

struct State {
    time: u64,
    random: u64,
    /// Of the device's stores, by address of the word.
    pending: Vec<BTreeMap<u64, Pending>>,
    before: BTreeMap<u64, Before>,
    known: Vec<BTreeMap<u64, Known>>,
    /// What blocks that begin know, for each device.
    begin: Vec<Known>,
}

/// The views of all devices.
pub struct Views(Mutex<State>);

/// The view of one device.
#[derive(Clone, Copy)]
pub struct View<'a> {
    views: &'a Views,
    device: usize,
}

impl Views {
    pub fn new(devices: usize, seed: u64) -> Views {
        let begin = vec![Known::default(); devices];
        let pending = (0..devices).map(|_| BTreeMap::new()).collect();
        let known = vec![BTreeMap::new(); devices];
        Views(Mutex::new(State { time: 1, random: seed, pending, before: BTreeMap::new(), known, begin }))
    }

    pub fn of(&self, device: usize) -> View<'_> {
        View { views: self, device }
    }
}

impl View<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.views.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A number of 1, 2, 4 or 8 bytes, and whether all of it was written.
    pub fn load(&self, block: u64, found: &Allocation, (offset, bytes): (usize, usize), system: bool) -> (u64, bool) {
        let mut state = self.state();
        let mut word = |offset| state.load(self.device, block, found, offset, system);
        let low = word(offset / 4 * 4);
        if bytes == 8 {
            let high = word(offset + 4);
            return (u64::from(high.bits) << 32 | u64::from(low.bits), low.written & high.written == 15);
        }
        let (at, mask) = (offset % 4, (1u64 << (8 * bytes)) - 1);
        let want = (1u8 << bytes) - 1;
        (u64::from(low.bits) >> (8 * at) & mask, low.written >> at & want == want)
    }

    /// Stores the low 1, 2, 4 or 8 bytes of `bits`.
    pub fn store(&self, block: u64, found: &Allocation, (offset, bytes): (usize, usize), bits: u64, system: bool) {
        let mut state = self.state();
        for at in (0..bytes).step_by(4) {
            let (within, written) = (offset % 4, ((1u32 << bytes.min(4)) - 1) as u8);
            let word = Word { bits: ((bits >> (8 * at)) as u32) << (8 * within), written: written << within };
            state.store(self.device, block, found, offset / 4 * 4 + at, word);
            if system {
                state.publish(self.device, found, offset / 4 * 4 + at);
            }
        }
    }

    /// What the block has stored, or knows of its device, becomes visible to all.
    pub fn release(&self, memory: &Memory, block: u64) {
        let mut state = self.state();
        let known = state.known(self.device, block);
        let ready =
            |pending: &Pending| pending.block.is_none_or(|writer| writer == block) || pending.time <= known.device;
        let words: Vec<u64> = state.pending[self.device].iter().filter(|(_, p)| ready(p)).map(|(a, _)| *a).collect();
        words.into_iter().for_each(|address| state.publish_at(self.device, memory, address));
    }

    /// The block sees what became visible until now; of its own device alone where it is not the system's scope.
    pub fn acquire(&self, block: u64, system: bool) {
        let mut state = self.state();
        let (time, mut known) = (state.time, state.known(self.device, block));
        known.device = time;
        if system {
            known.system = time;
        }
        state.known[self.device].insert(block, known);
    }

    /// A launch has ended: what its blocks did and know, the next one's know.
    pub fn end_launch(&self) {
        let mut state = self.state();
        let known = std::mem::take(&mut state.known[self.device]);
        let begin = &mut state.begin[self.device];
        begin.system = known.values().map(|known| known.system).max().unwrap_or(0).max(begin.system);
        state.pending[self.device].values_mut().for_each(|pending| pending.block = None);
    }

    /// Stores become visible by chance: one in `odds`.
    pub fn drain(&self, memory: &Memory, odds: u64) {
        let mut state = self.state();
        let words: Vec<u64> = state.pending[self.device].keys().copied().collect();
        for address in words {
            if state.random().is_multiple_of(odds) {
                state.publish_at(self.device, memory, address);
            }
        }
    }
}

impl State {
    /// SplitMix64 (Steele and others, 2014).
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn known(&self, device: usize, block: u64) -> Known {
        self.known[device].get(&block).copied().unwrap_or(self.begin[device])
    }

    fn load(&mut self, device: usize, block: u64, found: &Allocation, offset: usize, system: bool) -> Word {
        let address = found.base + offset as u64;
        let known = self.known(device, block);
        let mut word = visible(found, offset);
        if let Some(before) = self.before.get(&address)
            && !system
            && before.device != device
            && before.time > known.system
        {
            let before = before.word;
            if self.random().is_multiple_of(2) {
                word = before;
            }
        }
        self.pending[device].get(&address).map_or(word, |pending| pending.word.over(word))
    }

    fn store(&mut self, device: usize, block: u64, found: &Allocation, offset: usize, word: Word) {
        let address = found.base + offset as u64;
        let earlier = self.pending[device].remove(&address);
        let word = earlier.map_or(word, |earlier| word.over(earlier.word));
        self.time += 1;
        self.pending[device].insert(address, Pending { word, block: Some(block), time: self.time });
    }

    fn publish_at(&mut self, device: usize, memory: &Memory, address: u64) {
        // What was stored there was found there.
        if let Some(found) = memory.find(address, 1) {
            self.publish(device, found, (address - found.base) as usize);
        }
    }

    fn publish(&mut self, device: usize, found: &Allocation, offset: usize) {
        let address = found.base + offset as u64;
        let Some(pending) = self.pending[device].remove(&address) else { return };
        self.time += 1;
        self.before.insert(address, Before { word: visible(found, offset), device, time: self.time });
        for byte in (0..4).filter(|byte| pending.word.written >> byte & 1 == 1) {
            found.store(offset + byte, 1, u64::from(pending.word.bits >> (8 * byte) & 0xff));
            found.define(offset + byte, 1);
        }
    }
}

/// What stands in memory.
fn visible(found: &Allocation, offset: usize) -> Word {
    let written = (0..4).fold(0, |written, byte| {
        let inside = offset + byte < found.bytes;
        written | u8::from(inside && found.is_defined(offset + byte, 1)) << byte
    });
    Word { bits: found.word(offset), written }
}
