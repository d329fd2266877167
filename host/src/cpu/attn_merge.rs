//! Reference of `attn_merge`.
use gpu_kernels::AttnMerge;

use super::attention::{merge, splits, visible};
use crate::device::{Activation, Memory, Reference};

impl Reference for AttnMerge {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (sequences, heads, dim) = (self.sequences as usize, self.heads as usize, self.head_dim as usize);
        let stride = self.splits as usize;
        let partial = memory.read::<f32>(self.partial, sequences * heads * stride * dim);
        let stats = memory.read::<f32>(self.stats, sequences * heads * stride * 2);
        let row_start = memory.read::<i32>(self.row_start, sequences + 1);
        let lengths = memory.read::<i32>(self.lengths, sequences);
        let mut out = memory.write_all::<A>(self.out);
        for s in (0..sequences).filter(|s| row_start[s + 1] - row_start[*s] == 1) {
            let row = &mut out[row_start[s] as usize * heads * dim..][..heads * dim];
            if lengths[s] == 0 {
                row.fill(A::default());
                continue;
            }
            for (head, out) in row.chunks_mut(dim).enumerate() {
                let first = (s * heads + head) * stride;
                merge(
                    splits(visible(lengths[s] as usize - 1, self.window as usize)).map(|(i, _)| {
                        let stat = [stats[(first + i) * 2], stats[(first + i) * 2 + 1]];
                        (&partial[(first + i) * dim..][..dim], stat)
                    }),
                    out,
                );
            }
        }
    }
}
