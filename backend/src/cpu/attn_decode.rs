//! Reference of `attn_decode`.
use gpu_kernels::{AttnDecode, KvFormat};

use super::attention::{Cache, attend, cache_row, rotate, visible};
use super::cached::{Cached, keep};
use super::parallel::for_each;
use crate::device::{Activation, Memory, Reference};

impl Reference for AttnDecode {
    fn reference<A: Activation>(&self, memory: &Memory) {
        match self.kv {
            KvFormat::Act => decode::<A, A>(self, memory),
            KvFormat::Fp8 => decode::<A, u8>(self, memory),
        }
    }
}

fn decode<A: Activation, E: Cached>(args: &AttnDecode, memory: &Memory) {
    let tokens = tokens(args, memory);
    let mut rows = memory.read::<A>(args.qkv, end(&tokens) * args.q_stride as usize).to_vec();
    if !args.cos.is_null() {
        rotate_rows(args, memory, &tokens, &mut rows);
        append::<A, E>(args, memory, &tokens, &rows);
    }
    attend_all::<A, E>(args, memory, &tokens, &rows);
}

/// A sequence that adds one token: its number, its row, and its keys; no keys of a pad.
struct Token {
    sequence: usize,
    row: usize,
    keys: usize,
}

/// The row behind the last token's: buffers are as long as the largest step, and a decode has few rows.
fn end(tokens: &[Token]) -> usize {
    tokens.iter().map(|token| token.row + 1).max().unwrap_or(0)
}

fn tokens(args: &AttnDecode, memory: &Memory) -> Vec<Token> {
    let sequences = args.sequences as usize;
    let row_start = memory.read::<i32>(args.row_start, sequences + 1);
    let lengths = memory.read::<i32>(args.lengths, sequences);
    let adding = (0..sequences).filter(|s| row_start[s + 1] - row_start[*s] == 1);
    adding.map(|s| Token { sequence: s, row: row_start[s] as usize, keys: lengths[s] as usize }).collect()
}

/// Rotates the queries and keys of each token's row.
fn rotate_rows<A: Activation>(args: &AttnDecode, memory: &Memory, tokens: &[Token], rows: &mut [A]) {
    let (dim, half) = (args.head_dim as usize, args.rotary_dims as usize / 2);
    let rotated = (args.heads + args.kv_heads) as usize * dim;
    let (cos, sin) = (memory.read_all::<A>(args.cos), memory.read_all::<A>(args.sin));
    for token in tokens.iter().filter(|token| token.keys > 0) {
        let angles = (token.keys - 1) * half..token.keys * half;
        let heads = &mut rows[token.row * args.q_stride as usize..][..rotated];
        heads.chunks_mut(dim).for_each(|head| rotate(head, (&cos[angles.clone()], &sin[angles.clone()])));
    }
}

/// Writes the last key and value of each sequence to its page.
fn append<A: Activation, E: Cached>(args: &AttnDecode, memory: &Memory, tokens: &[Token], rows: &[A]) {
    let (heads, kv_heads, dim) = (args.heads as usize, args.kv_heads as usize, args.head_dim as usize);
    let block_table = memory.read_all::<i32>(args.block_table);
    let mut k_pool = memory.write_all::<E>(args.k_pool);
    let mut v_pool = memory.write_all::<E>(args.v_pool);
    for token in tokens.iter().filter(|token| token.keys > 0) {
        let pages = &block_table[token.sequence * args.pages_per_sequence as usize..];
        let row = &rows[token.row * args.q_stride as usize..];
        for head in 0..kv_heads {
            let cached = cache_row(pages, (kv_heads, head), dim, token.keys - 1);
            keep(&mut k_pool[cached.clone()], &row[(heads + head) * dim..][..dim], args.k_scale);
            keep(&mut v_pool[cached], &row[(heads + kv_heads + head) * dim..][..dim], args.v_scale);
        }
    }
}

/// Attention of the rotated rows over the pools.
fn attend_all<A: Activation, E: Cached>(args: &AttnDecode, memory: &Memory, tokens: &[Token], rows: &[A]) {
    let (heads, kv_heads, dim) = (args.heads as usize, args.kv_heads as usize, args.head_dim as usize);
    let (stride, pages) = (args.splits as usize, args.pages_per_sequence as usize);
    let (k_pool, v_pool) = (memory.read_all::<E>(args.k_pool), memory.read_all::<E>(args.v_pool));
    let (k_pool, v_pool, block_table) = (&*k_pool, &*v_pool, &*memory.read_all::<i32>(args.block_table));
    let mut partial = memory.write::<f32>(args.partial, args.sequences as usize * heads * stride * dim);
    let mut stats = memory.write::<f32>(args.stats, args.sequences as usize * heads * stride * 2);
    let mut out = memory.write::<A>(args.out, end(tokens) * heads * dim);
    let mut kept: Vec<_> = partial.chunks_mut(stride * dim).zip(stats.chunks_mut(stride * 2)).map(Some).collect();
    let mut outs: Vec<_> = out.chunks_mut(dim).map(Some).collect();
    let heads_of = |token| (0..heads).map(move |head| (token, head));
    let items = tokens.iter().flat_map(heads_of).map(|(token, head)| {
        let kept = kept[token.sequence * heads + head].take().expect("a head of a sequence comes once");
        let out = outs[token.row * heads + head].take().expect("a row is of one sequence");
        (token, head, kept, out)
    });
    let keys: usize = tokens.iter().map(|token| token.keys).sum();
    for_each(keys * heads * dim, items.collect(), |(token, head, (partial, stats), out)| {
        if token.keys == 0 {
            return out.fill(A::default());
        }
        let cache = Cache {
            k_pool,
            v_pool,
            pages: &block_table[token.sequence * pages..][..pages],
            kv_heads,
            head: head / (heads / kv_heads),
            head_dim: dim,
            scales: [args.k_scale, args.v_scale],
        };
        let query = &rows[token.row * args.q_stride as usize + head * dim..][..dim];
        let splits = attend(query, &cache, visible(token.keys - 1, args.window as usize), args.scale, out);
        if splits.len() > 1 {
            for (i, (sums, stat)) in splits {
                partial[i * dim..][..dim].copy_from_slice(&sums);
                stats[i * 2..][..2].copy_from_slice(&stat);
            }
        }
    });
}
