//! Reference of `advance`.
use gpu_kernels::{Advance, PAGE_TOKENS};

use crate::device::{Activation, Memory, Reference};

impl Reference for Advance {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let fresh = &mut memory.write::<i32>(self.fresh, 1)[0];
        if *fresh != 0 {
            *fresh = 0;
            return;
        }
        let (sequences, pages, page_tokens) =
            (self.sequences as usize, self.pages_per_sequence as usize, PAGE_TOKENS as i32);
        let mut positions = memory.write::<i32>(self.positions, sequences);
        let mut lengths = memory.write::<i32>(self.lengths, sequences);
        let mut slots = memory.write::<i32>(self.slot_mapping, sequences);
        let block_table = memory.read::<i32>(self.block_table, sequences * pages);
        for s in (0..sequences).filter(|s| lengths[*s] > 0).collect::<Vec<_>>() {
            positions[s] += 1;
            lengths[s] += 1;
            let page = block_table[s * pages + (positions[s] / page_tokens) as usize];
            slots[s] = page * page_tokens + positions[s] % page_tokens;
        }
    }
}
