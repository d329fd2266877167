//! Products that stream a weight: the same bits in any company, and how fast the bytes of each format come.
use std::time::Duration;

use gpu_kernels::activation::{PLAIN, SWIGLU};
use gpu_kernels::{
    Act, Element, Format, GEMV_MAX_ROWS, Gemv, Kernel, Packed, Ptr, QuantGemm, QuantGemv, SkinnyGemm, StepShape,
    Weight, rms_norm, skinny_gemm,
};
use nemotron::device::cuda::{Cuda, Options};
use nemotron::device::{BufferId, BufferKind, Buffers, Device, Plan};

use crate::{Row, ensure, open, text};

pub const ROWS: &[Row] = &[
    ("stream: the same bits in any company", same_bits),
    ("stream: the same bits among 9 to 64 rows", same_bits_of_many),
    ("stream: rate, 1 row", || rates(1)),
    ("stream: rate, 2 rows", || rates(2)),
    ("stream: rate, 8 rows", || rates(8)),
    ("stream: rate, 16 rows", || rates(16)),
    ("stream: rate, 32 rows", || rates(32)),
    ("stream: rate, 64 rows", || rates(64)),
];

/// Rows and columns of nano-8b's products.
const QKV: [u32; 2] = [6144, 4096];
const O: [u32; 2] = [4096, 4096];
const GATE_UP: [u32; 2] = [28_672, 4096];
const DOWN: [u32; 2] = [4096, 14_336];

const FORMATS: [Format; 8] = [
    Format::Bf16,
    Format::Fp8 { group: 0 },
    Format::Fp8 { group: 128 },
    Format::Int8 { group: 0 },
    Format::Int4 { group: 64, zeros: false },
    Format::Int4 { group: 64, zeros: true },
    Format::Int4 { group: 32, zeros: true },
    Format::Nvfp4,
];

/// Bytes that weights are taken from in turn, far more than a cache holds.
const CODES: usize = 1 << 30;
/// Token rows, and elements of the longest.
const MOST_ROWS: u32 = skinny_gemm::MAX_ROWS;
const FEW: u32 = GEMV_MAX_ROWS;
const LONGEST: u32 = 28_672;
/// Launches that are timed together, and how often.
const LAUNCHES: u32 = 32;
const SAMPLES: usize = 15;

/// Bytes without meaning, of which none makes a number too large: bit 6 of each is 0.
fn bytes(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let block: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state & 0xbfbf_bfbf_bfbf_bfbf).to_le_bytes()
    })
    .take(1 << 19)
    .flatten()
    .collect();
    block.iter().copied().cycle().take(count).collect()
}

/// Buffers of one device for products of any format.
struct Stand {
    cuda: Cuda,
    codes: BufferId,
    scales: BufferId,
    norm: BufferId,
    x: BufferId,
    y: BufferId,
    y_f32: BufferId,
    /// Sums of blocks that share the columns of a product.
    partial: BufferId,
    /// Where the next weight begins.
    next: u64,
}

impl Stand {
    fn new(code_bytes: usize) -> Result<Stand, String> {
        let mut buffers = Buffers::default();
        let count = u64::from(MOST_ROWS * LONGEST);
        let codes = buffers.add("codes", Element::Packed, code_bytes as u64, BufferKind::State);
        let scales = buffers.add("scales", Element::F32, 1 << 22, BufferKind::Constant(vec![0.01; 1 << 22]));
        let norm = buffers.add("norm", Element::Weight, 1 << 15, BufferKind::State);
        let numbers = (0..count).map(|i| (((i * 2_654_435_761) >> 7) & 0xffff) as f32 / 32_768.0 - 1.0).collect();
        let x = buffers.add("x", Element::Act, count, BufferKind::Constant(numbers));
        let y = buffers.add("y", Element::Act, count, BufferKind::Scratch);
        let y_f32 = buffers.add("y_f32", Element::F32, count, BufferKind::Scratch);
        let partial = buffers.add("partial", Element::F32, 1 << 21, BufferKind::Scratch);
        let mut cuda = open(Options::default())?;
        cuda.allocate(buffers).map_err(text)?;
        cuda.write_bytes(codes, &bytes(code_bytes, 1)).map_err(text)?;
        cuda.write_bytes(norm, &bytes(1 << 16, 2)).map_err(text)?;
        Ok(Stand { cuda, codes, scales, norm, x, y, y_f32, partial, next: 0 })
    }

