//! `Peaks`: what the device gives at most, measured by a stream of reads and a large product in the same run.
use gpu_kernels::{
    DenseGemm, Element, Format, Gemv, Kernel, Ptr, QuantGemm, QuantGemv, QuantizeRows, SkinnyGemm, StepShape,
};

use super::Times;
use crate::device::{BufferId, BufferKind, Buffers, Device, Gemm, GemmOperands, Output, Plan, ScaledCodes};
use crate::error::Result;
use crate::models::spec::Tensor;
use crate::synthetic::RandomWeights;

/// Weights that the stream reads in turn, so that no cache holds what comes next.
const COPIES: usize = 2;
/// Turns that are timed together.
const TURNS: usize = 4;

/// The most that a device was seen to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peaks {
    /// Bytes that `gemv` reads of a very large weight in a second.
    pub bytes_per_second: f64,
    /// Operations of a large product in a second.
    pub flops_per_second: f64,
    /// The same of codes by codes, where the model has such products.
    pub fp8_flops_per_second: Option<f64>,
    /// Rows and columns of the weight.
    pub stream: [u32; 2],
    /// Token rows, rows and columns of the product.
    pub product: [u32; 3],
    /// Whether the matrix library made it, and not `dense_gemm`.
    pub library: bool,
}

impl Peaks {
    /// The least seconds in which so many bytes can be moved and so many operations done, `in_fp8` those of codes by codes.
    pub fn least(&self, bytes: u64, flops: u64, in_fp8: bool) -> f64 {
        let rate = self.fp8_flops_per_second.filter(|_| in_fp8).unwrap_or(self.flops_per_second);
        (bytes as f64 / self.bytes_per_second).max(flops as f64 / rate)
    }
}

/// What the peaks are measured with.
pub struct PeakBuffers {
    stream: [u32; 2],
    product: [u32; 3],
    weights: [BufferId; COPIES],
    product_x: BufferId,
    product_w: BufferId,
    product_out: BufferId,
    product_codes: Option<[BufferId; 2]>,
}

impl PeakBuffers {
    /// Adds them to a model's buffers, `in_fp8` also those of a product of codes by codes.
    pub fn add(buffers: &mut Buffers, random: &RandomWeights, is_gpu: bool, in_fp8: bool) -> PeakBuffers {
        let stream = if is_gpu { [256_000, 3072] } else { [65_536, 2048] };
        let product = if is_gpu { [8192, 8192, 8192] } else { [256, 2048, 2048] };
        let weight = |buffers: &mut Buffers, name: &str, rows: u32, columns: u32| {
            let tensor = Tensor::matrix(format!("peak.{name}"), rows as usize, columns as usize);
            buffers.add_weight(tensor.name.clone(), random.parts(&[tensor]))
        };
        let activations = |buffers: &mut Buffers, name: &str, count: u32| {
            let kind = BufferKind::Constant(activations(count as usize));
            buffers.add(format!("peak.{name}"), Element::Act, u64::from(count), kind)
        };
        let [n, k] = stream;
        let [rows, product_n, product_k] = product;
        let out = u64::from(rows) * u64::from(product_n);
        let mut codes = |name: &str, element: Element, count: u32| {
            buffers.add(format!("peak.product.{name}"), element, u64::from(count), BufferKind::State)
        };
        // Both matrices are the same codes.
        let count = rows.max(product_n);
        let product_codes =
            in_fp8.then(|| [codes("codes", Element::Packed, count * product_k), codes("scales", Element::F32, count)]);
        PeakBuffers {
            stream,
            product,
            weights: std::array::from_fn(|copy| weight(buffers, &format!("weight.{copy}"), n, k)),
            product_x: activations(buffers, "product.x", rows * product_k),
            product_w: weight(buffers, "product.w", product_n, product_k),
            product_out: buffers.add("peak.product.out", Element::Act, out, BufferKind::Scratch),
            product_codes,
        }
    }

    /// Token rows for which a product with a weight of `[n, k]` has room here.
    pub fn most_rows(&self, [n, k]: [u32; 2]) -> u32 {
        let [rows, product_n, product_k] = self.product;
        (rows * product_k / k).min(rows * product_n / n)
    }

    /// A product of `rows` of the numbers here with `w`, `[n, k]`, for the matrix library.
    pub fn gemm(&self, w: BufferId, [rows, n, k]: [u32; 3]) -> Gemm {
        let (x, w, out) = (self.product_x.ptr(), w.ptr(), Output::Act(self.product_out.ptr()));
        Gemm::new(x, w, out, [rows, n, k])
    }

    /// The same by `dense_gemm`.
    pub fn dense_gemm(&self, w: BufferId, shape: [u32; 3]) -> DenseGemm {
        let (x, w, y) = (self.product_x.ptr(), w.ptr(), self.product_out.ptr());
        DenseGemm { y, ..DenseGemm::new(x, w, shape) }
    }

    /// Appends the product by the matrix library, or without one by `dense_gemm`.
    pub fn append(&self, plan: &mut Plan, (w, shape): (BufferId, [u32; 3]), library: bool) {
        if library { plan.gemm(self.gemm(w, shape)) } else { plan.launch(self.dense_gemm(w, shape)) }
    }

