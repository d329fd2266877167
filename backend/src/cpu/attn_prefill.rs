//! Reference of `attn_prefill`: the sums of `attn_decode`, so that a prompt's chunks change no bit.
use gpu_kernels::{AttnPrefill, KvFormat};

use super::attention::{Cache, attend, visible};
use super::cached::Cached;
use super::parallel::for_each;
use crate::device::{Activation, Memory, Reference};

impl Reference for AttnPrefill {
    fn reference<A: Activation>(&self, memory: &Memory) {
        match self.kv {
            KvFormat::Act => prefill::<A, A>(self, memory),
            KvFormat::Fp8 => prefill::<A, u8>(self, memory),
        }
    }
}

fn prefill<A: Activation, E: Cached>(args: &AttnPrefill, memory: &Memory) {
    let tiles = Tiles::read(args, memory);
    let (heads, dim) = (args.heads as usize, args.head_dim as usize);
    let q = memory.read_all::<A>(args.q);
    let (k_pool, v_pool) = (memory.read_all::<E>(args.k_pool), memory.read_all::<E>(args.v_pool));
    let (q, k_pool, v_pool) = (&*q, &*k_pool, &*v_pool);
    let block_table = &*memory.read_all::<i32>(args.block_table);
    let mut out = memory.write_all::<A>(args.out);
    let owners = tiles.owners(out.len() / (heads * dim));
    let rows = out.chunks_mut(heads * dim).zip(owners).enumerate();
    let rows: Vec<_> = rows.filter_map(|(row, (out, owner))| Some((row, out, owner?))).collect();
    for_each(tiles.pairs() * heads * dim, rows, |(row, out, owner)| {
        let Owner::Sequence { sequence, position } = owner else {
            return out.fill(A::default());
        };
        let pages = args.pages_per_sequence as usize;
        let cache = |head| Cache {
            k_pool,
            v_pool,
            pages: &block_table[sequence * pages..][..pages],
            kv_heads: args.kv_heads as usize,
            head: head / (heads / args.kv_heads as usize),
            head_dim: dim,
            scales: [args.k_scale, args.v_scale],
        };
        let q = &q[row * args.q_stride as usize..][..heads * dim];
        for (head, (q, out)) in q.chunks(dim).zip(out.chunks_mut(dim)).enumerate() {
            attend(q, &cache(head), visible(position, args.window as usize), args.scale, out);
        }
    });
}

/// To whom a row of the step belongs.
#[derive(Clone, Copy)]
enum Owner {
    Nobody,
    Sequence { sequence: usize, position: usize },
}

/// The tiles, as the device inputs hold them.
struct Tiles {
    sequence: Vec<i32>,
    row: Vec<i32>,
    rows: Vec<i32>,
    row_start: Vec<i32>,
    lengths: Vec<i32>,
}

impl Tiles {
    fn read(args: &AttnPrefill, memory: &Memory) -> Tiles {
        let tiles = |source| memory.read::<i32>(source, args.tiles as usize).to_vec();
        Tiles {
            sequence: tiles(args.tile_sequence),
            row: tiles(args.tile_row),
            rows: tiles(args.tile_rows),
            row_start: memory.read_all::<i32>(args.row_start).to_vec(),
            lengths: memory.read_all::<i32>(args.lengths).to_vec(),
        }
    }

    /// The owner of each of the step's rows; none for rows of no tile, which stay as they are.
    fn owners(&self, rows: usize) -> Vec<Option<Owner>> {
        let mut owners = vec![None; rows];
        for tile in 0..self.sequence.len() {
            for row in self.row[tile]..self.row[tile] + self.rows[tile] {
                owners[row as usize] = Some(self.owner(self.sequence[tile], row));
            }
        }
        owners
    }

    fn owner(&self, sequence: i32, row: i32) -> Owner {
        let Ok(sequence) = usize::try_from(sequence) else {
            return Owner::Nobody;
        };
        let position = self.lengths[sequence] - (self.row_start[sequence + 1] - row);
        Owner::Sequence { sequence, position: position as usize }
    }

    /// About how many pairs of a query and a key there are.
    fn pairs(&self) -> usize {
        let live = self.sequence.iter().zip(&self.rows).filter(|(sequence, _)| **sequence >= 0);
        live.map(|(sequence, rows)| *rows as usize * self.lengths[*sequence as usize] as usize).sum()
    }
}
