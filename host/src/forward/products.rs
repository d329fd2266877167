//! Products, asked for once by what they compute and lowered here alone: to kernels, fusions and calls of the matrix library, where there is one.
use std::ops::Range;

use gpu_kernels::{
    Act, DenseGemm, GEMV_MAX_ROWS, GatedNorm, GatherColumns, Gemv, LayerNorm1p, MoeGemm, MoeGemv, MoeQuantGemm,
    MoeQuantGemv, Ptr, QuantGemm, QuantGemv, QuantizeRows, Relu2, RmsNorm, SkinnyGemm, Swiglu, Weight, activation,
    skinny_gemm,
};

use super::builder::{NormBuffers, NormWeights};
use super::pass::Pass;
use super::product_buffers::{
    ChangedInput, PackedBuffer, PartOfRank, ProductBuffer, QuantizedInput, takes_gemv, takes_parts, takes_skinny,
};
use crate::device::{AllReduce, Gemm, GemmOperands, Output, ScaledCodes};
use crate::models::spec::Activation;

/// Longest row that is normalised on its way into a product: with a longer one beside its weights, a multiprocessor of
/// Hopper has room for one block instead of two.
pub(crate) const NORMED_COLUMNS: usize = 4480;

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
    /// `[rows, n]` of this rank alone that is added to its part of the results, or null; where ranks meet behind the product.
    pub beside: Ptr<Act>,
    /// `[rows, n]`; with a gate half as wide.
    pub out: Output,
    /// Token rows.
    pub rows: u32,
    /// Whether a product of a few rows runs beside the kernel in front: `x` was written, and `out` used for the last time, before that one
    /// could start. Without gates and a residual.
    pub x_settled: bool,
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
        let (residual, beside) = (Ptr::NULL, Ptr::NULL);
        Multiply { x, norm: None, weight, activation: None, residual, beside, out, rows, x_settled: false }
    }

    /// Where the sums go that a kernel of its own activates, or the result.
    fn sums(&self) -> Output {
        self.activation.map_or(self.out, |activated| Output::Act(activated.sums))
    }
}

