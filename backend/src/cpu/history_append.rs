//! Reference of `history_append`.
use gpu_kernels::HistoryAppend;

use crate::device::{Activation, Memory, Reference};

impl Reference for HistoryAppend {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let rows = self.rows as usize;
        let ids = memory.read::<i32>(self.ids, rows);
        let sampled = memory.read_all::<i32>(self.sampled);
        let slots = memory.read::<i32>(self.slots, rows);
        let positions = memory.read::<i32>(self.positions, rows);
        let mut history = memory.write_all::<i32>(self.history);
        for row in 0..rows {
            let id = if ids[row] >= 0 { ids[row] } else { sampled[(-1 - ids[row]) as usize] };
            history[slots[row] as usize * self.context as usize + positions[row] as usize] = id;
        }
    }
}
