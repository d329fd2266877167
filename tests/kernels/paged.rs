//! Ragged batches over a paged cache, as the engine would lay them out.
use gpu_kernels::PAGE_TOKENS;

use crate::random::Random;

/// One sequence of a step: its new tokens, and its keys with them. No keys: a pad.
#[derive(Clone, Copy, Debug)]
pub struct Sequence {
    pub new: usize,
    pub length: usize,
}

/// Shape of attention.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    pub heads: usize,
    pub kv_heads: usize,
    pub dim: usize,
}

impl Heads {
    /// Width of a row of queries, keys and values.
    pub fn qkv(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.dim
    }
}

/// The integers of a step. Page 0 is the scrap page.
pub struct Batch {
    pub sequences: Vec<Sequence>,
    pub row_start: Vec<i32>,
    pub lengths: Vec<i32>,
    pub block_table: Vec<i32>,
    pub pages_per_sequence: usize,
    pub pages: usize,
}

impl Batch {
    /// Every sequence has pages of its own, in random order among a few that nobody uses.
    pub fn new(sequences: &[Sequence], random: &mut Random) -> Batch {
        let needed = |sequence: &Sequence| sequence.length.div_ceil(PAGE_TOKENS as usize);
        let pages_per_sequence = sequences.iter().map(needed).max().unwrap_or(0).max(1);
        let pages = 3 + sequences.iter().map(needed).sum::<usize>();
        let mut free = random.permutation(pages - 1).into_iter().map(|page| page as i32 + 1);
        let mut block_table = vec![0; sequences.len() * pages_per_sequence];
        for (sequence, table) in sequences.iter().zip(block_table.chunks_mut(pages_per_sequence)) {
            table[..needed(sequence)].iter_mut().for_each(|page| *page = free.next().expect("enough pages"));
        }
        let mut row_start = vec![0];
        sequences.iter().for_each(|s| row_start.push(row_start[row_start.len() - 1] + s.new as i32));
        let lengths = sequences.iter().map(|s| s.length as i32).collect();
        Batch { sequences: sequences.to_vec(), row_start, lengths, block_table, pages_per_sequence, pages }
    }

    /// Token rows of the step.
    pub fn rows(&self) -> usize {
        self.row_start[self.sequences.len()] as usize
    }

    /// A pool of keys or values of standard deviation `scale`. Rows that no sequence has reached hold large numbers: what
    /// an earlier owner of the page may have left.
    pub fn pool(&self, heads: Heads, scale: f32, random: &mut Random) -> Vec<f32> {
        let tokens = PAGE_TOKENS as usize;
        let mut pool: Vec<f32> = random.reals(self.pages * heads.kv_heads * tokens * heads.dim, 1e4);
        for (sequence, table) in self.sequences.iter().zip(self.block_table.chunks(self.pages_per_sequence)) {
            for position in 0..sequence.length {
                for head in 0..heads.kv_heads {
                    let block = table[position / tokens] as usize * heads.kv_heads + head;
                    let row = (block * tokens + position % tokens) * heads.dim;
                    pool[row..row + heads.dim].copy_from_slice(&random.reals(heads.dim, scale));
                }
            }
        }
        pool
    }
}
