//! The two types that activations can have: f32, the oracle's, and bf16, the GPU's.
use half::bf16;

use super::{Memory, PlannedKernel, Storage, Stored};

/// An activation type. Where a doc block says `r(…)`, references call [`Activation::round`].
pub trait Activation: Stored + bytemuck::Zeroable {
    /// Bytes of one activation.
    const BYTES: u64;

    /// The nearest activation, ties to even.
    fn from_f32(value: f32) -> Self;

    /// The exact value.
    fn to_f32(self) -> f32;

    /// The exact value, without what a conversion does to a NaN, which would cost as much as a product.
    fn widen(self) -> f32;

    /// The buffer that these elements are.
    fn storage(elements: Vec<Self>) -> Storage;

    /// Runs the reference of a kernel in a plan, whose type is erased, with activations of this type.
    fn reference(kernel: &dyn PlannedKernel, memory: &Memory);

    /// `value` rounded to this type: the rounding points of the kernels follow the type.
    fn round(value: f32) -> f32 {
        Self::from_f32(value).to_f32()
    }
}

impl Activation for f32 {
    const BYTES: u64 = 4;

    fn from_f32(value: f32) -> f32 {
        value
    }

    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    fn storage(elements: Vec<f32>) -> Storage {
        Storage::F32(elements)
    }

    fn reference(kernel: &dyn PlannedKernel, memory: &Memory) {
        kernel.reference_f32(memory);
    }
}

impl Activation for bf16 {
    const BYTES: u64 = 2;

    fn from_f32(value: f32) -> bf16 {
        bf16::from_f32(value)
    }

    fn to_f32(self) -> f32 {
        bf16::to_f32(self)
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    fn storage(elements: Vec<bf16>) -> Storage {
        Storage::Bf16(elements)
    }

    fn reference(kernel: &dyn PlannedKernel, memory: &Memory) {
        kernel.reference_bf16(memory);
    }
}
