//! `Walls`: what the device gives at most, measured by a stream of reads and a large product in the same run.
use gpu_kernels::{Element, Gemv, Kernel, Ptr, StepShape};

use super::Times;
use crate::device::{BufferId, BufferKind, Buffers, Device, Gemm, Output, Plan};
use crate::error::Result;
use crate::models::spec::Tensor;
use crate::synthetic::RandomWeights;

/// Weights that the stream reads in turn, so that no cache holds what comes next.
const COPIES: usize = 2;
/// Turns that are timed together.
const TURNS: usize = 4;

/// The most that a device was seen to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Walls {
    /// Bytes that `gemv` reads of a very large weight in a second.
    pub bytes_per_second: f64,
    /// Operations of a large product in a second.
    pub flops_per_second: f64,
    /// Rows and columns of the weight.
    pub stream: [u32; 2],
    /// Token rows, rows and columns of the product.
    pub product: [u32; 3],
}

impl Walls {
    /// The least seconds in which so many bytes can be moved and so many operations done.
    pub fn least(&self, bytes: u64, flops: u64) -> f64 {
        (bytes as f64 / self.bytes_per_second).max(flops as f64 / self.flops_per_second)
    }
}

/// What the walls are measured with.
pub struct WallBuffers {
    stream: [u32; 2],
    product: [u32; 3],
    x: BufferId,
    weights: [BufferId; COPIES],
    y: BufferId,
    product_x: BufferId,
    product_w: BufferId,
    product_out: BufferId,
}

impl WallBuffers {
    /// Adds them to a model's buffers.
    pub fn add(buffers: &mut Buffers, random: &RandomWeights, is_gpu: bool) -> WallBuffers {
        let stream = if is_gpu { [256_000, 3072] } else { [65_536, 2048] };
        let product = if is_gpu { [8192, 8192, 8192] } else { [256, 2048, 2048] };
        let weight = |buffers: &mut Buffers, name: &str, rows: u32, columns: u32| {
            let tensor = Tensor::matrix(format!("wall.{name}"), rows as usize, columns as usize);
            buffers.add_weight(tensor.name.clone(), random.parts(&[tensor]))
        };
        let activations = |buffers: &mut Buffers, name: &str, count: u32| {
            let kind = BufferKind::Constant(activations(count as usize));
            buffers.add(format!("wall.{name}"), Element::Act, u64::from(count), kind)
        };
        let [n, k] = stream;
        let [rows, product_n, product_k] = product;
        let out = u64::from(rows) * u64::from(product_n);
        WallBuffers {
            stream,
            product,
            x: activations(buffers, "x", k),
            weights: std::array::from_fn(|copy| weight(buffers, &format!("weight.{copy}"), n, k)),
            y: buffers.add("wall.y", Element::F32, u64::from(n), BufferKind::Scratch),
            product_x: activations(buffers, "product.x", rows * product_k),
            product_w: weight(buffers, "product.w", product_n, product_k),
            product_out: buffers.add("wall.product.out", Element::Act, out, BufferKind::Scratch),
        }
    }

    /// Measures both.
    ///
    /// # Errors
    /// The device failed.
    pub fn measure(&self, device: &mut dyn Device) -> Result<Walls> {
        let ([n, k], [rows, product_n, product_k]) = (self.stream, self.product);
        let gemv = |w: BufferId| {
            let (x, w, y_f32) = (self.x.ptr(), w.ptr(), self.y.ptr());
            Gemv { x, w, bias: Ptr::NULL, y: Ptr::NULL, y_f32, rows: 1, n, k }
        };
        let gemm = Gemm {
            x: self.product_x.ptr(),
            w: self.product_w.ptr(),
            bias: Ptr::NULL,
            out: Output::Act(self.product_out.ptr()),
            rows,
            n: product_n,
            k: product_k,
        };
        let (mut reads, mut product) = (Plan::default(), Plan::default());
        for turn in 0..COPIES * TURNS {
            reads.launch(gemv(self.weights[turn % COPIES]));
        }
        (0..TURNS).for_each(|_| product.gemm(gemm));
        let bytes = gemv(self.weights[0]).bytes_moved(&StepShape { sequences: &[] });
        Ok(Walls {
            bytes_per_second: bytes as f64 / seconds_of_a_step(reads, COPIES * TURNS, device)?,
            flops_per_second: gemm.flops() as f64 / seconds_of_a_step(product, TURNS, device)?,
            stream: self.stream,
            product: self.product,
        })
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
        let walls = Walls { bytes_per_second: 10.0, flops_per_second: 100.0, stream: [1, 1], product: [1, 1, 1] };
        assert_eq!((walls.least(20, 100), walls.least(5, 300)), (2.0, 3.0));
    }
}
