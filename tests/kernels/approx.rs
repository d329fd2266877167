//! `Approx`: a value in f64 with what f32 arithmetic and rounded intermediates may add to it.
use std::ops::{Add, Mul};

use crate::oracle::{Precision, Want};

/// How many units of 2⁻²⁴ an error is taken for where it decides whether a value may round to its neighbour.
const MARGIN: f64 = 16.0;

/// A value, as an oracle builds it up.
#[derive(Clone, Copy, Debug)]
pub struct Approx {
    pub value: f64,
    /// In units of 2⁻²⁴, as in [`Want::Value`].
    pub error: f64,
    /// What stands behind roundings that may have gone to the neighbour, as in [`Want::Value`].
    pub terms: f64,
}

impl Approx {
    pub fn exact(value: f64) -> Approx {
        Approx::near(value, 0.0)
    }

    pub fn near(value: f64, error: f64) -> Approx {
        Approx { value, error, terms: 0.0 }
    }

    pub fn want(&self) -> Want {
        Want::Value { value: self.value, error: self.error, terms: self.terms }
    }

    /// Adds to the error.
    pub fn with_error(self, error: f64) -> Approx {
        Approx { error: self.error + error, ..self }
    }

    /// Times what is exact; the product's own rounding is the caller's to count.
    pub fn times(self, factor: f64) -> Approx {
        let magnitude = factor.abs();
        Approx { value: self.value * factor, error: self.error * magnitude, terms: self.terms * magnitude }
    }

    /// The sum, without a rounding of its own.
    pub fn plus_term(self, term: Approx) -> Approx {
        Approx { value: self.value + term.value, error: self.error + term.error, terms: self.terms + term.terms }
    }

    /// Rounded to an activation: of bf16, all that is left of the error is whether the value may be the neighbour.
    pub fn rounded(self, precision: Precision) -> Approx {
        let value = precision.round(self.value);
        if precision == Precision::F32 {
            return Approx { value, ..self.with_error(value.abs()) };
        }
        let off = MARGIN * 2f64.powi(-24) * self.error;
        let settled = self.terms == 0.0 && precision.round(self.value - off) == precision.round(self.value + off);
        let terms = if settled { 0.0 } else { self.terms + value.abs() };
        Approx { value, error: 0.0, terms }
    }

    /// The value, or 0 where it is negative.
    pub fn positive(self) -> Approx {
        Approx { value: self.value.max(0.0), ..self }
    }

    pub fn squared(self) -> Approx {
        self * self
    }

    /// `x / (1 + e⁻ˣ)`.
    pub fn silu(self) -> Approx {
        let sigmoid = 1.0 / (1.0 + (-self.value).exp());
        let value = self.value * sigmoid;
        let slope = (sigmoid + value * (1.0 - sigmoid)).abs();
        // The exponential's argument, by how much it moves the sigmoid; exponential, sum, quotient and product.
        let own = (self.value.abs() * (1.0 - sigmoid) + 4.0) * value.abs();
        // A sigmoid below the normal numbers may become zero.
        let flushed = self.value.abs() * 2f64.powi(-126 + 24);
        Approx { value, error: self.error * slope + own + flushed, terms: self.terms * slope }
    }
}

impl Add for Approx {
    type Output = Approx;

    fn add(self, other: Approx) -> Approx {
        let sum = self.plus_term(other);
        sum.with_error(sum.value.abs())
    }
}

impl Mul for Approx {
    type Output = Approx;

    fn mul(self, other: Approx) -> Approx {
        let product = self.times(other.value).plus_term(Approx { value: 0.0, ..other.times(self.value) });
        product.with_error(product.value.abs())
    }
}
