//! Reference of `rope_kv_append`.
use gpu_kernels::{KvFormat, PAGE_TOKENS, RopeKvAppend};

use super::attention::rotate;
use super::cached::{Cached, keep};
use super::parallel::for_each;
use crate::device::{Activation, Memory, Reference};

impl Reference for RopeKvAppend {
    fn reference<A: Activation>(&self, memory: &Memory) {
        match self.kv {
            KvFormat::Act => append::<A, A>(self, memory),
            KvFormat::Fp8 => append::<A, u8>(self, memory),
        }
    }
}

fn append<A: Activation, E: Cached>(args: &RopeKvAppend, memory: &Memory) {
    let (rows, dim, kv_heads) = (args.rows as usize, args.head_dim as usize, args.kv_heads as usize);
    let (queries, keys) = (args.heads as usize * dim, kv_heads * dim);
    let half = args.rotary_dims as usize / 2;
    let positions = memory.read::<i32>(args.positions, rows);
    let slots = memory.read::<i32>(args.slot_mapping, rows);
    let (cos, sin) = (memory.read_all::<A>(args.cos), memory.read_all::<A>(args.sin));
    let angles = |position: i32| {
        let row = position as usize * half..(position as usize + 1) * half;
        (&cos[row.clone()], &sin[row])
    };
    let mut qkv = memory.write::<A>(args.qkv, rows * (queries + 2 * keys));
    let mut k_pool = memory.write_all::<E>(args.k_pool);
    let mut v_pool = memory.write_all::<E>(args.v_pool);
    for ((row, position), slot) in qkv.chunks(queries + 2 * keys).zip(positions.iter()).zip(slots.iter()) {
        let (page, offset) = (*slot as usize / PAGE_TOKENS as usize, *slot as usize % PAGE_TOKENS as usize);
        for head in 0..kv_heads {
            let cached = ((page * kv_heads + head) * PAGE_TOKENS as usize + offset) * dim;
            let mut key = row[queries + head * dim..][..dim].to_vec();
            rotate(&mut key, angles(*position));
            keep(&mut k_pool[cached..][..dim], &key, args.k_scale);
            keep(&mut v_pool[cached..][..dim], &row[queries + keys + head * dim..][..dim], args.v_scale);
        }
    }
    let items = qkv.chunks_mut(queries + 2 * keys).zip(positions.iter().map(|p| angles(*p))).collect();
    for_each(rows * queries * 3, items, |(row, angles)| {
        row[..queries].chunks_mut(dim).for_each(|head| rotate(head, angles));
    });
}
