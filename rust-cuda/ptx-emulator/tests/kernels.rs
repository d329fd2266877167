//! Whole kernels as rustc's NVPTX backend emitted them, against plain f64 arithmetic.

use ptx_emulator::{Launch, Memory, Module, Options};

const TEXT: &str = include_str!("../benches/kernels.ptx");

/// Numbers between -1 and 1 that bf16 holds exactly.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    let hash = |i: usize| (i + seed).wrapping_mul(0x9e37_79b9) >> 7 & 0xff;
    (0..count).map(|i| hash(i) as f32 / 128.0 - 1.0).collect()
}

fn upload(memory: &mut Memory, name: &str, values: &[f32]) -> u64 {
    let address = memory.allocate(name, 2 * values.len());
    let bytes: Vec<u8> = values.iter().flat_map(|v| ((v.to_bits() >> 16) as u16).to_le_bytes()).collect();
    memory.write(address, &bytes).expect("a write inside the allocation");
    address
}

fn params(addresses: &[u64], rest: [u32; 2]) -> Vec<u8> {
    let addresses = addresses.iter().flat_map(|a| a.to_le_bytes());
    addresses.chain(rest.into_iter().flat_map(u32::to_le_bytes)).collect()
}

#[test]
fn gemv_is_the_product() {
    let module = Module::parse(TEXT).expect("the text parses");
    for (rows, k) in [(1, 256), (13, 264), (31, 1000)] {
        let (w, x) = (numbers(rows * k, 1), numbers(k, 77));
        let mut memory = Memory::new();
        let (wa, xa) = (upload(&mut memory, "w", &w), upload(&mut memory, "x", &x));
        let y = memory.allocate("y", 4 * rows);
        let launch = Launch { grid: [rows.div_ceil(4) as u32, 1, 1], block: [128, 1, 1], shared_bytes: 0, cluster: 1 };
        module.launch(&memory, "gemv", &launch, &params(&[wa, xa, y], [rows as u32, k as u32])).expect("no fault");
        let mut bytes = vec![0; 4 * rows];
        memory.read(y, &mut bytes).expect("every row");
        for (row, got) in bytes.chunks_exact(4).enumerate() {
            let got = f64::from(f32::from_le_bytes([got[0], got[1], got[2], got[3]]));
            let want: f64 = (0..k).map(|i| f64::from(w[row * k + i]) * f64::from(x[i])).sum();
            assert!((got - want).abs() < 1e-4, "row {row} of {rows} by {k}: got {got}, want {want}");
        }
    }
}

/// One row of causal attention with 2^(q·k·scale) as weights.
fn attention_row(row: usize, scale: f64, [q, k, v]: [&[f32]; 3]) -> Vec<f64> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let at = |x: usize| 64 * x..64 * (x + 1);
    let weights: Vec<f64> = (0..=row).map(|key| (dot(&q[at(row)], &k[at(key)]) * scale).exp2()).collect();
    let total: f64 = weights.iter().sum();
    let sum = |c: usize| weights.iter().zip(0..).map(|(w, key)| w * f64::from(v[64 * key + c])).sum::<f64>();
    (0..64).map(|c| sum(c) / total).collect()
}

#[test]
fn attention_is_the_weighted_mean() {
    let module = Module::parse(TEXT).expect("the text parses");
    for rows in [1, 63, 130] {
        let [q, k, v] = [3, 500, 9000].map(|seed| numbers(64 * rows, seed));
        let mut outputs = Vec::new();
        for threads in [1, 3] {
            let mut memory = Memory::new();
            let addresses = [("q", &q), ("k", &k), ("v", &v)].map(|(name, x)| upload(&mut memory, name, x));
            let out = memory.allocate("o", 128 * rows);
            let all = [addresses[0], addresses[1], addresses[2], out];
            let launch = Launch {
                grid: [rows.div_ceil(64) as u32, 1, 1],
                block: [128, 1, 1],
                shared_bytes: 3 * 64 * 144,
                cluster: 1,
            };
            let options = Options { threads, ..Options::default() };
            let params = params(&all, [rows as u32, 0.18f32.to_bits()]);
            module.launch_with(&memory, "attn", &launch, &params, &options).expect("no fault");
            let mut bytes = vec![0; 128 * rows];
            memory.read(out, &mut bytes).expect("every row");
            outputs.push(bytes);
        }
        assert_eq!(outputs[0], outputs[1], "one thread or several");
        for row in 0..rows {
            let want = attention_row(row, f64::from(0.18f32), [&q, &k, &v]);
            for (c, got) in outputs[0][128 * row..128 * (row + 1)].chunks_exact(2).enumerate() {
                let got = f64::from(f32::from_bits(u32::from(u16::from_le_bytes([got[0], got[1]])) << 16));
                assert!((got - want[c]).abs() < 0.01, "row {row} of {rows}, {c}: got {got}, want {}", want[c]);
            }
        }
    }
}
