//! Reference of `rope_kv_append`.
use gpu_kernels::{PAGE_TOKENS, RopeKvAppend};

use super::attention::rotate;
use super::parallel::for_each;
use crate::device::{Activation, Memory, Reference};

impl Reference for RopeKvAppend {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (rows, dim, kv_heads) = (self.rows as usize, self.head_dim as usize, self.kv_heads as usize);
        let (queries, keys) = (self.heads as usize * dim, kv_heads * dim);
        let half = self.rotary_dims as usize / 2;
        let positions = memory.read::<i32>(self.positions, rows);
        let slots = memory.read::<i32>(self.slot_mapping, rows);
        let (cos, sin) = (memory.read_all::<A>(self.cos), memory.read_all::<A>(self.sin));
        let angles = |position: i32| {
            let row = position as usize * half..(position as usize + 1) * half;
            (&cos[row.clone()], &sin[row])
        };
        let mut qkv = memory.write::<A>(self.qkv, rows * (queries + 2 * keys));
        let mut k_pool = memory.write_all::<A>(self.k_pool);
        let mut v_pool = memory.write_all::<A>(self.v_pool);
        for ((row, position), slot) in qkv.chunks(queries + 2 * keys).zip(positions.iter()).zip(slots.iter()) {
            let (page, offset) = (*slot as usize / PAGE_TOKENS as usize, *slot as usize % PAGE_TOKENS as usize);
            for head in 0..kv_heads {
                let cached = ((page * kv_heads + head) * PAGE_TOKENS as usize + offset) * dim;
                let (key, value) = (&mut k_pool[cached..][..dim], &mut v_pool[cached..][..dim]);
                key.copy_from_slice(&row[queries + head * dim..][..dim]);
                value.copy_from_slice(&row[queries + keys + head * dim..][..dim]);
                rotate(key, angles(*position));
            }
        }
        let items = qkv.chunks_mut(queries + 2 * keys).zip(positions.iter().map(|p| angles(*p))).collect();
        for_each(rows * queries * 3, items, |(row, angles)| {
            row[..queries].chunks_mut(dim).for_each(|head| rotate(head, angles));
        });
    }
}