impl Pass<'_> {
    /// Appends a product, with what stands in front of it and behind.
    pub fn multiply(&mut self, product: Multiply) {
        // By the rows of the step: a part of more rows may be as small, and nothing holds that one back.
        let product = Multiply { x_settled: product.x_settled && product.rows <= GEMV_MAX_ROWS, ..product };
        match product.weight.part_of_rank {
            None => {
                assert!(product.beside.is_null(), "ranks meet where one has something beside its part");
                self.multiply_here(product);
            }
            Some(part) => self.multiply_on_all_ranks(&product, part),
        }
    }

    /// Each rank has a part of every result. Those of a few rows meet in f32, so that results are rounded once, as on one device; of
    /// many rows it would be twice the bytes between the GPUs.
    fn multiply_on_all_ranks(&mut self, product: &Multiply, part: PartOfRank) {
        let Multiply { weight, residual, beside, rows, .. } = *product;
        let Output::Act(y) = product.out else { panic!("results that ranks have parts of are activations") };
        // Only products that stream add to unrounded results.
        let x = if beside.is_null() || weight.streams() { part.of(rows) } else { Output::Act(part.many.ptr()) };
        let here = ProductBuffer { bias: None, ..*weight };
        self.multiply_here(Multiply { weight: &here, residual: beside, out: x, ..*product });
        self.plan.all_reduce(AllReduce { x, bias: weight.bias(), residual, y, rows, n: weight.n as u32 });
    }

    fn multiply_here(&mut self, product: Multiply) {
        let product = self.with_changed_input(product);
        let most = self.most_rows(&product);
        if product.rows > most {
            return self.in_parts(&product, most);
        }
        self.by_format(&product);
    }

    /// Rows that are multiplied together: all, but of packed weights it is better to read the codes twice than to write a panel and
    /// read it, and of others some times than to leave most of the device idle.
    fn most_rows(&self, product: &Multiply) -> u32 {
        let weight = product.weight;
        let twice = product.rows <= 2 * skinny_gemm::MAX_ROWS && weight.quantized.is_none();
        match weight.packed {
            None if takes_parts(&self.shared.limits, weight.shape(product.rows)) => skinny_gemm::MAX_ROWS,
            Some(packed) if twice && packed.takes_quant_gemm(1, weight.n) => skinny_gemm::MAX_ROWS,
            _ => product.rows,
        }
    }

    /// The product of `most` rows after the other.
    fn in_parts(&mut self, product: &Multiply, most: u32) {
        let x = product.norm.map_or(product.x, |norm| self.norm(norm, product.x, product.rows));
        let gated = product.activation.is_some_and(|activated| activated.by == Activation::SwiGlu);
        let (n, k) = (product.weight.n as u64, product.weight.k as u64);
        let width = if gated { n / 2 } else { n };
        for first in (0..product.rows).step_by(most as usize) {
            let (rows, first) = (most.min(product.rows - first), u64::from(first));
            let residual = if product.residual.is_null() { Ptr::NULL } else { product.residual.offset(first * width) };
            let (x, out) = (x.offset(first * k), product.out.offset(first * width));
            self.by_format(&Multiply { x, norm: None, residual, out, rows, ..*product });
        }
    }

    fn by_format(&mut self, product: &Multiply) {
        match product.weight.packed {
            None => self.by_rows(product, product.weight.weight.ptr()),
            Some(packed) if product.rows <= GEMV_MAX_ROWS && packed.streams() => self.by_codes(product, packed),
            Some(packed) if packed.takes_quant_gemm(product.rows, product.weight.n) => {
                self.by_quant_gemm(product, packed)
            }
            Some(packed) => match product.weight.quantized {
                Some(input) => self.by_fp8_gemm(product, packed, input),
                None => self.by_panels(product, packed),
            },
        }
    }

    /// Many rows, which become codes as the weight's are.
    fn by_fp8_gemm(&mut self, product: &Multiply, packed: PackedBuffer, input: QuantizedInput) {
        let Multiply { weight, rows, .. } = *product;
        let x = product.norm.map_or(product.x, |norm| self.norm(norm, product.x, rows));
        let codes = ScaledCodes { codes: input.codes.ptr(), scales: input.scales.ptr() };
        self.plan.launch(QuantizeRows { x, y: codes.codes, scales: codes.scales, rows, k: weight.k as u32 });
        let (w, scales) = weight.codes(packed);
        let operands = GemmOperands::Fp8 { x: codes, w: ScaledCodes { codes: w, scales } };
        let gemm = Gemm::of(operands, product.sums(), weight.shape(rows));
        self.plan.gemm(Gemm { bias: weight.bias(), residual: product.residual, ..gemm });
        self.activate(product);
    }

    /// A few rows of a packed weight, whose codes are streamed as they are.
    fn by_codes(&mut self, product: &Multiply, packed: PackedBuffer) {
        let around = self.around_gemv(product);
        self.plan.launch(QuantGemv::of(around, product.weight.codes(packed), packed.format));
    }

    /// The product by what multiplies with a whole weight, which stands at `w`.
    fn by_rows(&mut self, product: &Multiply, w: Ptr<Weight>) {
        let shape = product.weight.shape(product.rows);
        let limits = &self.shared.limits;
        if takes_gemv(limits, shape) {
            self.by_gemv(product, w);
        } else if takes_skinny(limits, shape, product.weight.part_of_rank.is_some()) {
            self.by_skinny_gemm(product, w);
        } else {
            let x = product.norm.map_or(product.x, |norm| self.norm(norm, product.x, product.rows));
            self.gemm(product, (x, w, product.sums()), 0..product.weight.n);
            self.activate(product);
        }
    }

    /// The product with an input that is normalised, put into the weight's order and multiplied already.
    fn with_changed_input<'a>(&mut self, product: Multiply<'a>) -> Multiply<'a> {
        let Some(ChangedInput { order, factors, changed }) = product.weight.input else { return product };
        let x = product.norm.map_or(product.x, |norm| self.norm(norm, product.x, product.rows));
        let (order, factors) =
            (order.map_or(Ptr::NULL, |order| order.ptr()), factors.map_or(Ptr::NULL, |factors| factors.ptr()));
        let (rows, k) = (product.rows, product.weight.k as u32);
        self.plan.launch(GatherColumns { x, order, factors, y: changed.ptr(), rows, k });
        Multiply { x: changed.ptr(), norm: None, x_settled: false, ..product }
    }

    /// Rows of a packed weight are widened, as many as the panel holds, and multiplied with.
    fn by_panels(&mut self, product: &Multiply, packed: PackedBuffer) {
        let weight = product.weight;
        let (n, most, w) = (weight.n, packed.rows, packed.panel.ptr());
        if most == n {
            self.plan.launch(weight.widen(0..n).expect("the weight is packed"));
            return self.by_rows(product, w);
        }
        let x = product.norm.map_or(product.x, |norm| self.norm(norm, product.x, product.rows));
        let out = product.sums();
        for first in (0..n).step_by(most) {
            let rows = first..n.min(first + most);
            self.plan.launch(weight.widen(rows.clone()).expect("the weight is packed"));
            self.gemm(product, (x, w, out), rows);
        }
        self.activate(product);
    }

    /// Appends the product of a few choices with the experts that `weight` holds, which [`ProductBuffer::streams`].
    pub fn multiply_few_experts(&mut self, weight: &ProductBuffer, product: MoeGemv) {
        match weight.packed {
            None => self.plan.launch(product),
            Some(packed) => self.plan.launch(MoeQuantGemv::new(product, weight.codes(packed), packed.format)),
        }
    }

    /// Appends the product of sorted choices with the experts that `weight` holds: by their codes, or where no kernel takes those,
    /// widened some at a time.
    pub fn multiply_experts(&mut self, weight: &ProductBuffer, product: MoeGemm) {
        let Some(packed) = weight.packed else { return self.plan.launch(product) };
        if QuantGemm::takes(packed.format) {
            return self.plan.launch(MoeQuantGemm::new(product, weight.codes(packed), packed.format));
        }
        let (experts, n) = (product.experts as usize, product.n as usize);
        let together = packed.rows / n;
        for first in (0..experts).step_by(together) {
            let held = together.min(experts - first);
            self.plan.launch(weight.widen(first * n..(first + held) * n).expect("the weight is packed"));
            self.plan.launch(MoeGemm { w: packed.panel.ptr(), first: first as u32, held: held as u32, ..product });
        }
    }

    fn by_gemv(&mut self, product: &Multiply, w: Ptr<Weight>) {
        let around = self.around_gemv(product);
        // A panel is made by the kernel in front.
        let made = product.weight.packed.is_some();
        self.plan.launch(Gemv { w, made: made.into(), x_settled: around.x_settled & u32::from(!made), ..around });
    }

    /// The product, and where blocks share its columns their sums'.
    fn by_skinny_gemm(&mut self, product: &Multiply, w: Ptr<Weight>) {
        let made = product.weight.packed.is_some().into();
        let around = SkinnyGemm { w, made, ..self.around_skinny_gemm(product) };
        let (product, join) = around.launches(product.weight.partial());
        self.plan.launch(product);
        join.into_iter().for_each(|join| self.plan.launch(join));
    }

    /// The same with a packed weight, whose codes are streamed as they are.
    fn by_quant_gemm(&mut self, product: &Multiply, packed: PackedBuffer) {
        let around = self.around_skinny_gemm(product);
        let product_of_codes = QuantGemm::of(around, product.weight.codes(packed), packed.format);
        let (product, join) = product_of_codes.launches(product.weight.partial());
        self.plan.launch(product);
        join.into_iter().for_each(|join| self.plan.launch(join));
    }

    /// The product of `skinny_gemm`, without the weight.
    fn around_skinny_gemm(&mut self, product: &Multiply) -> SkinnyGemm {
        let Gemv { x, bias, residual, y, y_f32, activation, .. } = self.around_gemv(product);
        let plain = SkinnyGemm::new(x, Ptr::NULL, product.weight.shape(product.rows));
        SkinnyGemm { bias, residual, y, y_f32, activation, ..plain }
    }

    /// The product of a streamed weight, without the weight; where the norm in front is not a part of it, that is appended.
    fn around_gemv(&mut self, product: &Multiply) -> Gemv {
        let Multiply { x, norm, weight, rows, .. } = *product;
        let fused = norm.filter(|_| norm_fuses(product));
        let x = match norm {
            Some(norm) if fused.is_none() => self.norm(norm, x, rows),
            _ => x,
        };
        let plain = Gemv { x_settled: product.x_settled.into(), ..Gemv::new(x, Ptr::NULL, weight.shape(rows)) };
        let (y, y_f32) = match product.out {
            Output::Act(y) => (y, Ptr::NULL),
            Output::F32(y_f32) => (Ptr::NULL, y_f32),
        };
        let activation = match product.activation.map(|activated| activated.by) {
            None => activation::PLAIN,
            Some(Activation::Relu2) => activation::RELU2,
            Some(Activation::SwiGlu) => activation::SWIGLU,
        };
        let gemv = Gemv { bias: weight.bias(), residual: product.residual, activation, y, y_f32, ..plain };
        match fused.map(|norm| norm.weights) {
            None => gemv,
            Some(NormWeights::LayerNorm1p { weight, bias, eps }) => {
                Gemv { norm_weight: weight.ptr(), norm_bias: bias.ptr(), eps, ..gemv }
            }
            Some(NormWeights::Rms { weight, eps, roundings }) => {
                Gemv { norm_weight: weight.ptr(), eps, roundings, ..gemv }
            }
            Some(NormWeights::Gated { weight, eps, gate, groups, .. }) => {
                Gemv { norm_weight: weight.ptr(), eps, gate: gate.ptr(), norm_groups: groups, ..gemv }
            }
        }
    }

    /// Multiplies with rows `of` of the weight, which stand at `w`.
    fn gemm(&mut self, product: &Multiply, (x, w, out): (Ptr<Act>, Ptr<Weight>, Output), of: Range<usize>) {
        let Multiply { weight, rows, residual, .. } = *product;
        let first = of.start as u64;
        let residual = if residual.is_null() { residual } else { residual.offset(first) };
        let bias = weight.bias.map_or(Ptr::NULL, |bias| bias.ptr::<Weight>().offset(first));
        let (out, shape, stride) = (out.offset(first), [rows, of.len() as u32, weight.k as u32], weight.n as u32);
        if self.shared.limits.gemms {
            return self.plan.gemm(Gemm { bias, residual, stride, ..Gemm::new(x, w, out, shape) });
        }
        let (y, y_f32) = match out {
            Output::Act(y) => (y, Ptr::NULL),
            Output::F32(y_f32) => (Ptr::NULL, y_f32),
        };
        self.plan.launch(DenseGemm { bias, residual, y, y_f32, stride, ..DenseGemm::new(x, w, shape) });
    }

    /// The activation behind a GEMM.
    fn activate(&mut self, product: &Multiply) {
        if let (Some(Activated { by, sums }), Output::Act(y)) = (product.activation, product.out) {
            let (rows, n) = (product.rows, product.weight.n as u32);
            match by {
                Activation::Relu2 => self.plan.launch(Relu2 { x: sums, y, count: rows * n }),
                Activation::SwiGlu => self.plan.launch(Swiglu { gate_up: sums, y, rows, width: n / 2 }),
            }
        }
    }

    /// Appends a norm; returns its result.
    pub fn norm(&mut self, norm: &NormBuffers, x: Ptr<Act>, rows: u32) -> Ptr<Act> {
        let (y, hidden) = (norm.normed.ptr(), self.shared.hidden as u32);
        match norm.weights {
            NormWeights::LayerNorm1p { weight, bias, eps } => {
                let (weight, bias) = (weight.ptr(), bias.ptr());
                self.plan.launch(LayerNorm1p { x, weight, bias, y, rows, hidden, eps });
            }
            NormWeights::Rms { weight, eps, roundings } => {
                self.plan.launch(RmsNorm { x, weight: weight.ptr(), y, rows, hidden, eps, roundings });
            }
            NormWeights::Gated { weight, eps, gate, stride, columns, groups } => {
                let (z, weight) = (gate.ptr(), weight.ptr());
                let shape = GatedNorm { rows, width: columns, groups, z_stride: stride, eps, y: x, z, weight, out: y };
                self.plan.launch(shape);
            }
        }
        y
    }
}

/// Whether the row is normalised inside the product. Every block of `gemv` reads the whole row then, while others write their
/// part of the result: so the result must not go to where the row comes from, and what ranks send has no norm.
fn norm_fuses(product: &Multiply) -> bool {
    let in_place = matches!(product.out, Output::Act(out) if out.addr == product.x.addr);
    product.rows == 1 && takes_norm(product.weight) && !in_place
}

/// Whether a product of one row with the weight normalises it on the way.
pub(crate) fn takes_norm(weight: &ProductBuffer) -> bool {
    weight.streams() && weight.input.is_none() && weight.part_of_rank.is_none() && weight.k <= NORMED_COLUMNS
}
