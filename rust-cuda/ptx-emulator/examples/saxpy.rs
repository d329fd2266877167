//! Runs a small kernel, then runs it again with a wrong length, to show what a fault looks like.

use ptx_emulator::{Launch, Memory, Module};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let module = Module::parse(include_str!("saxpy.ptx"))?;
    let n = 1000u32;
    let mut memory = Memory::new();
    let x = memory.allocate("x", 4 * n as usize);
    let y = memory.allocate("y", 4 * n as usize);
    let numbers = |f: fn(u32) -> f32| (0..n).flat_map(|i| f(i).to_le_bytes()).collect::<Vec<u8>>();
    memory.write(x, &numbers(|i| i as f32))?;
    memory.write(y, &numbers(|_| 1.0))?;

    let launch = Launch { grid: [n.div_ceil(256), 1, 1], block: [256, 1, 1], shared_bytes: 0, cluster: 1 };
    let stats = module.launch(&memory, "saxpy", &launch, &params(x, y, n))?;
    let mut last = [0; 4];
    memory.read(y + 4 * u64::from(n - 1), &mut last)?;
    println!("y[{}] = {} after {} thread-instructions", n - 1, f32::from_le_bytes(last), stats.thread_instructions);

    match module.launch(&memory, "saxpy", &launch, &params(x, y, n + 1)) {
        Ok(_) => println!("one element too many went unnoticed"),
        Err(fault) => println!("with one element too many:\n{fault}"),
    }
    Ok(())
}

/// The parameter block: two addresses, the factor 2, and the length.
fn params(x: u64, y: u64, n: u32) -> Vec<u8> {
    [&x.to_le_bytes()[..], &y.to_le_bytes(), &2f32.to_le_bytes(), &n.to_le_bytes()].concat()
}