    /// The same by `gemv`.
    pub fn gemv(&self, w: BufferId, [rows, n, k]: [u32; 3]) -> Gemv {
        let (x, w, y) = (self.product_x.ptr(), w.ptr(), self.product_out.ptr());
        Gemv { y, ..Gemv::new(x, w, [rows, n, k]) }
    }

    /// The same by `skinny_gemm`.
    pub fn skinny_gemm(&self, w: BufferId, [rows, n, k]: [u32; 3]) -> SkinnyGemm {
        let (x, w, y) = (self.product_x.ptr(), w.ptr(), self.product_out.ptr());
        SkinnyGemm { y, ..SkinnyGemm::new(x, w, [rows, n, k]) }
    }

    /// The same by `quant_gemv`, with codes and the scales beside them.
    pub fn quant_gemv(
        &self,
        (codes, scales): (BufferId, Option<BufferId>),
        format: Format,
        [rows, n, k]: [u32; 3],
    ) -> QuantGemv {
        let (x, y) = (self.product_x.ptr(), self.product_out.ptr());
        let scales = scales.map_or(Ptr::NULL, |scales| scales.ptr());
        QuantGemv { y, ..QuantGemv::new(x, (codes.ptr(), scales), format, [rows, n, k]) }
    }

    /// The same by `quant_gemm`.
    pub fn quant_gemm(&self, codes: (BufferId, Option<BufferId>), format: Format, shape: [u32; 3]) -> QuantGemm {
        let QuantGemv { w, scales, .. } = self.quant_gemv(codes, format, shape);
        QuantGemm::of(self.skinny_gemm(codes.0, shape), (w, scales), format)
    }

    /// Measures both peaks, the product's by the matrix library, if there is one.
    ///
    /// # Errors
    /// The device failed.
    pub fn measure(&self, device: &mut dyn Device) -> Result<Peaks> {
        let library = device.matrix_library().is_ok();
        let [n, k] = self.stream;
        let gemv = |turn: usize| self.gemv(self.weights[turn % COPIES], [1, n, k]);
        let gemm = self.gemm(self.product_w, self.product);
        let (mut reads, mut product) = (Plan::default(), Plan::default());
        (0..COPIES * TURNS).for_each(|turn| reads.launch(gemv(turn)));
        (0..TURNS).for_each(|_| self.append(&mut product, (self.product_w, self.product), library));
        let seconds_of_codes = self.product_codes.map(|codes| self.seconds_of_codes(codes, device)).transpose()?;
        let bytes = gemv(0).bytes_moved(&StepShape { sequences: &[], experts: None });
        Ok(Peaks {
            bytes_per_second: bytes as f64 / seconds_of_a_step(reads, COPIES * TURNS, device)?,
            flops_per_second: gemm.flops() as f64 / seconds_of_a_step(product, TURNS, device)?,
            fp8_flops_per_second: seconds_of_codes.map(|seconds| gemm.flops() as f64 / seconds),
            stream: self.stream,
            product: self.product,
            library,
        })
    }

    /// Seconds of the product of codes by codes.
    fn seconds_of_codes(&self, [codes, scales]: [BufferId; 2], device: &mut dyn Device) -> Result<f64> {
        let [rows, n, k] = self.product;
        let (mut made, mut product) = (Plan::default(), Plan::default());
        made.launch(QuantizeRows {
            x: self.product_x.ptr(),
            y: codes.ptr(),
            scales: scales.ptr(),
            rows: rows.max(n),
            k,
        });
        let made = device.prepare(made)?;
        device.time(&[(made, &[])])?;
        let matrix = ScaledCodes { codes: codes.ptr(), scales: scales.ptr() };
        let operands = GemmOperands::Fp8 { x: matrix, w: matrix };
        let gemm = Gemm::of(operands, Output::Act(self.product_out.ptr()), self.product);
        (0..TURNS).for_each(|_| product.gemm(gemm));
        seconds_of_a_step(product, TURNS, device)
    }
}

/// Seconds of one of the plan's equal steps: the median of the samples.
fn seconds_of_a_step(plan: Plan, steps: usize, device: &mut dyn Device) -> Result<f64> {
    let plan = device.prepare(plan)?;
    Ok(Times::of(steps, || device.time(&[(plan, &[])]))?.median)
}

/// Numbers between −1 and 1 that repeat late and are not even.
fn activations(count: usize) -> Vec<f32> {
    let value = |index: usize| (index.wrapping_mul(2_654_435_761) >> 7 & 0xffff) as f32 / 32_768.0 - 1.0;
    (0..count).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_of_bytes_and_operations_counts() {
        let peaks = Peaks {
            bytes_per_second: 10.0,
            flops_per_second: 100.0,
            fp8_flops_per_second: Some(200.0),
            stream: [1, 1],
            product: [1, 1, 1],
            library: true,
        };
        let least = [(20, 100, false), (5, 300, false), (5, 300, true)].map(|(b, f, fp8)| peaks.least(b, f, fp8));
        assert_eq!(least, [2.0, 3.0, 1.5]);
    }
}