    /// Appends a product with the next weight; a norm in front of it and what is behind it only where that says so. Gives the
    /// bytes that it moves.
    fn launch(&mut self, plan: &mut Plan, format: Format, rows: u32, [n, k]: [u32; 2], fused: Fused) -> u64 {
        let size = u64::from(n) * format.row_bytes(u64::from(k));
        if self.next + size > CODES as u64 {
            self.next = 0;
        }
        let start = self.next;
        self.next += size.next_multiple_of(256);
        let (x, y) = (self.x.ptr(), self.y.ptr());
        let norm = if fused.normed { self.norm.ptr() } else { Ptr::NULL };
        let residual: Ptr<Act> = if fused.residual { y } else { Ptr::NULL };
        let shape = StepShape { sequences: &[], experts: None };
        let scales = if format.scales(u64::from(k)) == 0 { Ptr::NULL } else { self.scales.ptr() };
        let codes = self.codes.ptr().offset(start);
        if rows > FEW {
            let w: Ptr<Weight> = self.codes.ptr::<Weight>().offset(start / 2);
            let around =
                SkinnyGemm { y, residual, activation: fused.activation, ..SkinnyGemm::new(x, w, [rows, n, k]) };
            let product = Many::of(around, (codes, scales), format);
            return product.launch(plan, self.partial.ptr());
        }
        if format == Format::Bf16 {
            let w: Ptr<Weight> = self.codes.ptr::<Weight>().offset(start / 2);
            let gemv =
                Gemv { y, residual, activation: fused.activation, norm_weight: norm, ..Gemv::new(x, w, [rows, n, k]) };
            plan.launch(gemv);
            return gemv.bytes_moved(&shape);
        }
        let plain = QuantGemv::new(x, (codes, scales), format, [rows, n, k]);
        let gemv = QuantGemv { y, residual, activation: fused.activation, norm_weight: norm, ..plain };
        plan.launch(gemv);
        gemv.bytes_moved(&shape)
    }

    /// Bytes in a second of a plan's steps, as a graph: the median.
    fn rate(&mut self, plan: Plan, bytes: u64) -> Result<(f64, Duration), String> {
        let steps = plan.steps.len() as u32;
        let plan = self.cuda.prepare(plan).map_err(text)?;
        let mut times = Vec::new();
        for _ in 0..SAMPLES + 3 {
            times.push(self.cuda.time(&[(plan, &[]), (plan, &[])]).map_err(text)? / 2);
        }
        times.drain(..3);
        times.sort_unstable();
        let median = times[SAMPLES / 2];
        Ok((bytes as f64 / median.as_secs_f64(), median / steps))
    }
}

/// A product of 9 to 64 rows.
enum Many {
    Plain(SkinnyGemm),
    Codes(QuantGemm),
}

impl Many {
    fn of(around: SkinnyGemm, codes: (Ptr<Packed>, Ptr<f32>), format: Format) -> Many {
        if format == Format::Bf16 { Many::Plain(around) } else { Many::Codes(QuantGemm::of(around, codes, format)) }
    }

    /// Appends the product, and gives the bytes that it moves, the sums of blocks that share columns not counted.
    fn launch(self, plan: &mut Plan, partial: Ptr<f32>) -> u64 {
        let shape = StepShape { sequences: &[], experts: None };
        let (bytes, join) = match self {
            Many::Plain(product) => {
                let (launched, join) = product.launches(partial);
                plan.launch(launched);
                (product.bytes_moved(&shape), join)
            }
            Many::Codes(product) => {
                let (launched, join) = product.launches(partial);
                plan.launch(launched);
                (product.bytes_moved(&shape), join)
            }
        };
        join.into_iter().for_each(|join| plan.launch(join));
        bytes
    }
}

/// What stands around a product.
#[derive(Clone, Copy, Default)]
struct Fused {
    normed: bool,
    residual: bool,
    activation: u32,
}

