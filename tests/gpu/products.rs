//! Products by cuBLASLt against f64, at shapes of models and at awkward ones.
use bytes::Bytes;
use gpu_kernels::{Act, Element};
use half::bf16;
use nemotron::device::cuda::Options;
use nemotron::device::{BufferKind, Buffers, Device, Gemm, Output, Plan, Weight, WeightPart};

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
pub fn numbers(count: usize, seed: u64) -> Vec<bf16> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bf16::from_f32((state >> 40) as f32 / (1 << 23) as f32 - 1.0)
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// What product is asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    f32_out: bool,
    bias: bool,
    /// Whether it is added to what the result's buffer holds.
    residual: bool,
    /// Where x stands in its buffer, in elements.
    offset: u64,
}

/// A product's operands, and the bytes of what the GPU made of them.
struct Product {
    x: Vec<bf16>,
    w: Vec<bf16>,
    /// Zeros where there is none.
    bias: Vec<bf16>,
    /// Zeros where there is none.
    residual: Vec<bf16>,
    out: Vec<u8>,
}

/// `x · wᵀ` with what is added to it, on the GPU.
fn product((rows, n, k): (u32, u32, u32), kind: Kind) -> Result<Product, String> {
    let Kind { f32_out, offset, .. } = kind;
    let x = numbers((rows * k) as usize, 1);
    let w = numbers((n * k) as usize, 2);
    let mut buffers = Buffers::default();
    let values = std::iter::repeat_n(9.0, offset as usize).chain(x.iter().map(|value| value.to_f32())).collect();
    let x_buffer = buffers.add("x", Element::Act, u64::from(rows * k) + offset, BufferKind::Constant(values));
    let data = Bytes::from(bytemuck::pod_collect_to_vec::<bf16, u8>(&w));
    let part = WeightPart::new(data, k as usize, 0..n as usize, 0..k as usize);
    let w_buffer = buffers.add_weight("w", Weight::new(vec![part]));
    let addend =
        |is, count: u32, seed| if is { numbers(count as usize, seed) } else { vec![bf16::ZERO; count as usize] };
    let (bias, residual) = (addend(kind.bias, n, 3), addend(kind.residual, rows * n, 4));
    let column = WeightPart::new(Bytes::from(bytemuck::pod_collect_to_vec::<bf16, u8>(&bias)), 1, 0..n as usize, 0..1);
    let bias_buffer = buffers.add_weight("bias", Weight::new(vec![column]));
    let element = if f32_out { Element::F32 } else { Element::Act };
    let before = BufferKind::Constant(residual.iter().map(|value| value.to_f32()).collect());
    let out_buffer = buffers.add("out", element, u64::from(rows * n), before);
    let mut cuda = open(Options { check: true, ..Options::default() })?;
    cuda.allocate(buffers).map_err(text)?;
    let mut plan = Plan::default();
    let out = if f32_out { Output::F32(out_buffer.ptr()) } else { Output::Act(out_buffer.ptr()) };
    let mut gemm = Gemm::new(x_buffer.ptr::<Act>().offset(offset), w_buffer.ptr(), out, [rows, n, k]);
    if kind.bias {
        gemm.bias = bias_buffer.ptr();
    }
    if kind.residual {
        gemm.residual = out_buffer.ptr();
    }
    plan.gemm(gemm);
    let plan = cuda.prepare(plan).map_err(text)?;
    cuda.run(plan, &[]).map_err(text)?;
    Ok(Product { x, w, bias, residual, out: cuda.read_bytes(out_buffer).map_err(text)? })
}

