//! Reference of `embed`.
use gpu_kernels::Embed;

use super::parallel::for_each;
use crate::device::{Activation, Memory, Reference};

impl Reference for Embed {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (rows, hidden, ranks) = (self.rows as usize, self.hidden as usize, self.ranks as usize);
        let ids = memory.read::<i32>(self.ids, rows);
        let sampled = memory.read_all::<i32>(self.sampled);
        let tables: Vec<_> = self.tables[..ranks].iter().map(|table| memory.weight(*table)).collect();
        let mut out = memory.write::<A>(self.out, rows * ranks * hidden);
        let token = |id: i32| if id >= 0 { id } else { sampled[(-1 - id) as usize] };
        let tokens = ids.iter().map(|id| token(*id) as usize);
        let parts = tokens.flat_map(|token| tables.iter().map(move |table| (token, &**table)));
        for_each(rows * ranks * hidden, parts.zip(out.chunks_mut(hidden)).collect(), |((token, table), out)| {
            out.iter_mut().zip(table.row(token)).for_each(|(out, w)| *out = A::from_f32(w.to_f32()));
        });
    }
}
