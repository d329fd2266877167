//! The activations that products apply to their sums.

/// No activation.
pub const PLAIN: u32 = 0;
/// The squared rectifier.
pub const RELU2: u32 = 1;
/// The gate's SiLU times what stands beside it.
pub const SWIGLU: u32 = 2;
