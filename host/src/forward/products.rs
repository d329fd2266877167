//! Products, asked for once by what they compute and lowered here alone: to kernels, fusions and calls of the matrix library.
use gpu_kernels::{Act, GEMV_MAX_ROWS, Gemv, LayerNorm1p, Ptr, Relu2, RmsNorm, Swiglu, Weight, gemv};

use super::Limits;
use super::builder::{NormBuffers, NormWeights};
use super::walk::Pass;
use crate::device::{BufferId, Gemm, Output};
use crate::models::spec::Activation;

/// Longest row that is normalised on its way into a product: with a longer one beside its weights, a multiprocessor of
/// Hopper has room for one block instead of two.
const NORMED_COLUMNS: usize = 4480;

/// The weight of a product on the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProductBuffer {
    pub weight: BufferId,
    pub bias: Option<BufferId>,
    /// Rows of the weight: the width of the result.
    pub n: usize,
    /// Columns of the weight: the width of the input.
    pub k: usize,
}

impl ProductBuffer {
    fn shape(&self, rows: u32) -> [u32; 3] {
        [rows, self.n as u32, self.k as u32]
    }

    fn bias(&self) -> Ptr<Weight> {
        self.bias.map_or(Ptr::NULL, |bias| bias.ptr())
    }
}

/// `out = residual + f(norm(x) · wᵀ + bias)` of `rows` rows, where norm, f and residual may be missing.
#[derive(Clone, Copy)]
pub(crate) struct Multiply<'a> {
    /// `[rows, k]`.
    pub x: Ptr<Act>,
    /// What normalises the rows of `x` first.
    pub norm: Option<&'a NormBuffers>,
    /// The weight, and its bias.
    pub weight: &'a ProductBuffer,
    /// What is done with the sums; not together with a residual.
    pub activation: Option<Activated>,
    /// `[rows, n]`, or null; may be `out`.
    pub residual: Ptr<Act>,
    /// `[rows, n]`; with a gate half as wide.
    pub out: Output,
    /// Token rows.
    pub rows: u32,
}

/// An activation behind a product.
#[derive(Clone, Copy)]
pub(crate) struct Activated {
    pub by: Activation,
    /// `[rows, n]`: where the sums go if a kernel of its own activates them.
    pub sums: Ptr<Act>,
}

impl<'a> Multiply<'a> {
    /// `x · wᵀ + bias` alone.
    pub fn new(x: Ptr<Act>, weight: &'a ProductBuffer, out: Output, rows: u32) -> Multiply<'a> {
        Multiply { x, norm: None, weight, activation: None, residual: Ptr::NULL, out, rows }
    }
}

/// Whether a product of `[rows, n, k]` is `gemv`'s.
pub(super) fn takes_gemv(limits: &Limits, [rows, n, k]: [u32; 3]) -> bool {
    rows <= GEMV_MAX_ROWS || u64::from(n) * u64::from(k) <= limits.small_weight
}

impl Pass<'_> {
    /// Appends a product, with what stands in front of it and behind.
    pub fn multiply(&mut self, product: Multiply) {
        if takes_gemv(&self.layout.limits, product.weight.shape(product.rows)) {
            self.by_gemv(&product);
        } else {
            self.by_gemm(&product);
        }
    }

    fn by_gemv(&mut self, product: &Multiply) {
        let Multiply { x, norm, weight, rows, .. } = *product;
        let fused = norm.filter(|_| norm_fuses(product));
        let x = match norm {
            Some(norm) if fused.is_none() => self.norm(norm, x, rows),
            _ => x,
        };
        let plain = Gemv::new(x, weight.weight.ptr(), weight.shape(rows));
        let (y, y_f32) = match product.out {
            Output::Act(y) => (y, Ptr::NULL),
            Output::F32(y_f32) => (Ptr::NULL, y_f32),
        };
        let activation = match product.activation.map(|activated| activated.by) {
            None => gemv::PLAIN,
            Some(Activation::Relu2) => gemv::RELU2,
            Some(Activation::SwiGlu) => gemv::SWIGLU,
        };
        let gemv = Gemv { bias: weight.bias(), residual: product.residual, activation, y, y_f32, ..plain };
        self.plan.launch(match fused.map(|norm| norm.weights) {
            None => gemv,
            Some(NormWeights::LayerNorm1p { weight, bias, eps }) => {
                Gemv { norm_weight: weight.ptr(), norm_bias: bias.ptr(), eps, ..gemv }
            }
            Some(NormWeights::Rms { weight, eps, roundings }) => {
                Gemv { norm_weight: weight.ptr(), eps, roundings, ..gemv }
            }
        });
    }

    fn by_gemm(&mut self, product: &Multiply) {
        let Multiply { weight, rows, .. } = *product;
        let x = product.norm.map_or(product.x, |norm| self.norm(norm, product.x, rows));
        let out = product.activation.map_or(product.out, |activated| Output::Act(activated.sums));
        let gemm = Gemm::new(x, weight.weight.ptr(), out, weight.shape(rows));
        self.plan.gemm(Gemm { bias: weight.bias(), residual: product.residual, ..gemm });
        if let (Some(Activated { by, sums }), Output::Act(y)) = (product.activation, product.out) {
            let n = weight.n as u32;
            match by {
                Activation::Relu2 => self.plan.launch(Relu2 { x: sums, y, count: rows * n }),
                Activation::SwiGlu => self.plan.launch(Swiglu { gate_up: sums, y, rows, width: n / 2 }),
            }
        }
    }

    /// Appends a norm over rows of the residual stream; returns its result.
    pub fn norm(&mut self, norm: &NormBuffers, x: Ptr<Act>, rows: u32) -> Ptr<Act> {
        let (y, hidden) = (norm.normed.ptr(), self.layout.hidden as u32);
        match norm.weights {
            NormWeights::LayerNorm1p { weight, bias, eps } => {
                let (weight, bias) = (weight.ptr(), bias.ptr());
                self.plan.launch(LayerNorm1p { x, weight, bias, y, rows, hidden, eps });
            }
            NormWeights::Rms { weight, eps, roundings } => {
                self.plan.launch(RmsNorm { x, weight: weight.ptr(), y, rows, hidden, eps, roundings });
            }
        }
        y
    }
}

/// Whether the row is normalised inside the product. Every block of `gemv` reads the whole row then, while others write their
/// part of the result: so the result must not go to where the row comes from.
fn norm_fuses(product: &Multiply) -> bool {
    let in_place = matches!(product.out, Output::Act(out) if out.addr == product.x.addr);
    product.rows == 1 && product.weight.k <= NORMED_COLUMNS && !in_place
}
