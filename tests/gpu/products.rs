//! Products by cuBLASLt against f64, at shapes of models and at awkward ones.
use bytes::Bytes;
use gpu_kernels::{Act, Element, Ptr};
use half::bf16;
use nemotron::device::cuda::Options;
use nemotron::device::{BufferKind, Buffers, Device, Gemm, Output, Plan, WeightPart, WeightParts};

use crate::{Row, ensure, open, text};

pub const ROWS: &[Row] =
    &[("gemm: against f64", against_f64), ("gemm: a shape has one result", one_result), ("gemm: rate", rate)];

/// Rows, n, k.
const SHAPES: [(u32, u32, u32); 8] = [
    (9, 64, 64),
    (17, 1000, 96),
    (33, 24, 8),
    (64, 640, 256),
    (129, 333, 520),
    (257, 1024, 3072),
    (16, 5120, 3072),
    (1, 72, 4096),
];

/// Numbers between −1 and 1 that bf16 holds.
fn numbers(count: usize, seed: u64) -> Vec<bf16> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bf16::from_f32((state >> 40) as f32 / (1 << 23) as f32 - 1.0)
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// A product's operands, and the bytes of what the GPU made of them.
struct Product {
    x: Vec<bf16>,
    w: Vec<bf16>,
    /// Zeros where there is none.
    bias: Vec<bf16>,
    out: Vec<u8>,
}

/// `x · wᵀ`, or with a bias, on the GPU; x stands `offset` elements into its buffer.
fn product(shape: (u32, u32, u32), f32_out: bool, biased: bool, offset: u64) -> Result<Product, String> {
    let (rows, n, k) = shape;
    let x = numbers((rows * k) as usize, 1);
    let w = numbers((n * k) as usize, 2);
    let mut buffers = Buffers::default();
    let values = std::iter::repeat_n(9.0, offset as usize).chain(x.iter().map(|value| value.to_f32())).collect();
    let x_buffer = buffers.add("x", Element::Act, u64::from(rows * k) + offset, BufferKind::Constant(values));
    let data = Bytes::from(bytemuck::pod_collect_to_vec::<bf16, u8>(&w));
    let part = WeightPart::new(data, k as usize, 0..n as usize, 0..k as usize);
    let w_buffer = buffers.add_weight("w", WeightParts::new(vec![part]));
    let bias = if biased { numbers(n as usize, 3) } else { vec![bf16::ZERO; n as usize] };
    let column = WeightPart::new(Bytes::from(bytemuck::pod_collect_to_vec::<bf16, u8>(&bias)), 1, 0..n as usize, 0..1);
    let bias_buffer = buffers.add_weight("bias", WeightParts::new(vec![column]));
    let element = if f32_out { Element::F32 } else { Element::Act };
    let out_buffer = buffers.add("out", element, u64::from(rows * n), BufferKind::State);
    let mut cuda = open(Options { check: true, ..Options::default() })?;
    cuda.allocate(buffers).map_err(text)?;
    let mut plan = Plan::default();
    let out = if f32_out { Output::F32(out_buffer.ptr()) } else { Output::Act(out_buffer.ptr()) };
    let (x_ptr, bias_ptr) = (x_buffer.ptr::<Act>().offset(offset), if biased { bias_buffer.ptr() } else { Ptr::NULL });
    plan.gemm(Gemm { x: x_ptr, w: w_buffer.ptr(), bias: bias_ptr, out, rows, n, k });
    let plan = cuda.prepare(plan).map_err(text)?;
    cuda.run(plan, &[]).map_err(text)?;
    Ok(Product { x, w, bias, out: cuda.read_bytes(out_buffer).map_err(text)? })
}

