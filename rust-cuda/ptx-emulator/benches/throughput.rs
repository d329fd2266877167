//! Thread-instructions per second on one core, all checks on: a matrix-vector product and causal attention on tensor
//! cores, both as rustc's NVPTX backend emitted them.

use ptx_emulator::{Launch, Memory, Module, Options, Stats};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let module = Module::parse(include_str!("kernels.ptx"))?;
    let (rows, k) = (512u32, 4096u32);
    let mut memory = Memory::new();
    let w = filled(&mut memory, "w", (rows * k) as usize)?;
    let x = filled(&mut memory, "x", k as usize)?;
    let y = memory.allocate("y", 4 * rows as usize);
    let params = [words(&[w, x, y]), numbers(&[rows, k])].concat();
    let launch = Launch { grid: [rows / 8, 1, 1], block: [256, 1, 1], shared_bytes: 0, cluster: 1 };
    report("gemv", || module.launch_with(&memory, "gemv", &launch, &params, &one_core()))?;

    let rows = 512u32;
    let q = filled(&mut memory, "q", rows as usize * 64)?;
    let o = memory.allocate("o", rows as usize * 128);
    let params = [words(&[q, q, q, o]), numbers(&[rows, 0.18f32.to_bits()])].concat();
    let launch = Launch { grid: [rows / 64, 1, 1], block: [128, 1, 1], shared_bytes: 3 * 64 * 144, cluster: 1 };
    report("attention", || module.launch_with(&memory, "attn", &launch, &params, &one_core()))?;
    Ok(())
}

fn one_core() -> Options {
    Options { threads: 1, ..Options::default() }
}

/// The best of as many runs as fit a second; nothing where the command line names other benches.
fn report<E>(name: &str, run: impl Fn() -> Result<Stats, E>) -> Result<(), E> {
    let mut wanted = std::env::args().skip(1).filter(|a| !a.starts_with('-')).peekable();
    if wanted.peek().is_some() && !wanted.any(|w| name.contains(&w)) {
        return Ok(());
    }
    let (start, mut best, mut stats) = (Instant::now(), Duration::MAX, Stats::default());
    while start.elapsed() < Duration::from_secs(1) {
        let before = Instant::now();
        stats = run()?;
        best = best.min(before.elapsed());
    }
    let rate = |n: u64| n as f64 / best.as_secs_f64() / 1e6;
    println!(
        "{name:<10} {:7.1} M thread-instructions/s {:6.2} M warp-instructions/s ({:.1} ms)",
        rate(stats.thread_instructions),
        rate(stats.warp_instructions),
        best.as_secs_f64() * 1e3
    );
    Ok(())
}

/// An allocation of `count` bf16 numbers between -1 and 1.
fn filled(memory: &mut Memory, name: &str, count: usize) -> Result<u64, ptx_emulator::Fault> {
    let address = memory.allocate(name, 2 * count);
    let number = |i: usize| (i.wrapping_mul(0x9e37_79b9) >> 8 & 0xffff) as f32 / 32768.0 - 1.0;
    let bytes: Vec<u8> = (0..count).flat_map(|i| ((number(i).to_bits() >> 16) as u16).to_le_bytes()).collect();
    memory.write(address, &bytes)?;
    Ok(address)
}

fn words(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn numbers(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}
