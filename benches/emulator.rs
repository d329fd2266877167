//! How fast the emulator runs the project's own kernels, all checks on, on one core: `gemv` and `attn_prefill_128`.
use std::time::{Duration, Instant};

use gpu_kernels::{AttnPrefill, DeviceInfo, Gemv, Kernel, KvFormat, PAGE_TOKENS, Ptr, Role, TILE_ROWS};
use half::bf16;
use nemotron_backend::device::cuda::embedded_ptx;
use ptx_emulator::{Launch, Memory, Module, Options};

const INFO: DeviceInfo = DeviceInfo {
    compute_capability: (8, 0),
    multiprocessors: 108,
    shared_bytes_per_block: 163 * 1024,
    clusters: false,
};
const PAGES: u32 = 4;
const HEADS: u32 = 4;
const HEAD_DIM: u32 = 128;
const LENGTH: i32 = (PAGES * PAGE_TOKENS) as i32;

fn main() {
    let ptx = embedded_ptx((8, 0)).expect("it is embedded");
    let module = Module::parse(&ptx.text).expect("the emulator knows the project's PTX");
    let mut buffers = Buffers::default();
    let gemv = gemv(&mut buffers, 256, 3072);
    report(&module, &buffers, &gemv);
    let mut buffers = Buffers::default();
    let attention = attention(&mut buffers);
    report(&module, &buffers, &attention);
}

/// The emulator's memory, and the address of each buffer by number.
#[derive(Default)]
struct Buffers {
    memory: Memory,
    addresses: Vec<u64>,
}

impl Buffers {
    fn add<R: Role, T: bytemuck::NoUninit>(&mut self, values: &[T]) -> Ptr<R> {
        let address = self.memory.allocate(&format!("buffer {}", self.addresses.len()), size_of_val(values));
        self.memory.write(address, bytemuck::cast_slice(values)).expect("the buffer is there");
        self.addresses.push(address);
        Ptr::new(self.addresses.len() as u32 - 1, 0)
    }

    fn reals<R: Role>(&mut self, count: u32) -> Ptr<R> {
        let values: Vec<bf16> = (0..count).map(|i| bf16::from_f32((i * 31 % 97) as f32 / 97.0 - 0.5)).collect();
        self.add(&values)
    }
}

fn gemv(buffers: &mut Buffers, n: u32, k: u32) -> Gemv {
    let (x, w, y) = (buffers.reals(k), buffers.reals(n * k), buffers.reals(n));
    Gemv { y, ..Gemv::new(x, w, [1, n, k]) }
}

/// One tile of queries at the end of four pages of keys.
fn attention(buffers: &mut Buffers) -> AttnPrefill {
    let width = HEADS * HEAD_DIM;
    AttnPrefill {
        q: buffers.reals(TILE_ROWS * width),
        k_pool: buffers.reals(PAGES * PAGE_TOKENS * width),
        v_pool: buffers.reals(PAGES * PAGE_TOKENS * width),
        block_table: buffers.add(&[2, 0, 3, 1]),
        row_start: buffers.add(&[0, TILE_ROWS as i32]),
        lengths: buffers.add(&[LENGTH]),
        tile_sequence: buffers.add(&[0]),
        tile_row: buffers.add(&[0]),
        tile_rows: buffers.add(&[TILE_ROWS as i32]),
        out: buffers.reals(TILE_ROWS * width),
        tiles: 1,
        q_stride: width,
        heads: HEADS,
        kv_heads: HEADS,
        head_dim: HEAD_DIM,
        pages_per_sequence: PAGES,
        window: 0,
        scale: 0.1,
        kv: KvFormat::Act,
        k_scale: 1.0,
        v_scale: 1.0,
    }
}

/// Launches for two seconds and prints the best rate of them.
fn report<K: Kernel>(module: &Module, buffers: &Buffers, kernel: &K) {
    kernel.check().expect("the shapes are as the kernel requires");
    let launch = kernel.launch(&INFO);
    let mut args = *kernel;
    args.resolve(&mut |buffer, offset, element| buffers.addresses[buffer as usize] + offset * element.bytes(2));
    let mut bytes = vec![0; size_of::<K>()];
    args.write(&mut bytes);
    let shape =
        Launch { grid: launch.grid, block: launch.block, shared_bytes: launch.shared_bytes, cluster: launch.cluster };
    let options = Options { threads: 1, ..Options::default() };
    let (started, mut best, mut instructions) = (Instant::now(), Duration::MAX, 0);
    while started.elapsed() < Duration::from_secs(2) {
        let launched = Instant::now();
        let stats = module.launch_with(&buffers.memory, launch.symbol, &shape, &bytes, &options);
        instructions = stats.unwrap_or_else(|fault| panic!("{fault}")).thread_instructions;
        best = best.min(launched.elapsed());
    }
    let rate = instructions as f64 / best.as_secs_f64() / 1e6;
    println!("{:<18} {instructions:>10} thread-instructions  {rate:7.0} million a second on one core", launch.symbol);
}
