//! The model's products by themselves, for any number of rows, by the kernel that streams the weight and by the device's
//! matrix library.
use std::collections::BTreeMap;

use gpu_kernels::{Format, GEMV_MAX_ROWS, Kernel, Ptr, QuantGemm, QuantGemv, StepShape, skinny_gemm};

use super::peaks::PeakBuffers;
use super::{Bench, Cost, Times, kernels};
use crate::device::{BufferId, Device, Plan};
use crate::error::{Category, Error, Result};
use crate::forward::PARTIAL_PRODUCTS;

/// Products in a row, at least: of every layer in turn, so that no cache holds the next weight.
const IN_A_ROW: usize = 32;

/// What one product takes.
#[derive(Clone, Debug, PartialEq)]
pub struct ProductTime {
    /// What the weight is for: `qkv`, `head`.
    pub weight: String,
    /// How its elements stand.
    pub format: Format,
    /// Token rows.
    pub rows: u32,
    /// Rows of the weight.
    pub n: u32,
    /// Columns of the weight.
    pub k: u32,
    /// By the kernels of this program, as far as they have rows.
    pub gemv: Option<Times>,
    /// By the matrix library, or without one by `dense_gemm`, of a bf16 weight.
    pub gemm: Option<Times>,
    /// What it costs.
    pub cost: Cost,
}

impl ProductTime {
    /// The faster of both.
    ///
    /// # Panics
    /// If there is neither.
    pub fn best(&self) -> &Times {
        let both = [&self.gemv, &self.gemm].into_iter().flatten();
        both.min_by(|a, b| a.median.total_cmp(&b.median)).expect("a kernel that takes it timed the product")
    }

    /// Share of the peaks, in percent.
    pub fn percent_of_peak(&self) -> f64 {
        100.0 * self.cost.least / self.best().median
    }
}

/// A product's weight on the device.
#[derive(Clone, Copy)]
struct Stored {
    codes: BufferId,
    scales: Option<BufferId>,
}

/// Times every product of the model that has room for `rows` token rows, the largest weights last; one with a packed weight as
/// long as `quant_gemv` or `quant_gemm` takes it.
///
/// # Errors
/// The device failed, or no product has room for so many rows.
pub fn time(bench: &mut Bench, rows: u32) -> Result<Vec<ProductTime>> {
    let (peaks, library) = (bench.peaks, bench.peaks.library);
    let weights = weights(bench);
    let most = |shape: [u32; 2]| bench.peak_buffers.most_rows(shape);
    let most_of_all = weights.keys().map(|(shape, ..)| most(*shape)).max().unwrap_or(0);
    if rows == 0 || rows > most_of_all {
        return Err(Error::new(Category::Input, "Products of so many rows can not be timed")
            .details(format!("found {rows}, expected 1 to {most_of_all}"))
            .hint("choose another --batch"));
    }
    let skinny = bench.device.skinny_rows();
    let partial = bench.names.iter().position(|buffer| buffer.name == PARTIAL_PRODUCTS);
    let partial = partial.map_or(Ptr::NULL, |index| BufferId(index as u32).ptr());
    let taken = |format: Format| match format {
        Format::Bf16 => true,
        _ if rows <= GEMV_MAX_ROWS => QuantGemv::takes(format),
        _ => rows <= skinny_gemm::MAX_ROWS && QuantGemm::takes(format),
    };
    let roomy = weights.into_iter().filter(|((shape, _, format), _)| rows <= most(*shape) && taken(*format));
    let mut times = Vec::new();
    for (([n, k], weight, format), buffers) in roomy.collect::<Vec<_>>() {
        let (device, made, shape) = (bench.device.as_mut(), &bench.peak_buffers, [rows, n, k]);
        let turns = IN_A_ROW.div_ceil(buffers.len());
        let row = |add: &dyn Fn(&mut Plan, Stored)| {
            let mut plan = Plan { decode: true, ..Plan::default() };
            (0..turns).for_each(|_| buffers.iter().for_each(|w| add(&mut plan, *w)));
            plan
        };
        let streams = row(&|plan, w| match format {
            Format::Bf16 if rows > GEMV_MAX_ROWS => {
                let (product, join) = made.skinny_gemm(w.codes, shape).launches(partial);
                plan.launch(product);
                join.into_iter().for_each(|join| plan.launch(join));
            }
            Format::Bf16 => plan.launch(made.gemv(w.codes, shape)),
            _ if rows > GEMV_MAX_ROWS => {
                let (product, join) = made.quant_gemm((w.codes, w.scales), format, shape).launches(partial);
                plan.launch(product);
                join.into_iter().for_each(|join| plan.launch(join));
            }
            _ => plan.launch(made.quant_gemv((w.codes, w.scales), format, shape)),
        });
        let products = turns * buffers.len();
        let is_streamed = rows <= GEMV_MAX_ROWS || n.is_multiple_of(16) && (rows <= skinny || format != Format::Bf16);
        let gemv = is_streamed.then(|| timed(streams, products, device)).transpose()?;
        let gemms = row(&|plan, w| made.append(plan, (w.codes, shape), library));
        let gemm = (format == Format::Bf16).then(|| timed(gemms, products, device));
        let mut cost = Cost::default();
        let [bytes, flops] = work(made, buffers[0], format, shape);
        cost.add(bytes, flops, false, &peaks);
        times.push(ProductTime { weight, format, rows, n, k, gemv, gemm: gemm.transpose()?, cost });
    }
    Ok(times)
}

/// Bytes and operations of a product.
fn work(made: &PeakBuffers, w: Stored, format: Format, shape: [u32; 3]) -> [u64; 2] {
    let step = StepShape { sequences: &[], experts: None };
    if format == Format::Bf16 {
        let gemv = made.gemv(w.codes, shape);
        return [gemv.bytes_moved(&step), gemv.flops(&step)];
    }
    let gemv = made.quant_gemv((w.codes, w.scales), format, shape);
    [gemv.bytes_moved(&step), gemv.flops(&step)]
}

/// Every shape of weight, what it is for and its format, with the buffers of all layers.
fn weights(bench: &Bench) -> BTreeMap<([u32; 2], String, Format), Vec<Stored>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (index, buffer) in bench.names.iter().enumerate() {
        let is_product = buffer.name.starts_with("blocks.") || buffer.name == "head";
        let matrix = buffer.weight.filter(|(_, [_, columns])| is_product && *columns > 1);
        let Some((format, [n, k])) = matrix.filter(|(format, _)| *format == Format::Bf16 || format.is_packed()) else {
            continue;
        };
        let beside = format!("{}.scales", buffer.name);
        let scales = bench.names.iter().position(|other| other.name == beside).map(|index| BufferId(index as u32));
        let key = ([n as u32, k as u32], kernels::role(&buffer.name).to_owned(), format);
        found.entry(key).or_default().push(Stored { codes: BufferId(index as u32), scales });
    }
    found
}

/// Seconds of one of a plan's equal products.
fn timed(plan: Plan, products: usize, device: &mut dyn Device) -> Result<Times> {
    let plan = device.prepare(plan)?;
    Times::of(products, || device.time(&[(plan, &[])]))
}
