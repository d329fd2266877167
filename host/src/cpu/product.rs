//! The product of activations and a weight, for `gemv` and GEMMs alike: a result's bits depend on its two rows alone.
use std::sync::LazyLock;

use gpu_kernels::{Ptr, Weight};
use half::bf16;

use super::parallel::for_each;
use super::tile::{InstructionSet, strip};
use crate::device::{Activation, Gemm, Memory, Output, WeightParts};

/// Weight rows that one core takes at a time: few enough to stay in its cache while all tokens pass.
const STRIP_ROWS: usize = 64;

static WIDEST: LazyLock<InstructionSet> = LazyLock::new(|| InstructionSet::available()[0]);

/// Runs a plan's GEMM.
pub fn gemm<A: Activation>(gemm: &Gemm, memory: &Memory) {
    let (rows, k) = (gemm.rows as usize, gemm.k as usize);
    let x = widened(&memory.read::<A>(gemm.x, rows * k));
    let elements = rows * gemm.n as usize;
    match gemm.out {
        Output::Act(out) => stored(&x, memory, gemm.w, &mut memory.write::<A>(out, elements), rows),
        Output::F32(out) => stored(&x, memory, gemm.w, &mut memory.write::<f32>(out, elements), rows),
    }
}

fn widened<A: Activation>(x: &[A]) -> Vec<f32> {
    x.iter().map(|x| x.to_f32()).collect()
}

fn stored<O: Activation>(x: &[f32], memory: &Memory, w: Ptr<Weight>, out: &mut [O], rows: usize) {
    product(*WIDEST, x, &memory.weight(w), out, rows);
}

struct Strip<'a, O> {
    first: usize,
    out: Vec<&'a mut [O]>,
}

/// `out[t, n] = Σ_k x[t, k] · w[n, k]`, rounded to `O`.
pub fn product<O: Activation>(set: InstructionSet, x: &[f32], w: &WeightParts, out: &mut [O], rows: usize) {
    let n = out.len() / rows;
    assert!(n <= w.rows() && x.len() == rows * w.columns(), "shapes of a product match");
    let empty = |first| Strip { first, out: Vec::with_capacity(rows) };
    let mut strips: Vec<Strip<O>> = (0..n).step_by(STRIP_ROWS).map(empty).collect();
    for row in out.chunks_mut(n) {
        strips.iter_mut().zip(row.chunks_mut(STRIP_ROWS)).for_each(|(strip, piece)| strip.out.push(piece));
    }
    for_each(rows * n * w.columns() / 8, strips, |mut task| {
        let rows: Vec<&[bf16]> = (task.first..task.first + task.out[0].len()).map(|row| w.row(row)).collect();
        strip(set, &rows, x, &mut task.out);
    });
}
