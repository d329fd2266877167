//! Products of FP8 by cuBLASLt, and the kernel that makes their inputs, against f64.
use bytes::Bytes;
use gpu_kernels::{Element, Format, QuantizeRows};
use half::bf16;
use nemotron::device::cuda::Options;
use nemotron::device::{
    BufferKind, Buffers, Device, Gemm, GemmOperands, Output, Plan, ScaledCodes, Weight, WeightPart,
};
use nemotron::device::{e4m3, e4m3_code};

use crate::products::numbers;
use crate::{Row, ensure, open, text};

pub const ROWS: &[Row] = &[("fp8 products: against f64", against_f64)];

/// Rows, n, k.
const SHAPES: [[u32; 3]; 5] = [[65, 64, 64], [130, 240, 80], [77, 1024, 3072], [257, 16, 4096], [512, 640, 256]];

/// The largest share of what may be between a product and f64: a bf16's rounding twice, and 2⁻¹⁰ of the terms' magnitudes,
/// since the tensor core keeps 14 bits or so of a sum while it adds.
fn share([rows, n, k]: [u32; 3], residual: bool) -> Result<f64, String> {
    let [rows_, n_, k_] = [rows, n, k].map(|size| size as usize);
    let x: Vec<f32> = numbers(rows_ * k_, 1).iter().map(|x| x.to_f32()).collect();
    let codes: Vec<u8> = numbers(n_ * k_, 2).iter().map(|w| e4m3_code(w.to_f32() * 400.0)).collect();
    let scales: Vec<f32> = numbers(n_, 3).iter().map(|scale| 0.01 + scale.to_f32().abs()).collect();
    let (bias, before) = (numbers(n_, 4), numbers(rows_ * n_, 5));
    let floats = |values: &[bf16]| values.iter().map(|value| value.to_f32()).collect::<Vec<_>>();
    let mut buffers = Buffers::default();
    let x_buffer = buffers.add("x", Element::Act, (rows_ * k_) as u64, BufferKind::Constant(x.clone()));
    let w = WeightPart::in_place(Format::Fp8 { group: 0 }, Bytes::from(codes.clone()), k_, 0..n_, 0..k_);
    let w_kind = BufferKind::Weight(Weight::new(vec![w]));
    let w_buffer = buffers.add("w", Element::Packed, (n_ * k_) as u64, w_kind);
    let w_scales = buffers.add("w scales", Element::F32, n.into(), BufferKind::Constant(scales.clone()));
    let column = Bytes::from(bytemuck::pod_collect_to_vec::<bf16, u8>(&bias));
    let bias_buffer = buffers.add_weight("bias", Weight::new(vec![WeightPart::new(column, 1, 0..n_, 0..1)]));
    let x_codes = buffers.add("codes", Element::Packed, (rows_ * k_) as u64, BufferKind::Scratch);
    let x_scales = buffers.add("scales", Element::F32, rows.into(), BufferKind::Scratch);
    let out = buffers.add("out", Element::Act, (rows_ * n_) as u64, BufferKind::Constant(floats(&before)));
    let mut cuda = open(Options { check: true, ..Options::default() })?;
    cuda.fp8_products().map_err(text)?;
    cuda.allocate(buffers).map_err(text)?;
    let mut plan = Plan::default();
    let made = ScaledCodes { codes: x_codes.ptr(), scales: x_scales.ptr() };
    plan.launch(QuantizeRows { x: x_buffer.ptr(), y: made.codes, scales: made.scales, rows, k });
    let operands = GemmOperands::Fp8 { x: made, w: ScaledCodes { codes: w_buffer.ptr(), scales: w_scales.ptr() } };
    let mut gemm = Gemm::of(operands, Output::Act(out.ptr()), [rows, n, k]);
    gemm.bias = bias_buffer.ptr();
    if residual {
        gemm.residual = out.ptr();
    }
    plan.gemm(gemm);
    let plan = cuda.prepare(plan).map_err(text)?;
    cuda.run(plan, &[]).map_err(text)?;
    let got = bytemuck::pod_collect_to_vec::<u8, bf16>(&cuda.read_bytes(out).map_err(text)?);
    let mut worst = 0f64;
    for (row, x) in x.chunks(k_).enumerate() {
        let most = x.iter().fold(0f32, |most, x| most.max(x.abs()));
        let (scale, inverse) = (most / 448.0, 448.0 / most);
        let x: Vec<f64> = x.iter().map(|x| f64::from(e4m3(e4m3_code(x * inverse)))).collect();
        for (column, codes) in codes.chunks(k_).enumerate() {
            let terms = x.iter().zip(codes).map(|(x, w)| x * f64::from(e4m3(*w)));
            let (sum, magnitude) = terms.fold((0.0, 0.0), |(sum, all), term: f64| (sum + term, all + term.abs()));
            let factor = f64::from(scale) * f64::from(scales[column]);
            let old = if residual { before[row * n_ + column].to_f64() } else { 0.0 };
            let product = sum * factor + bias[column].to_f64();
            let bound = (product.abs() + (product + old).abs()) / 256.0 + magnitude * factor / 1024.0;
            worst = worst.max((got[row * n_ + column].to_f64() - product - old).abs() / bound);
        }
    }
    Ok(worst)
}

fn against_f64() -> Result<String, String> {
    let mut worst = 0f64;
    for (shape, residual) in SHAPES.into_iter().flat_map(|shape| [(shape, false), (shape, true)]) {
        let share = share(shape, residual)?;
        ensure(share <= 1.0, || format!("{shape:?}, residual {residual}: {share:.2} times the tolerance"))?;
        worst = worst.max(share);
    }
    Ok(format!("{} shapes, at most {worst:.2} of the tolerance", SHAPES.len()))
}
