//! The device itself: what it says, how it fills its memory, and that it gives all of it back.
use bytes::Bytes;
use half::bf16;
use nemotron::device::cuda::{self, Cuda, Gpu, Options};
use nemotron::device::{BufferId, BufferKind, Buffers, Converted, Device, Format, RowSource, Weight, WeightPart};

use gpu_kernels::Element;

use crate::{Row, ensure, open, text};

pub const ROWS: &[Row] = &[
    ("device: description", description),
    ("device: a number that is none", no_such_gpu),
    ("device: weights arrive, whole and in parts", weights_arrive),
    ("device: constants arrive", constants_arrive),
    ("device: too little memory", too_little_memory),
    ("device: memory is given back", memory_is_given_back),
    ("device: upload rate", upload_rate),
];

fn description() -> Result<String, String> {
    let lines = open(Options::default())?.description();
    ensure(lines.iter().any(|line| line.starts_with("Compute Capability: ")), || format!("{lines:?}"))?;
    Ok(lines.join(", "))
}

fn no_such_gpu() -> Result<String, String> {
    let count = cuda::count().map_err(text)?;
    match Cuda::open(count + 6, Options::default()) {
        Ok(_) => Err("a GPU that is not there was opened".into()),
        Err(error) => {
            let said = error.to_string();
            ensure(said.contains("There is no GPU") && said.contains("found"), || said.clone())?;
            Ok(said.lines().nth(1).unwrap_or_default().to_string())
        }
    }
}

/// `rows` x `columns` of numbers that tell their place.
fn tensor(rows: usize, columns: usize, seed: u32) -> Bytes {
    let numbers = (0..(rows * columns) as u32).map(|i| (i.wrapping_mul(2_654_435_761) ^ seed) as u16);
    Bytes::from(bytemuck::pod_collect_to_vec::<u16, u8>(&numbers.collect::<Vec<_>>()))
}

/// The parts' elements, one part below the other.
fn expected(parts: &Weight) -> Vec<u8> {
    let parts = parts.clone().in_memory().unwrap();
    (0..parts.rows()).flat_map(|row| parts.row_bytes(row).to_vec()).collect()
}

/// A tensor of f32 elements that the upload narrows on its way.
fn wide(rows: usize, columns: usize, cut: std::ops::Range<usize>) -> WeightPart {
    fn convert(bytes: &[u8], target: &mut [u8]) {
        let elements = bytes.as_chunks::<4>().0.iter().map(|bytes| bf16::from_f32(f32::from_le_bytes(*bytes)));
        let targets = target.as_chunks_mut::<2>().0;
        targets.iter_mut().zip(elements).for_each(|(target, element)| *target = element.to_le_bytes());
    }
    let values: Vec<f32> = (0..(rows * columns) as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32).collect();
    let data = Bytes::from(bytemuck::pod_collect_to_vec::<f32, u8>(&values));
    let whole = values.iter().map(|value| bf16::from_f32(*value)).collect::<Vec<_>>();
    let whole = Bytes::from(bytemuck::pod_collect_to_vec::<bf16, u8>(&whole));
    let converted = Converted { data, element_bytes: 4, convert, whole: std::sync::Arc::new(move || whole.clone()) };
    WeightPart::converted(Format::Bf16, converted, columns, 0..rows, cut)
}

/// A tensor that stays f32.
fn exact(rows: usize, columns: usize) -> WeightPart {
    let values: Vec<f32> = (0..rows * columns).map(|i| i as f32 / 3.0).collect();
    let data = Bytes::from_owner(nemotron::checkpoint::Elements(values));
    WeightPart::in_place(Format::F32, data, columns, 0..rows, 0..columns)
}

/// Codes and scales that come apart, which the GPU puts together.
fn apart(rows: usize, columns: usize) -> WeightPart {
    struct Numbers(usize);
    impl RowSource for Numbers {
        fn fill(&self, rows: std::ops::Range<usize>, target: &mut [u8]) -> nemotron::error::Result<()> {
            let (codes, scales) = target.split_at_mut(rows.len() * self.0 / 2);
            for (bytes, width) in [(codes, self.0 / 2), (scales, self.0 / 16)] {
                let number = |i: usize| ((rows.start * width + i) as u32).wrapping_mul(2_654_435_761);
                bytes.iter_mut().enumerate().for_each(|(i, byte)| *byte = (number(i) >> 24) as u8);
            }
            Ok(())
        }
    }
    WeightPart::made(Format::Nvfp4, rows, columns, std::sync::Arc::new(Numbers(columns)))
}

