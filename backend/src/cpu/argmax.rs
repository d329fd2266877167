//! Reference of `argmax`.
use gpu_kernels::argmax::{NONE_FINITE, NOT_A_NUMBER};
use gpu_kernels::{Argmax, Ptr};

use super::meeting;
use crate::device::{Activation, Memory, Reference};

impl Reference for Argmax {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (rows, vocab) = (self.rows as usize, self.vocab as usize);
        let logits = memory.read::<f32>(self.logits, rows * vocab);
        if self.outbox.sends() {
            let words: Vec<u32> = logits.chunks(vocab).flat_map(|row| sent(self, row)).collect();
            return meeting::send_ahead(&self.outbox, memory, &words);
        }
        let chosen: Vec<(i32, i32)> = logits.chunks(vocab).map(choose).collect();
        store(&chosen, memory, [self.slots, self.sampled, self.faults]);
    }
}

/// What other ranks are told of a row of this one's columns: its best value and the id of that.
fn sent(choice: &Argmax, row: &[f32]) -> [u32; 4] {
    let (value, id) = match choose(row) {
        (best, 0) => (row[best as usize], choice.outbox.rank * choice.vocab + best.cast_unsigned()),
        (_, NOT_A_NUMBER) => (f32::INFINITY, 0),
        _ => (f32::NEG_INFINITY, 0),
    };
    [value.to_bits(), id, 0, 0]
}

/// Writes what was chosen in each row, and its fault, to the row's slot.
pub fn store(chosen: &[(i32, i32)], memory: &Memory, [slots, sampled, faults]: [Ptr<i32>; 3]) {
    let slots = memory.read::<i32>(slots, chosen.len());
    // One after the other: the two may be parts of one buffer.
    let mut to = memory.write_all::<i32>(sampled);
    slots.iter().zip(chosen).for_each(|(slot, (best, _))| to[*slot as usize] = *best);
    drop(to);
    let mut to = memory.write_all::<i32>(faults);
    slots.iter().zip(chosen).for_each(|(slot, (_, fault))| to[*slot as usize] = *fault);
}

/// The best of a row and its fault.
pub fn choose(row: &[f32]) -> (i32, i32) {
    if row.iter().any(|logit| logit.is_nan() || *logit == f32::INFINITY) {
        return (0, NOT_A_NUMBER);
    }
    let mut best = 0;
    for (i, logit) in row.iter().enumerate() {
        if *logit > row[best] {
            best = i;
        }
    }
    if row[best].is_finite() { (best as i32, 0) } else { (0, NONE_FINITE) }
}
