//! Reference of `attn_decode`.
use gpu_kernels::AttnDecode;

use super::attention::{Cache, split, splits, visible, widen};
use super::parallel::for_each;
use crate::device::{Activation, Memory, Reference};

impl Reference for AttnDecode {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (sequences, heads, dim) = (self.sequences as usize, self.heads as usize, self.head_dim as usize);
        let (stride, pages) = (self.splits as usize, self.pages_per_sequence as usize);
        let q = memory.read_all::<A>(self.q);
        let (k_pool, v_pool) = (memory.read_all::<A>(self.k_pool), memory.read_all::<A>(self.v_pool));
        let (q, k_pool, v_pool) = (&*q, &*k_pool, &*v_pool);
        let block_table = &*memory.read::<i32>(self.block_table, sequences * pages);
        let row_start = &*memory.read::<i32>(self.row_start, sequences + 1);
        let lengths = &*memory.read::<i32>(self.lengths, sequences);
        let mut partial = memory.write::<f32>(self.partial, sequences * heads * stride * dim);
        let mut stats = memory.write::<f32>(self.stats, sequences * heads * stride * 2);
        let items = partial.chunks_mut(stride * dim).zip(stats.chunks_mut(stride * 2)).enumerate();
        let live = items.filter(|(i, _)| {
            let s = i / heads;
            row_start[s + 1] - row_start[s] == 1 && lengths[s] > 0
        });
        let keys: usize = lengths.iter().map(|length| *length as usize).sum();
        for_each(keys * heads * dim, live.collect(), |(i, (partial, stats))| {
            let (s, head) = (i / heads, i % heads);
            let cache = Cache {
                k_pool,
                v_pool,
                pages: &block_table[s * pages..][..pages],
                kv_heads: self.kv_heads as usize,
                head: head / (heads / self.kv_heads as usize),
                head_dim: dim,
            };
            let mut query = vec![0.0; dim];
            widen(&q[row_start[s] as usize * self.q_stride as usize + head * dim..][..dim], &mut query);
            for (i, keys) in splits(visible(lengths[s] as usize - 1, self.window as usize)) {
                let stat = split(&query, &cache, keys, self.scale, &mut partial[i * dim..][..dim]);
                stats[i * 2..][..2].copy_from_slice(&stat);
            }
        });
    }
}
