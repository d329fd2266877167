//! What a row file says of its kernel: the formula in f64, its rounding points, and how far a result may be off.
use gpu_kernels::{Ptr, Role};
use nemotron_backend::device::{PlannedKernel, Reference};

use crate::data::Data;
use crate::mutants::Defect;

/// The type that activations have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    F32,
    Bf16,
}

impl Precision {
    /// Bits of a significand, the hidden one included.
    pub fn bits(self) -> i32 {
        match self {
            Precision::F32 => 24,
            Precision::Bf16 => 8,
        }
    }

    /// The doc blocks' `r`: to the nearest value of this type, ties to even.
    pub fn round(self, value: f64) -> f64 {
        if value == 0.0 || !value.is_finite() {
            return value;
        }
        let ulp = self.ulp(value);
        let rounded = (value / ulp).round_ties_even() * ulp;
        if rounded.abs() >= 2f64.powi(128) { f64::INFINITY.copysign(value) } else { rounded }
    }

    /// The distance of this type's values around `value`.
    pub fn ulp(self, value: f64) -> f64 {
        let exponent = (value.abs().to_bits() >> 52) as i32 - 1023;
        2f64.powi(exponent.max(-126) - self.bits() + 1)
    }
}

/// What an element must be after the launch.
#[derive(Clone, Copy, Debug)]
pub enum Want {
    /// A number.
    Value {
        /// The formula's value.
        value: f64,
        /// First-order sum of what each f32 operation may add, in units of 2⁻²⁴.
        error: f64,
        /// Σ|terms| that an intermediate of the activation type is a factor of.
        terms: f64,
    },
    /// A number, as of [`Want::Value`], where the launch leaves one: on some devices it does not.
    Optional { value: f64, error: f64, terms: f64 },
    /// An integer that holds the bits of an f32.
    Bits {
        /// The formula's value.
        value: f64,
        /// As of [`Want::Value`].
        error: f64,
    },
    /// What it was before.
    Kept,
    /// Anything: nobody reads it.
    Any,
}

impl Want {
    /// Exactly `value`.
    pub fn exact(value: f64) -> Want {
        Want::Value { value, error: 0.0, terms: 0.0 }
    }

    /// The bits of `value` up to f32 arithmetic.
    pub fn bits(value: f64, error: f64) -> Want {
        Want::Bits { value, error }
    }

    /// The number, where the launch leaves one.
    pub fn optional(self) -> Want {
        match self {
            Want::Value { value, error, terms } => Want::Optional { value, error, terms },
            other => other,
        }
    }

    /// `value` up to f32 arithmetic.
    pub fn near(value: f64, error: f64) -> Want {
        Want::Value { value, error, terms: 0.0 }
    }
}

/// The elements of a written buffer, by buffer number.
pub struct Written(pub u32, pub Vec<Want>);

impl Written {
    pub fn new<R: Role>(target: Ptr<R>, wants: Vec<Want>) -> Written {
        Written(target.target().expect("pointer is not null").0, wants)
    }
}

/// A kernel's formula in f64, written from its doc block and from nothing else.
pub trait Oracle: Reference + PlannedKernel {
    /// c of the doc block's Numerics; 0 with D = 0 asks for equality.
    const C: f64;
    /// d of the doc block's Numerics.
    const D: f64;
    /// Defects that the rows must notice when they are planted in the PTX.
    const DEFECTS: &[Defect];

    /// Whether a defect is not planted in an entry: one that differs from another by a size alone, or whose places another kernel has.
    fn spares(_entry: &str, _defect: &Defect) -> bool {
        false
    }

    /// Every buffer that the kernel writes.
    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written>;
}

/// One case: a launch and its buffers.
pub struct Row<K> {
    pub name: String,
    pub kernel: K,
    pub data: Data,
}
