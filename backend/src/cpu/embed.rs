//! Reference of `embed`.
use gpu_kernels::Embed;

use super::parallel::for_each;
use crate::device::{Activation, Memory, Reference};

impl Reference for Embed {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (rows, hidden) = (self.rows as usize, self.hidden as usize);
        let ids = memory.read::<i32>(self.ids, rows);
        let sampled = memory.read_all::<i32>(self.sampled);
        let table = &*memory.weight(self.table);
        let mut out = memory.write::<A>(self.out, rows * hidden);
        let token = |id: i32| if id >= 0 { id } else { sampled[(-1 - id) as usize] };
        let tokens = ids.iter().map(|id| token(*id) as usize);
        for_each(rows * hidden, tokens.zip(out.chunks_mut(hidden)).collect(), |(token, out)| {
            out.iter_mut().zip(table.row(token)).for_each(|(out, w)| *out = A::from_f32(w.to_f32()));
        });
    }
}
