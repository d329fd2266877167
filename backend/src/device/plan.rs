//! `Plan`: the ordered steps of one pass over the model, over named buffers; no grid and no address in it.
use std::any::Any;
use std::sync::Arc;

use gpu_kernels::{Act, Argmax, Args, DeviceInfo, Element, Kernel, Launch, Packed, Ptr, StepShape, Weight};
use half::bf16;

use super::{Activation, AllGather, AllReduce, Memory};

/// A kernel's reference: the same function in plain loops and f32 arithmetic.
///
/// It has exactly the kernel's rounding points ([`Activation::round`]) and shares no arithmetic with it. With f32
/// activations it is the oracle and what the CPU device runs; with bf16 the yardstick of the PTX.
pub trait Reference: Kernel {
    /// Reads and writes the buffers that the arguments name.
    fn reference<A: Activation>(&self, memory: &Memory);
}

/// Where a product's result goes.
#[derive(Clone, Copy, Debug)]
pub enum Output {
    /// Rounded to activations.
    Act(Ptr<Act>),
    /// Not rounded: logits.
    F32(Ptr<f32>),
}

impl Output {
    /// The place `elements` further on.
    pub const fn offset(self, elements: u64) -> Output {
        match self {
            Output::Act(out) => Output::Act(out.offset(elements)),
            Output::F32(out) => Output::F32(out.offset(elements)),
        }
    }
}

/// The two matrices of a product, `[rows, k]` and `[n, k]`.
#[derive(Clone, Copy, Debug)]
pub enum GemmOperands {
    /// Activations, and a weight or a panel of activations that a step has made of one.
    Bf16 {
        /// `[rows, k]`.
        x: Ptr<Act>,
        /// `[n, k]`.
        w: Ptr<Weight>,
    },
    /// Codes of e4m3 with a scale for each row, of both. On a GPU rows and columns of the weight are multiples of 16.
    Fp8 {
        /// `[rows, k]`.
        x: ScaledCodes,
        /// `[n, k]`.
        w: ScaledCodes,
    },
}

impl GemmOperands {
    /// Buffer and element offset of the second; none where it is null.
    pub fn weight(&self) -> Option<(u32, u64)> {
        match self {
            GemmOperands::Bf16 { w, .. } => w.target(),
            GemmOperands::Fp8 { w, .. } => w.codes.target(),
        }
    }
}

/// A matrix of e4m3 codes, row by row without gaps, and the f32 by which each row is multiplied.
#[derive(Clone, Copy, Debug)]
pub struct ScaledCodes {
    /// `[rows, columns]`.
    pub codes: Ptr<Packed>,
    /// `[rows]`.
    pub scales: Ptr<f32>,
}

/// `out[t, n] = s[t, n] = Σ_k x[t, k] · w[n, k] + bias[n]`, or with a residual `residual[t, n] + r(s[t, n])`, for more rows than
/// `gemv` serves.
#[derive(Clone, Copy, Debug)]
pub struct Gemm {
    /// x and w.
    pub operands: GemmOperands,
    /// `[n]` or null. A GPU takes one where the result is activations.
    pub bias: Ptr<Weight>,
    /// `[rows, n]` or null, where the result is activations; may be `out`. For some shapes cuBLASLt adds it to the sum before
    /// that is rounded.
    pub residual: Ptr<Act>,
    /// `[rows, n]`.
    pub out: Output,
    /// Token rows.
    pub rows: u32,
    /// Rows of the weight.
    pub n: u32,
    /// Columns of the weight.
    pub k: u32,
    /// Elements from one row of `out`, and of the residual, to the next: more than `n` where the weight is a panel of one.
    pub stride: u32,
}

impl Gemm {
    /// `x · wᵀ` of `[rows, n, k]` alone.
    pub const fn new(x: Ptr<Act>, w: Ptr<Weight>, out: Output, shape: [u32; 3]) -> Gemm {
        Gemm::of(GemmOperands::Bf16 { x, w }, out, shape)
    }

    /// The product of any operands alone.
    pub const fn of(operands: GemmOperands, out: Output, [rows, n, k]: [u32; 3]) -> Gemm {
        Gemm { operands, bias: Ptr::NULL, residual: Ptr::NULL, out, rows, n, k, stride: n }
    }

    /// Bytes read and written at least once, with activations of 2 bytes.
    pub fn bytes_moved(&self) -> u64 {
        let (rows, n, k) = (u64::from(self.rows), u64::from(self.n), u64::from(self.k));
        let out = if matches!(self.out, Output::Act(_)) { 2 } else { 4 };
        let bias = if self.bias.is_null() { 0 } else { 2 * n };
        let (element, scales) =
            if matches!(self.operands, GemmOperands::Bf16 { .. }) { (2, 0) } else { (1, 4 * (rows + n)) };
        element * k * (n + rows) + scales + bias + rows * out * n
    }

    /// Floating-point operations.
    pub fn flops(&self) -> u64 {
        2 * u64::from(self.rows) * u64::from(self.n) * u64::from(self.k)
    }
}

/// One step of a plan.
#[derive(Clone, Debug)]
pub enum Step {
    /// A kernel of `gpu-kernels`.
    Launch(Arc<dyn PlannedKernel>),
    /// A product for the device's matrix library.
    Gemm(Gemm),
    /// A sum over all ranks.
    AllReduce(AllReduce),
    /// The columns of all ranks, side by side.
    AllGather(AllGather),
    /// The choice of the highest logit among the columns of all ranks: the `logits` are this rank's, `vocab` of them in a row, and
    /// ids count on from rank to rank; the same on every rank. It sends nothing by itself.
    AllArgmax(Argmax),
}

