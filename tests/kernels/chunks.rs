//! However a prompt is cut into steps, the references of attention give each of its rows the same bits.
use gpu_kernels::{AttnDecode, AttnPrefill, KvFormat, Ptr, SPLIT_TOKENS, TILE_ROWS};

use crate::data::Data;
use crate::oracle::Precision;
use crate::paged::{Batch, Heads, Sequence};
use crate::random::Random;
use crate::target::Target;

const HEADS: Heads = Heads { heads: 4, kv_heads: 2, dim: 64 };
const WIDTH: usize = HEADS.heads * HEADS.dim;

/// A prompt whose keys and values are in the cache already.
struct Prompt {
    q: Vec<f32>,
    k_pool: Vec<f32>,
    v_pool: Vec<f32>,
    batch: Batch,
    window: u32,
}

/// The bits of one row's output.
type Bits = Vec<Option<u64>>;

impl Prompt {
    fn new(length: usize, window: u32) -> Prompt {
        let mut random = Random::new(7);
        let batch = Batch::new(&[Sequence { new: length, length }], &mut random);
        let (k_pool, v_pool) = (batch.pool(HEADS, 1.0, &mut random), batch.pool(HEADS, 1.0, &mut random));
        Prompt { q: random.reals(length * WIDTH, 1.0), k_pool, v_pool, batch, window }
    }

    /// Rows `first .. first + new` as one step, by the kernels that serve so many new tokens.
    fn step(&self, precision: Precision, first: usize, new: usize) -> Vec<Bits> {
        if new == 1 { self.decode(precision, first) } else { self.prefill(precision, first, new) }
    }

    fn prefill(&self, mut precision: Precision, first: usize, new: usize) -> Vec<Bits> {
        let starts: Vec<i32> = (0..new as i32).step_by(TILE_ROWS as usize).collect();
        let mut data = Data::default();
        let kernel = AttnPrefill {
            q: data.reals("q", self.q[first * WIDTH..][..new * WIDTH].to_vec()),
            k_pool: data.reals("k_pool", self.k_pool.clone()),
            v_pool: data.reals("v_pool", self.v_pool.clone()),
            block_table: data.integers("block_table", self.batch.block_table.clone()),
            row_start: data.integers("row_start", vec![0, new as i32]),
            lengths: data.integers("lengths", vec![(first + new) as i32]),
            tile_sequence: data.integers("tile_sequence", vec![0; starts.len()]),
            tile_rows: data
                .integers("tile_rows", starts.iter().map(|row| (new as i32 - row).min(TILE_ROWS as i32)).collect()),
            tiles: starts.len() as u32,
            tile_row: data.integers("tile_row", starts),
            out: data.undefined("out", new * WIDTH),
            q_stride: WIDTH as u32,
            heads: HEADS.heads as u32,
            kv_heads: HEADS.kv_heads as u32,
            head_dim: HEADS.dim as u32,
            pages_per_sequence: self.batch.pages_per_sequence as u32,
            window: self.window,
            scale: 0.125,
            kv: KvFormat::Act,
            k_scale: 1.0,
            v_scale: 1.0,
        };
        bits(&precision.run(&kernel, &data).expect("attn_prefill runs")[9])
    }

    fn decode(&self, mut precision: Precision, position: usize) -> Vec<Bits> {
        let splits = (position + 1).div_ceil(SPLIT_TOKENS as usize);
        let mut data = Data::default();
        let kernel = AttnDecode {
            qkv: data.reals("q", self.q[position * WIDTH..][..WIDTH].to_vec()),
            cos: Ptr::NULL,
            sin: Ptr::NULL,
            k_pool: data.reals("k_pool", self.k_pool.clone()),
            v_pool: data.reals("v_pool", self.v_pool.clone()),
            block_table: data.integers("block_table", self.batch.block_table.clone()),
            row_start: data.integers("row_start", vec![0, 1]),
            lengths: data.integers("lengths", vec![position as i32 + 1]),
            partial: data.undefined("partial", HEADS.heads * splits * HEADS.dim),
            stats: data.undefined("stats", HEADS.heads * splits * 2),
            counters: data.integers("counters", vec![0; HEADS.kv_heads]),
            out: data.undefined("out", WIDTH),
            sequences: 1,
            splits: splits as u32,
            q_stride: WIDTH as u32,
            heads: HEADS.heads as u32,
            kv_heads: HEADS.kv_heads as u32,
            head_dim: HEADS.dim as u32,
            rotary_dims: 0,
            pages_per_sequence: self.batch.pages_per_sequence as u32,
            window: self.window,
            scale: 0.125,
            kv: KvFormat::Act,
            k_scale: 1.0,
            v_scale: 1.0,
        };
        bits(&precision.run(&kernel, &data).expect("attn_decode runs")[9])
    }
}

fn bits(out: &[Option<f64>]) -> Vec<Bits> {
    out.chunks(WIDTH).map(|row| row.iter().map(|value| value.map(f64::to_bits)).collect()).collect()
}

#[test]
fn chunks_of_a_prompt_change_no_bit() {
    let length = 290;
    for (precision, window) in [(Precision::F32, 0), (Precision::Bf16, 0), (Precision::F32, 150), (Precision::Bf16, 5)]
    {
        let prompt = Prompt::new(length, window);
        let whole = prompt.step(precision, 0, length);
        for chunk in [1, 7, 64, 100] {
            let steps = (0..length).step_by(chunk);
            let chunked = steps.flat_map(|first| prompt.step(precision, first, chunk.min(length - first)));
            for (position, (got, want)) in chunked.zip(&whole).enumerate() {
                assert!(got == *want, "{precision:?}, window {window}, chunks of {chunk}: row {position} differs");
            }
        }
    }
}
