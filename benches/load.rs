//! Quantized weights on their way from the page cache to a device: one matrix in each layout, made in the pieces of an
//! upload, in GB/s of the file's bytes; beside it a plain read of as many.
use std::path::Path;
use std::time::Instant;

use nemotron::checkpoint::{Checkpoint, Dtype};
use nemotron::device::WeightPart;
use nemotron::quantized::Quantized;
use rayon::prelude::*;
use safetensors::tensor::TensorView;
use serde_json::json;

/// The MLP of a model of 8 billion parameters.
const SHAPES: [[usize; 2]; 2] = [[14336, 4096], [4096, 14336]];
/// Columns that share a scale.
const GROUP: usize = 128;
/// Bytes of a piece of an upload.
const PIECE: usize = 2 << 20;
const RUNS: usize = 7;

/// A stored tensor: what stands behind the module's name, its type, its shape, and what its bytes are.
type Stored = (&'static str, Dtype, Vec<usize>, Fill);

#[derive(Clone, Copy)]
enum Fill {
    /// Any.
    Random,
    /// One byte again and again.
    Byte(u8),
    /// Two bytes again and again: a scale.
    Two([u8; 2]),
    /// The group of each column, dealt at random.
    Dealt,
}

const HALF: Fill = Fill::Two([0, 0x38]);

fn main() {
    // cargo passes --bench; a word behind it chooses layouts.
    let chosen = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    println!("{} threads, GB/s of the file's bytes, by one thread and by all", rayon::current_num_threads());
    for [n, k] in SHAPES {
        println!("[{n}, {k}]");
        for (layout, tensors) in layouts(n, k).into_iter().filter(|(layout, _)| layout.contains(&chosen)) {
            let directory = tempfile::tempdir().expect("a directory");
            let bytes = write(directory.path(), &tensors);
            let (mut format, directory) = (None, directory.path().to_str().expect("UTF-8"));
            // Opened anew each time: that pages are mapped and unmapped belongs to a load.
            let mut run = |together: bool| {
                let checkpoint = Checkpoint::open(directory).expect("a checkpoint");
                let found = Quantized::find(&checkpoint, "w.weight", [n, k]).expect("a weight").expect("codes");
                load(&found.part(found.format), together);
                format = Some(found.format);
            };
            let [alone, together] = [false, true].map(|together| bytes as f64 / 1e9 / median(|| run(together)));
            println!("  {layout:44} {:24} {alone:6.2} {together:6.2}", format!("{:?}", format.expect("it ran")));
        }
    }
}

/// Makes all rows of a part, and the scales beside them.
fn load(part: &WeightPart, together: bool) {
    let row_bytes = part.copied_bytes_of_row();
    let rows = (PIECE / row_bytes).max(1);
    let piece = |target: &mut Vec<u8>, first: usize| {
        target.resize(rows * row_bytes, 0);
        let rows = first..part.rows().min(first + rows);
        let target = &mut target[..rows.len() * row_bytes];
        if part.is_adjacent() {
            part.copy_adjacent(rows.start * row_bytes, target).expect("bytes");
        } else {
            part.copy_rows(rows, target).expect("rows");
        }
    };
    let firsts: Vec<usize> = (0..part.rows()).step_by(rows).collect();
    if together {
        firsts.into_par_iter().for_each_init(Vec::new, piece);
    } else {
        let mut target = Vec::new();
        firsts.into_iter().for_each(|first| piece(&mut target, first));
    }
    if let Some(scales) = part.scales() {
        load(scales, together);
    }
}

/// Seconds.
fn median(mut run: impl FnMut()) -> f64 {
    run();
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

fn layouts(n: usize, k: usize) -> Vec<(&'static str, Vec<Stored>)> {
    let neighbours = |tensors: Vec<Stored>| tensors.into_iter().filter(|tensor| tensor.0 != "g_idx").collect();
    let fp8 =
        vec![("weight", Dtype::F8_E4M3, vec![n, k], Fill::Byte(0x38)), ("weight_scale", Dtype::F32, vec![], HALF)];
    let nvfp4 = vec![
        ("weight", Dtype::U8, vec![n, k / 2], Fill::Random),
        ("weight_scale", Dtype::F8_E4M3, vec![n, k / 16], Fill::Byte(0x38)),
        ("weight_scale_2", Dtype::F32, vec![], HALF),
    ];
    let zeros = ("weight_zero_point", Dtype::I32, vec![n / 8, k / GROUP], Fill::Random);
    let pairs = vec![
        ("weight", Dtype::U8, vec![n / 2, k], Fill::Random),
        ("weight_scale", Dtype::F32, vec![n, k / GROUP], HALF),
    ];
    vec![
        ("FP8, in place", fp8),
        ("NVFP4 of ModelOpt", nvfp4),
        ("INT4 of compressed-tensors", packed(4, [n, k])),
        ("INT4 of compressed-tensors with zero points", [packed(4, [n, k]), vec![zeros]].concat()),
        ("INT4 of ModelOpt, two rows to a byte", pairs),
        ("INT4 of GPTQ", neighbours(gptq(4, [n, k]))),
        ("INT4 of GPTQ in act order", gptq(4, [n, k])),
        ("INT4 of AWQ", awq([n, k])),
        ("INT8 of GPTQ", neighbours(gptq(8, [n, k]))),
        ("INT8 of GPTQ in act order", gptq(8, [n, k])),
        ("INT8 of compressed-tensors", packed(8, [n, k])),
    ]
}

fn packed(bits: usize, [n, k]: [usize; 2]) -> Vec<Stored> {
    vec![
        ("weight_packed", Dtype::I32, vec![n, k * bits / 32], Fill::Random),
        ("weight_scale", Dtype::BF16, vec![n, k / GROUP], HALF),
    ]
}

fn gptq(bits: usize, [n, k]: [usize; 2]) -> Vec<Stored> {
    let zeros = if bits == 4 { Fill::Random } else { Fill::Byte(127) };
    vec![
        ("qweight", Dtype::I32, vec![k * bits / 32, n], Fill::Random),
        ("qzeros", Dtype::I32, vec![k / GROUP, n * bits / 32], zeros),
        ("scales", Dtype::F16, vec![k / GROUP, n], HALF),
        ("g_idx", Dtype::I32, vec![k], Fill::Dealt),
    ]
}

fn awq([n, k]: [usize; 2]) -> Vec<Stored> {
    vec![
        ("qweight", Dtype::I32, vec![k, n / 8], Fill::Random),
        ("qzeros", Dtype::I32, vec![k / GROUP, n / 8], Fill::Random),
        ("scales", Dtype::F16, vec![k / GROUP, n], HALF),
    ]
}

/// Writes a checkpoint of those tensors; returns their bytes.
fn write(directory: &Path, tensors: &[Stored]) -> usize {
    let mut random = 1u64;
    let mut next = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 32
    };
    let made: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(suffix, dtype, shape, fill)| {
            let count: usize = shape.iter().product();
            let bytes = match fill {
                // Without a zero point of 16, which no four bits hold.
                Fill::Random => (0..count * dtype.bitsize() / 32)
                    .flat_map(|_| (next() as u32 & 0x7777_7777).to_le_bytes())
                    .collect(),
                Fill::Byte(byte) => vec![*byte; count * dtype.bitsize() / 8],
                Fill::Two(two) => two.repeat(count * dtype.bitsize() / 16),
                Fill::Dealt => dealt(count, &mut next),
            };
            (format!("w.{suffix}"), *dtype, shape.clone(), bytes)
        })
        .collect();
    let views = made.iter().map(|(name, dtype, shape, bytes)| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).expect("as many bytes as the shape says"))
    });
    safetensors::serialize_to_file(views, None, &directory.join("model.safetensors")).expect("a file");
    std::fs::write(directory.join("config.json"), json!({}).to_string()).expect("a file");
    made.iter().map(|(.., bytes)| bytes.len()).sum()
}

fn dealt(columns: usize, next: &mut impl FnMut() -> u64) -> Vec<u8> {
    let mut index: Vec<u32> = (0..columns).map(|column| (column / GROUP) as u32).collect();
    (1..columns).rev().for_each(|i| index.swap(i, next() as usize % (i + 1)));
    index.into_iter().flat_map(u32::to_le_bytes).collect()
}