impl Step {
    /// The kernel's name, `gemm`, or that of a step in which ranks meet.
    pub fn name(&self) -> &'static str {
        match self {
            Step::Launch(kernel) => kernel.name(),
            Step::Gemm(_) => "gemm",
            Step::AllReduce(_) => "all_reduce",
            Step::AllGather(_) => "all_gather",
            Step::AllArgmax(_) => "all_argmax",
        }
    }

    /// The fewest bytes that the step must move.
    pub fn bytes_moved(&self, shape: &StepShape) -> u64 {
        match self {
            Step::Launch(kernel) => kernel.bytes_moved(shape),
            Step::Gemm(gemm) => gemm.bytes_moved(),
            Step::AllReduce(sum) => sum.bytes_moved(),
            Step::AllGather(gather) => gather.bytes_moved(),
            Step::AllArgmax(choice) => Kernel::bytes_moved(choice, shape),
        }
    }

    /// Whether the step multiplies codes by codes, which a GPU does at a higher rate.
    pub fn is_fp8_gemm(&self) -> bool {
        matches!(self, Step::Gemm(Gemm { operands: GemmOperands::Fp8 { .. }, .. }))
    }

    /// Floating-point operations of the step.
    pub fn flops(&self, shape: &StepShape) -> u64 {
        match self {
            Step::Launch(kernel) => kernel.flops(shape),
            Step::Gemm(gemm) => gemm.flops(),
            Step::AllReduce(_) | Step::AllGather(_) | Step::AllArgmax(_) => 0,
        }
    }
}

/// The ordered steps of one pass.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Whether the plan is run again and again with the same shape, so that it pays to record it soon.
    pub decode: bool,
    /// Whether it goes on where the plan that ran in front of it ended: what that left in scratch is read.
    pub continues: bool,
    /// How many elements of the [`BufferKind::Sampled`](super::BufferKind) buffer the host reads behind a run; none for all.
    pub published: Option<usize>,
    /// The steps.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Appends a kernel. Each that there is has a reference: [`PlannedKernel`] is made of it.
    pub fn launch<K: PlannedKernel + 'static>(&mut self, kernel: K) {
        self.steps.push(Step::Launch(Arc::new(kernel)));
    }

    /// Appends a product.
    pub fn gemm(&mut self, gemm: Gemm) {
        self.steps.push(Step::Gemm(gemm));
    }

    /// Appends a sum over all ranks.
    pub fn all_reduce(&mut self, sum: AllReduce) {
        self.steps.push(Step::AllReduce(sum));
    }

    /// Appends a gathering of the columns of all ranks.
    pub fn all_gather(&mut self, gather: AllGather) {
        self.steps.push(Step::AllGather(gather));
    }

    /// Appends a choice among the columns of all ranks.
    pub fn all_argmax(&mut self, choice: Argmax) {
        self.steps.push(Step::AllArgmax(choice));
    }
}

/// A kernel in a plan, its type erased.
pub trait PlannedKernel: std::fmt::Debug + Send + Sync {
    /// [`Kernel::NAME`].
    fn name(&self) -> &'static str;
    /// [`Kernel::check`].
    fn check(&self) -> Result<(), &'static str>;
    /// [`Kernel::launch`].
    fn launch(&self, device: &DeviceInfo) -> Launch;
    /// [`Kernel::bytes_moved`].
    fn bytes_moved(&self, shape: &StepShape) -> u64;
    /// [`Kernel::flops`].
    fn flops(&self, shape: &StepShape) -> u64;
    /// The bytes of the args struct after every pointer was replaced by `resolve(buffer, element offset, element)`.
    fn args(&self, resolve: &mut dyn FnMut(u32, u64, Element) -> u64) -> Vec<u8>;
    /// The args struct itself, for those who look for one kernel.
    fn as_any(&self) -> &dyn Any;
    /// [`Reference::reference`] with f32 activations.
    fn reference_f32(&self, memory: &Memory);
    /// [`Reference::reference`] with bf16 activations.
    fn reference_bf16(&self, memory: &Memory);
}

/// Implements [`PlannedKernel`] for every kernel. They are no generic implementation: so the references are compiled here,
/// once, and not in everyone who makes plans.
macro_rules! planned {
    ($($file:ident $kernel:ident,)*) => {$(
        impl PlannedKernel for gpu_kernels::$kernel {
            fn name(&self) -> &'static str {
                Self::NAME
            }

            fn check(&self) -> Result<(), &'static str> {
                Kernel::check(self)
            }

            fn launch(&self, device: &DeviceInfo) -> Launch {
                Kernel::launch(self, device)
            }

            fn bytes_moved(&self, shape: &StepShape) -> u64 {
                Kernel::bytes_moved(self, shape)
            }

            fn flops(&self, shape: &StepShape) -> u64 {
                Kernel::flops(self, shape)
            }

            fn args(&self, resolve: &mut dyn FnMut(u32, u64, Element) -> u64) -> Vec<u8> {
                args(*self, resolve)
            }

            fn as_any(&self) -> &dyn Any {
                self
            }

            fn reference_f32(&self, memory: &Memory) {
                self.reference::<f32>(memory);
            }

            fn reference_bf16(&self, memory: &Memory) {
                self.reference::<bf16>(memory);
            }
        }
    )*};
}
gpu_kernels::for_each_kernel!(planned);

fn args(mut args: impl Args, resolve: &mut dyn FnMut(u32, u64, Element) -> u64) -> Vec<u8> {
    args.resolve(resolve);
    let mut bytes = vec![0; size_of_val(&args)];
    args.write(&mut bytes);
    bytes
}
