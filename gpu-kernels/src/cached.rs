//! How the pools of attention keep keys and values: as activations, or as codes of e4m3.
use crate::{Element, Field};

/// What an element of a pool is.
#[repr(u32)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KvFormat {
    /// An activation.
    #[default]
    Act,
    /// The e4m3 code of a number divided by a scale, beyond ±448 that of ±448.
    Fp8,
}

/// What numbers may be divided by: with it, neither quotients nor sums leave what f32 has.
pub const KV_SCALES: core::ops::RangeInclusive<f32> = 1e-18..=1e18;

impl KvFormat {
    /// The element of such a pool.
    pub const fn element(self) -> Element {
        match self {
            KvFormat::Act => Element::Kv,
            KvFormat::Fp8 => Element::Kv8,
        }
    }

    /// Bytes of an element on a GPU.
    pub const fn bytes(self) -> u32 {
        self.element().bytes(2) as u32
    }

    /// Whether a pool can have these scales: [`KV_SCALES`], and 1 where its elements are not divided.
    pub(crate) fn takes(self, scales: [f32; 2]) -> bool {
        match self {
            KvFormat::Act => scales == [1.0; 2],
            KvFormat::Fp8 => scales.iter().all(|scale| KV_SCALES.contains(scale)),
        }
    }
}

impl Field for KvFormat {
    fn write(&self, out: &mut [u8]) {
        (*self as u32).write(out);
    }

    fn resolve(&mut self, _: &mut dyn FnMut(u32, u64, Element) -> u64) {}
}

#[cfg(target_arch = "nvptx64")]
pub use kernels::{Cached, Divisor, E4m3, Plain};

#[cfg(target_arch = "nvptx64")]
mod kernels {
    use super::KvFormat;
    use crate::rope::Access;
    use cuda_std::{codes, global, math, shared};

    /// A kind of element, as a kernel handles it.
    pub trait Cached: Copy {
        /// What it is.
        const FORMAT: KvFormat;
        /// Bytes of one.
        const BYTES: u32 = Self::FORMAT.bytes();
        /// As many of them as `A` has activations.
        type Of<A: Access>: global::Word + shared::Word + Default;

        /// What a sum over elements is to be multiplied by, where that is `scale` for divided ones.
        fn rest(scale: f32) -> f32;

        /// What the pool keeps of some activations.
        fn made<A: Access>(activations: A, scale: Divisor) -> Self::Of<A>;
    }

    /// A divisor, as all quotients of a thread take it.
    #[derive(Clone, Copy)]
    pub struct Divisor {
        divisor: f32,
        reciprocal: f32,
    }

    impl Divisor {
        /// A number between 2⁻¹⁰⁰ and 2¹⁰⁰.
        #[inline(always)]
        pub fn new(divisor: f32) -> Divisor {
            Divisor { divisor, reciprocal: 1.0 / divisor }
        }

        /// The quotient as a division rounds it, up to 1000 and as far as it is no subnormal; beyond, anything beyond 448 of its sign.
        ///
        /// The product is one step off at most, and the remainder is exact: Markstein's division.
        #[inline(always)]
        pub fn divide(self, number: f32) -> f32 {
            let near = math::min(math::max(number * self.reciprocal, -1000.0), 1000.0);
            let quotient = math::fma(math::fma(-near, self.divisor, number), self.reciprocal, near);
            // Of a zero the sum has lost it.
            f32::from_bits(quotient.to_bits() | number.to_bits() & 1 << 31)
        }
    }

    /// bf16.
    #[derive(Clone, Copy)]
    pub struct Plain;

    impl Cached for Plain {
        const FORMAT: KvFormat = KvFormat::Act;
        type Of<A: Access> = A;

        #[inline(always)]
        fn rest(_: f32) -> f32 {
            1.0
        }

        #[inline(always)]
        fn made<A: Access>(activations: A, _: Divisor) -> A {
            activations
        }
    }

    /// Codes of e4m3.
    #[derive(Clone, Copy)]
    pub struct E4m3;

    impl Cached for E4m3 {
        const FORMAT: KvFormat = KvFormat::Fp8;
        type Of<A: Access> = A::Codes;

        #[inline(always)]
        fn rest(scale: f32) -> f32 {
            scale
        }

        #[inline(always)]
        fn made<A: Access>(activations: A, scale: Divisor) -> A::Codes {
            activations.codes(scale)
        }
    }
}
