//! The CPU's product against the speed of memory: one token of a 256000×3072 BF16 head, and a plain read of its bytes.
use std::time::Instant;

use bytes::Bytes;
use gpu_kernels::{Element, Gemv};
use half::bf16;
use nemotron_backend::device::{BufferKind, Buffers, Memory, Reference, Weight, WeightPart};
use rayon::prelude::*;

const ROWS: usize = 256_000;
const COLUMNS: usize = 3072;
const RUNS: usize = 5;

fn main() {
    let mut weights = vec![bf16::ZERO; ROWS * COLUMNS];
    weights.par_chunks_mut(COLUMNS).enumerate().for_each(|(row, weights)| {
        let value = |column| bf16::from_f32(((row * 31 + column * 17) % 97) as f32 / 97.0 - 0.5);
        weights.iter_mut().enumerate().for_each(|(column, weight)| *weight = value(column));
    });
    let bytes = Bytes::from_owner(Weights(weights));
    let stream = gigabytes_per_second(|| std::hint::black_box(checksum(&bytes)));
    let part = WeightPart::new(bytes.clone(), COLUMNS, 0..ROWS, 0..COLUMNS);
    let (gemv, memory) = product(Weight::new(vec![part]));
    let product = gigabytes_per_second(|| gemv.reference::<bf16>(&memory));
    println!("read stream  {ROWS}x{COLUMNS} bf16  {stream:6.1} GB/s");
    println!(
        "gemv         {ROWS}x{COLUMNS} bf16  {product:6.1} GB/s  {:4.0} % of the stream",
        100.0 * product / stream
    );
}

struct Weights(Vec<bf16>);

impl AsRef<[u8]> for Weights {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// Reads every byte with all threads of the pool.
fn checksum(bytes: &[u8]) -> u64 {
    let words: &[u64] = bytemuck::cast_slice(bytes);
    let pieces = words.par_chunks(words.len() / rayon::current_num_threads());
    pieces.map(|piece| piece.iter().fold(0, |sum: u64, word| sum.wrapping_add(*word))).reduce(|| 0, u64::wrapping_add)
}

fn product(weights: Weight) -> (Gemv, Memory) {
    let mut buffers = Buffers::default();
    let x: Vec<f32> = (0..COLUMNS).map(|i| (i % 13) as f32 / 13.0 - 0.5).collect();
    let x = buffers.add("x", Element::Act, COLUMNS as u64, BufferKind::Constant(x));
    let w = buffers.add_weight("w", weights);
    let logits = buffers.add("logits", Element::F32, ROWS as u64, BufferKind::Scratch);
    let (n, k) = (ROWS as u32, COLUMNS as u32);
    let gemv = Gemv { y_f32: logits.ptr(), ..Gemv::new(x.ptr(), w.ptr(), [1, n, k]) };
    (gemv, Memory::new::<bf16>(buffers))
}

/// Median of the runs, after one to warm up.
fn gigabytes_per_second<R>(mut run: impl FnMut() -> R) -> f64 {
    run();
    let mut seconds: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    (ROWS * COLUMNS * 2) as f64 / seconds[RUNS / 2] / 1e9
}
