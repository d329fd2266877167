//! Reference of `gather_rows`.
use gpu_kernels::GatherRows;

use crate::device::{Activation, Memory, Reference};

impl Reference for GatherRows {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (rows, hidden) = (self.rows as usize, self.hidden as usize);
        let x = memory.read_all::<A>(self.x);
        let index = memory.read::<i32>(self.index, rows);
        let mut out = memory.write::<A>(self.out, rows * hidden);
        for (row, out) in index.iter().zip(out.chunks_mut(hidden)) {
            out.copy_from_slice(&x[*row as usize * hidden..][..hidden]);
        }
    }
}
