//! `AllReduce`, `AllGather`: the steps at which the ranks of a model meet. Each rank runs the same plan over buffers of its own.
use gpu_kernels::{Act, Ptr, Weight};

use super::Output;

/// `y[t, n] = residual[t, n] + r(Σ_ranks x[t, n] + bias[n])`, the same on every rank: summed in f32 in the order of the ranks, so
/// that all have the same bits in every run.
#[derive(Clone, Copy, Debug)]
pub struct AllReduce {
    /// `[rows, n]`: this rank's part of the sum.
    pub x: Output,
    /// `[n]` or null; the same on every rank, and added once.
    pub bias: Ptr<Weight>,
    /// `[rows, n]` or null; the same on every rank; may be `y`.
    pub residual: Ptr<Act>,
    /// `[rows, n]`, written.
    pub y: Ptr<Act>,
    /// Token rows.
    pub rows: u32,
    /// Columns.
    pub n: u32,
}

/// `y[t, rank · n + j] = x_rank[t, j]`, the same on every rank.
#[derive(Clone, Copy, Debug)]
pub struct AllGather {
    /// `[rows, n]`: this rank's columns.
    pub x: Output,
    /// `[rows, ranks · n]`, written; of the type of `x`.
    pub y: Output,
    /// Token rows.
    pub rows: u32,
    /// Columns of a rank.
    pub n: u32,
}

impl AllReduce {
    /// Bytes that a rank reads and writes in its own memory, with activations of 2 bytes; what it reads of others is not known
    /// here.
    pub fn bytes_moved(&self) -> u64 {
        let residual = if self.residual.is_null() { 0 } else { 2 };
        u64::from(self.rows) * u64::from(self.n) * (element_bytes(self.x) + residual + 2)
    }
}

impl AllGather {
    /// As of [`AllReduce::bytes_moved`].
    pub fn bytes_moved(&self) -> u64 {
        2 * u64::from(self.rows) * u64::from(self.n) * element_bytes(self.x)
    }
}

/// With activations of 2 bytes.
fn element_bytes(output: Output) -> u64 {
    if matches!(output, Output::Act(_)) { 2 } else { 4 }
}