fn against_f64() -> Result<String, String> {
    let mut worst = [0f64; 2];
    let mut faults = Vec::new();
    for (index, shape) in SHAPES.into_iter().enumerate() {
        let shifted = [0, 8, 3][index % 3];
        let plain = Kind { offset: shifted, ..Kind::default() };
        let kinds = [
            plain,
            Kind { f32_out: true, ..plain },
            Kind { residual: true, ..plain },
            Kind { bias: true, ..Kind::default() },
            Kind { bias: true, residual: true, ..Kind::default() },
        ];
        // Where rows are not aligned, cuBLASLt rounds a product before it adds the bias. No model has such a width.
        let kinds = if shape.1.is_multiple_of(8) { &kinds[..] } else { &kinds[..3] };
        for &kind in kinds {
            let (product, f32_out) = (product(shape, kind)?, kind.f32_out);
            let out = &product.out;
            let got: Vec<f64> = match f32_out {
                true => bytemuck::pod_collect_to_vec::<u8, f32>(out).iter().map(|value| f64::from(*value)).collect(),
                false => bytemuck::pod_collect_to_vec::<u8, bf16>(out).iter().map(|value| value.to_f64()).collect(),
            };
            let share = furthest(shape, &product, &got, if f32_out { 0.0 } else { 1.0 / 256.0 });
            if share > 1.0 {
                faults.push(format!("{shape:?}, {kind:?}: {share:.1} times the tolerance"));
            }
            let worst = &mut worst[usize::from(f32_out)];
            *worst = worst.max(share);
        }
    }
    ensure(faults.is_empty(), || faults.join("; "))?;
    Ok(format!("{} shapes, at most {:.2} of the tolerance to bf16, {:.2} to f32", SHAPES.len(), worst[0], worst[1]))
}

/// The largest error as a share of `16 · 2⁻²⁴ · (Σ|x·w| + |bias| + |residual|)` and `rounding` of what is rounded.
fn furthest((rows, n, k): (u32, u32, u32), product: &Product, got: &[f64], rounding: f64) -> f64 {
    let (n, k) = (n as usize, k as usize);
    let mut furthest = 0f64;
    let step = (rows as usize).div_ceil(24);
    for (row, x) in product.x.chunks_exact(k).enumerate().step_by(step) {
        for (column, (w, bias)) in product.w.chunks_exact(k).zip(&product.bias).enumerate() {
            let (bias, residual) = (bias.to_f64(), product.residual[row * n + column].to_f64());
            let terms = x.iter().zip(w).map(|(x, w)| x.to_f64() * w.to_f64());
            let (sum, size) = terms.fold((bias, bias.abs()), |(sum, size), term| (sum + term, size + term.abs()));
            // What is added to a residual may have been rounded before.
            let rounded = if residual == 0.0 { 0.0 } else { sum.abs() } + (sum + residual).abs();
            let tolerance = 16.0 * (size + residual.abs()) / f64::from(1 << 24) + rounded * rounding;
            let error = (got[row * n + column] - sum - residual).abs();
            furthest = furthest.max(if error.is_nan() { f64::INFINITY } else { error / tolerance });
        }
    }
    furthest
}

fn one_result() -> Result<String, String> {
    let kind = Kind { bias: true, residual: true, ..Kind::default() };
    for shape in SHAPES {
        let (first, second) = (product(shape, kind)?, product(shape, kind)?);
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
    let w = buffers.add_weight("w", Weight::new(vec![part]));
    let out = buffers.add("out", Element::Act, u64::from(rows * n), BufferKind::Scratch);
    let mut cuda = open(Options::default())?;
    cuda.allocate(buffers).map_err(text)?;
    let mut plan = Plan::default();
    for _ in 0..4 {
        plan.gemm(Gemm::new(x.ptr(), w.ptr(), Output::Act(out.ptr()), [rows, n, k]));
    }
    let plan = cuda.prepare(plan).map_err(text)?;
    let times = cuda.profile(plan, 30).map_err(text)?;
    let microseconds = times.last().ok_or("no step was timed")?.microseconds;
    let flops = 2.0 * f64::from(rows) * f64::from(n) * f64::from(k);
    Ok(format!("{rows} x {n} x {k}: {microseconds:.1} µs, {:.0} TFLOP/s", flops / f64::from(microseconds) / 1e6))
}