/// Terabytes in a second of each shape by itself, and of a row of layers as a model has them, in percent of the best that BF16 gave.
fn rates(rows: u32) -> Result<String, String> {
    let mut stand = Stand::new(CODES)?;
    let peak = {
        let mut plan = Plan { decode: true, ..Plan::default() };
        let bytes = (0..4).map(|_| stand.launch(&mut plan, Format::Bf16, 1, [57_344, 4096], Fused::default())).sum();
        stand.rate(plan, bytes)?.0
    };
    println!("  peak {:.3} TB/s; µs and percent of it for each shape, then for layers of nano-8b", peak / 1e12);
    let mut last = String::new();
    for format in FORMATS {
        let mut line = format!("  {format:?}:");
        for shape in [QKV, O, GATE_UP, DOWN] {
            let mut plan = Plan { decode: true, ..Plan::default() };
            let bytes = (0..LAUNCHES).map(|_| stand.launch(&mut plan, format, rows, shape, Fused::default())).sum();
            let (rate, each) = stand.rate(plan, bytes)?;
            line.push_str(&format!(" {:.1} µs {:.1} %,", each.as_nanos() as f64 / 1e3, rate / peak * 100.0));
        }
        let mut plan = Plan { decode: true, ..Plan::default() };
        let mut bytes = 0;
        for _ in 0..LAUNCHES / 2 {
            let normed = rows == 1;
            bytes += stand.launch(&mut plan, format, rows, QKV, Fused { normed, ..Fused::default() });
            bytes += stand.launch(&mut plan, format, rows, O, Fused { residual: !normed, ..Fused::default() });
            bytes += stand.launch(
                &mut plan,
                format,
                rows,
                GATE_UP,
                Fused { normed, activation: SWIGLU, ..Fused::default() },
            );
            bytes += stand.launch(&mut plan, format, rows, DOWN, Fused { activation: PLAIN, ..Fused::default() });
        }
        let (rate, _) = stand.rate(plan, bytes)?;
        last = format!("{format:?} {:.1} %", rate / peak * 100.0);
        println!("{line} layers {:.1} %", rate / peak * 100.0);
    }
    Ok(format!("peak {:.3} TB/s, layers of {last}", peak / 1e12))
}

/// Each of eight rows alone, in twos and threes, and all together.
fn same_bits() -> Result<String, String> {
    let mut stand = Stand::new(CODES / 16)?;
    let mut compared = 0;
    for format in &FORMATS[1..] {
        for [n, k] in [[100, 3136], [2088, 2048], [33, 264]] {
            let mut run = |first: u32, rows: u32| -> Result<Vec<u8>, String> {
                let scales = if format.scales(u64::from(k)) == 0 { Ptr::NULL } else { stand.scales.ptr() };
                let x: Ptr<Act> = stand.x.ptr().offset(u64::from(first * k));
                let plain = QuantGemv::new(x, (stand.codes.ptr(), scales), *format, [rows, n, k]);
                let mut plan = Plan::default();
                plan.launch(QuantGemv { y_f32: stand.y_f32.ptr(), roundings: rms_norm::TWICE, ..plain });
                let plan = stand.cuda.prepare(plan).map_err(text)?;
                stand.cuda.run(plan, &[]).map_err(text)?;
                let mut bytes = stand.cuda.read_bytes(stand.y_f32).map_err(text)?;
                bytes.truncate((rows * n * 4) as usize);
                Ok(bytes)
            };
            let all = run(0, FEW)?;
            for rows in 1..FEW {
                for first in (0..=FEW - rows).step_by(rows as usize) {
                    let some = run(first, rows)?;
                    let same = some == all[(first * n * 4) as usize..][..some.len()];
                    ensure(same, || format!("{format:?} {n}x{k}: rows {first} to {} differ alone", first + rows))?;
                    compared += 1;
                }
            }
        }
    }
    Ok(format!("{compared} products"))
}

/// Some of 64 rows beside all others.
fn same_bits_of_many() -> Result<String, String> {
    let mut stand = Stand::new(CODES / 16)?;
    let mut compared = 0;
    for format in FORMATS {
        for [n, k] in [[264, 1032], [3072, 3072], [9216, 2048]] {
            let mut run = |first: u32, rows: u32| -> Result<Vec<u8>, String> {
                let scales = if format.scales(u64::from(k)) == 0 { Ptr::NULL } else { stand.scales.ptr() };
                let x: Ptr<Act> = stand.x.ptr().offset(u64::from(first * k));
                let plain = SkinnyGemm::new(x, stand.codes.ptr(), [rows, n, k]);
                let around = SkinnyGemm { y_f32: stand.y_f32.ptr(), ..plain };
                let mut plan = Plan::default();
                Many::of(around, (stand.codes.ptr(), scales), format).launch(&mut plan, stand.partial.ptr());
                let plan = stand.cuda.prepare(plan).map_err(text)?;
                stand.cuda.run(plan, &[]).map_err(text)?;
                let mut bytes = stand.cuda.read_bytes(stand.y_f32).map_err(text)?;
                bytes.truncate((rows * n * 4) as usize);
                Ok(bytes)
            };
            let all = run(0, MOST_ROWS)?;
            for (first, rows) in [(0, 9), (55, 9), (20, 16), (3, 17), (32, 32), (1, 33), (10, 48)] {
                let some = run(first, rows)?;
                let same = some == all[(first * n * 4) as usize..][..some.len()];
                ensure(same, || format!("{format:?} {n}x{k}: rows {first} to {} differ alone", first + rows))?;
                compared += 1;
            }
        }
    }
    Ok(format!("{compared} products"))
}