fn weights_arrive() -> Result<String, String> {
    let whole = |rows, columns, seed| WeightPart::new(tensor(rows, columns, seed), columns, 0..rows, 0..columns);
    let cut = WeightPart::new(tensor(40, 120, 3), 120, 7..40, 8..96);
    let weights = [
        Weight::new(vec![whole(1, 8, 1)]),
        Weight::new(vec![whole(33, 88, 2), cut, whole(1, 88, 4)]),
        Weight::new(vec![whole(3000, 5000, 5), whole(1, 5000, 6)]),
        Weight::new(vec![WeightPart::new(tensor(900, 9000, 7), 9000, 0..900, 8..8992)]),
        Weight::new(vec![wide(3000, 1200, 0..1200), wide(70, 1300, 16..1216)]),
        Weight::new(vec![exact(1, 128), exact(9000, 128)]),
        // Twice as many pieces as are under way at a time, and a last one of few rows.
        Weight::new(vec![apart(10_000, 4112), apart(3, 4112)]),
        Weight::new(vec![apart(1, 16)]),
    ];
    for options in [Options::default(), Options { check: true, ..Options::default() }] {
        let mut buffers = Buffers::default();
        let ids: Vec<BufferId> = weights.iter().map(|parts| buffers.add_weight("weight", parts.clone())).collect();
        let mut cuda = open(options)?;
        cuda.allocate(buffers).map_err(text)?;
        for (id, parts) in ids.iter().zip(&weights) {
            let found = cuda.read_bytes(*id).map_err(text)?;
            ensure(found == expected(parts), || format!("weight {} of {} rows differs", id.0, parts.rows()))?;
        }
    }
    Ok(format!("{} weights, to the bit", weights.len()))
}

fn constants_arrive() -> Result<String, String> {
    let values: Vec<f32> = (0..70_001).map(|i| i as f32 / 7.0 - 300.0).collect();
    let mut buffers = Buffers::default();
    let exact = buffers.add("f32", Element::F32, 70_001, BufferKind::Constant(values.clone()));
    let rounded = buffers.add("act", Element::Act, 70_001, BufferKind::Constant(values.clone()));
    let mut cuda = open(Options::default())?;
    cuda.allocate(buffers).map_err(text)?;
    let narrowed: Vec<bf16> = values.iter().map(|value| bf16::from_f32(*value)).collect();
    ensure(cuda.read_f32(exact.ptr(), 70_001).map_err(text)? == values, || "the f32 constant differs".into())?;
    let found = cuda.read_bytes(rounded).map_err(text)?;
    ensure(found == bytemuck::cast_slice::<bf16, u8>(&narrowed), || "the bf16 constant differs".into())?;
    Ok("f32 and bf16".into())
}

fn state(megabytes: u64) -> Buffers {
    let mut buffers = Buffers::default();
    buffers.add("k_pool", Element::Kv, megabytes << 19, BufferKind::State);
    buffers
}

fn too_little_memory() -> Result<String, String> {
    let mut cuda = open(Options::default())?;
    let total = Gpu::new(0).map_err(text)?.memory >> 20;
    let error = cuda.allocate(state(total)).err().ok_or("the whole memory was allocated")?.to_string();
    let words = ["CUDA out of memory", "needed", "free", "--context"];
    ensure(words.iter().all(|word| error.contains(word)), || error.clone())?;
    cuda.allocate(state(64)).map_err(|error| format!("after the error: {error}"))?;
    Ok(error.lines().nth(1).unwrap_or_default().to_string())
}

fn memory_is_given_back() -> Result<String, String> {
    let free = |cuda: &Cuda| cuda.free_bytes().map_err(text);
    let mut smallest = [0; 2];
    for smallest in &mut smallest {
        let mut cuda = open(Options::default())?;
        *smallest = free(&cuda)?;
        cuda.allocate(state(4096)).map_err(text)?;
        let left = free(&cuda)?;
        ensure(left + (4096 << 20) <= *smallest, || format!("{left} bytes free of {smallest}"))?;
    }
    ensure(smallest[0].abs_diff(smallest[1]) < 64 << 20, || format!("free before each: {smallest:?}"))?;
    Ok(format!("{} MB free each time", smallest[1] >> 20))
}

fn upload_rate() -> Result<String, String> {
    let (rows, columns) = (32 << 10, 8 << 10);
    let data = tensor(rows, columns, 9);
    let mut buffers = Buffers::default();
    for _ in 0..8 {
        let part = WeightPart::new(data.clone(), columns, 0..rows, 0..columns);
        buffers.add_weight("weight", Weight::new(vec![part]));
    }
    let mut cuda = open(Options::default())?;
    let start = std::time::Instant::now();
    cuda.allocate(buffers).map_err(text)?;
    let uploaded = cuda.uploaded();
    Ok(format!(
        "{:.1} GB at {:.1} GB/s ({:.3} s with allocation {:.3} s)",
        uploaded.bytes as f64 / 1e9,
        uploaded.gigabytes_per_second(),
        uploaded.duration.as_secs_f64(),
        start.elapsed().as_secs_f64()
    ))
}