fn against_f64() -> Result<String, String> {
    let mut worst = [0f64; 2];
    let mut faults = Vec::new();
    for (index, shape) in SHAPES.into_iter().enumerate() {
        let shifted = [0, 8, 3][index % 3];
        let kinds = [(false, false, shifted), (true, false, shifted), (false, true, 0)];
        // Where rows are not aligned, cuBLASLt rounds a product before it adds the bias. No model has such a width.
        let kinds = if shape.1.is_multiple_of(8) { &kinds[..] } else { &kinds[..2] };
        for &(f32_out, biased, offset) in kinds {
            let product = product(shape, f32_out, biased, offset)?;
            let out = &product.out;
            let got: Vec<f64> = match f32_out {
                true => bytemuck::pod_collect_to_vec::<u8, f32>(out).iter().map(|value| f64::from(*value)).collect(),
                false => bytemuck::pod_collect_to_vec::<u8, bf16>(out).iter().map(|value| value.to_f64()).collect(),
            };
            let share = furthest(shape, &product, &got, if f32_out { 0.0 } else { 1.0 / 256.0 });
            if share > 1.0 {
                faults.push(format!("{shape:?}, f32 {f32_out}, bias {biased}: {share:.1} times the tolerance"));
            }
            let worst = &mut worst[usize::from(f32_out)];
            *worst = worst.max(share);
        }
    }
    ensure(faults.is_empty(), || faults.join("; "))?;
    Ok(format!("{} shapes, at most {:.2} of the tolerance to bf16, {:.2} to f32", SHAPES.len(), worst[0], worst[1]))
}

/// The largest error as a share of `16 · 2⁻²⁴ · (Σ|x·w| + |bias|)` and `rounding` of the result.
fn furthest((rows, n, k): (u32, u32, u32), product: &Product, got: &[f64], rounding: f64) -> f64 {
    let (n, k) = (n as usize, k as usize);
    let mut furthest = 0f64;
    let step = (rows as usize).div_ceil(24);
    for (row, x) in product.x.chunks_exact(k).enumerate().step_by(step) {
        for (column, (w, bias)) in product.w.chunks_exact(k).zip(&product.bias).enumerate() {
            let bias = bias.to_f64();
            let terms = x.iter().zip(w).map(|(x, w)| x.to_f64() * w.to_f64());
            let (sum, size) = terms.fold((bias, bias.abs()), |(sum, size), term| (sum + term, size + term.abs()));
            let tolerance = 16.0 * size / f64::from(1 << 24) + sum.abs() * rounding;
            let error = (got[row * n + column] - sum).abs();
            furthest = furthest.max(if error.is_nan() { f64::INFINITY } else { error / tolerance });
        }
    }
    furthest
}

fn one_result() -> Result<String, String> {
    for shape in SHAPES {
        let (first, second) = (product(shape, false, true, 0)?, product(shape, false, true, 0)?);
        ensure(first.out == second.out, || format!("{shape:?} gives other bits the second time"))?;
    }
    Ok(format!("{} shapes twice", SHAPES.len()))
}

fn rate() -> Result<String, String> {
    let (rows, n, k) = (2048, 9216, 3072);
    let mut buffers = Buffers::default();
    let random = |seed| numbers((rows * k) as usize, seed).iter().map(|value| value.to_f32()).collect();
    let x = buffers.add("x", Element::Act, u64::from(rows * k), BufferKind::Constant(random(5)));
    let data = Bytes::from(bytemuck::pod_collect_to_vec::<bf16, u8>(&numbers((n * k) as usize, 6)));
    let part = WeightPart::new(data, k as usize, 0..n as usize, 0..k as usize);
    let w = buffers.add_weight("w", WeightParts::new(vec![part]));
    let out = buffers.add("out", Element::Act, u64::from(rows * n), BufferKind::Scratch);
    let mut cuda = open(Options::default())?;
    cuda.allocate(buffers).map_err(text)?;
    let mut plan = Plan::default();
    for _ in 0..4 {
        plan.gemm(Gemm { x: x.ptr(), w: w.ptr(), bias: Ptr::NULL, out: Output::Act(out.ptr()), rows, n, k });
    }
    let plan = cuda.prepare(plan).map_err(text)?;
    let times = cuda.profile(plan, 30).map_err(text)?;
    let microseconds = times.last().ok_or("no step was timed")?.microseconds;
    let flops = 2.0 * f64::from(rows) * f64::from(n) * f64::from(k);
    Ok(format!("{rows} x {n} x {k}: {microseconds:.1} µs, {:.0} TFLOP/s", flops / f64::from(microseconds) / 1e6))
}
