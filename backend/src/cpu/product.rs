//! The product of activations and a weight, for `gemv` and GEMMs alike: a result's bits depend on its two rows alone.
use std::cell::Ref;
use std::sync::LazyLock;

use gpu_kernels::{Gemv, Ptr, Role};
use half::bf16;

use super::packed::{PackedMatrix, PackedRows};
use super::parallel::for_each;
use super::residual;
use super::tile::{InstructionSet, strip};
use crate::device::{Activation, Gemm, GemmOperands, Memory, Output, Weight, e4m3};

/// Weight rows that one core takes at a time: few enough to stay in its cache while all tokens pass.
const STRIP_ROWS: usize = 64;

/// What changes no sum: +0 would make +0 of −0.
const NO_BIAS: f32 = -0.0;

static WIDEST: LazyLock<InstructionSet> = LazyLock::new(|| InstructionSet::available()[0]);

/// The rows that are multiplied with: a weight's, or those of a panel that a step has made.
pub enum Matrix<'a, A> {
    /// Rows of a bf16 weight, from one on.
    Weight(Ref<'a, Weight>, usize),
    /// Activations, row by row.
    Panel(Ref<'a, [A]>, usize),
    /// Codes, which are numbers of f32.
    Packed(PackedMatrix<'a>, usize),
}

impl<'a, A: Activation> Matrix<'a, A> {
    /// `rows` rows of `k` columns, from `w` on.
    pub fn of(memory: &'a Memory, w: Ptr<gpu_kernels::Weight>, [rows, k]: [usize; 2]) -> Matrix<'a, A> {
        if memory.is_weight(w) {
            let (weight, offset) = memory.weight_from(w);
            assert_eq!(weight.columns(), k, "the weight has the product's columns");
            return Matrix::Weight(weight, offset / k);
        }
        Matrix::Panel(memory.read::<A>(w, rows * k), k)
    }

    /// As threads share it.
    pub fn source(&self) -> MatrixRows<'_, A> {
        match self {
            Matrix::Weight(weight, first) => MatrixRows::Weight(weight, *first),
            Matrix::Panel(elements, k) => MatrixRows::Panel(elements, *k),
            Matrix::Packed(matrix, k) => MatrixRows::Packed(matrix.rows(), *k),
        }
    }
}

/// Activations that a plan's GEMM can be run with. No generic function does that: so it is compiled here, once for each.
pub trait Products: Activation {
    /// Runs the product.
    fn gemm(gemm: &Gemm, memory: &Memory);
}

impl Products for f32 {
    fn gemm(product: &Gemm, memory: &Memory) {
        gemm::<f32>(product, memory);
    }
}

impl Products for bf16 {
    fn gemm(product: &Gemm, memory: &Memory) {
        gemm::<bf16>(product, memory);
    }
}

/// Runs a plan's GEMM.
pub fn gemm<A: Activation>(gemm: &Gemm, memory: &Memory) {
    let x = first_factor::<A>(gemm, memory);
    match gemm.out {
        Output::Act(out) if !gemm.residual.is_null() => {
            let sums = sums::<A, A>(&x, memory, gemm);
            let (n, stride) = (gemm.n as usize, u64::from(gemm.stride));
            for (row, sums) in sums.chunks(n).enumerate() {
                let first = row as u64 * stride;
                residual::add::<A>(memory, gemm.residual.offset(first), out.offset(first), sums);
            }
        }
        Output::Act(out) => stored::<A, A>(&x, memory, gemm, out),
        Output::F32(out) => stored::<A, f32>(&x, memory, gemm, out),
    }
}

/// `x` as numbers.
fn first_factor<A: Activation>(gemm: &Gemm, memory: &Memory) -> Vec<f32> {
    let (rows, k) = (gemm.rows as usize, gemm.k as usize);
    match gemm.operands {
        GemmOperands::Bf16 { x, .. } => widened(&memory.read::<A>(x, rows * k)),
        GemmOperands::Fp8 { x, .. } => {
            let (codes, scales) = (memory.read::<u8>(x.codes, rows * k), memory.read::<f32>(x.scales, rows));
            let rows = codes.chunks(k).zip(scales.iter());
            rows.flat_map(|(row, scale)| row.iter().map(move |code| e4m3(*code) * scale)).collect()
        }
    }
}

/// A gemv's product of `x`, `[rows, k]`, and `w` with the bias.
pub fn product_of<A: Activation, O: Activation>(x: &[A], gemv: &Gemv, w: &Matrix<A>, memory: &Memory, out: &mut [O]) {
    let bias = bias(memory, gemv.bias, gemv.n);
    product(*WIDEST, &widened(x), w.source(), bias.as_deref(), out, gemv.rows as usize);
}

fn widened<A: Activation>(x: &[A]) -> Vec<f32> {
    x.iter().map(|x| x.to_f32()).collect()
}

pub(super) fn bias(memory: &Memory, bias: Ptr<gpu_kernels::Weight>, n: u32) -> Option<Vec<f32>> {
    (!bias.is_null()).then(|| {
        let (bias, first) = memory.weight_from(bias);
        (first..first + n as usize).map(|row| bias.row(row)[0].to_f32()).collect()
    })
}

fn sums<A: Activation, O: Activation>(x: &[f32], memory: &Memory, gemm: &Gemm) -> Vec<O> {
    let bias = bias(memory, gemm.bias, gemm.n);
    let (n, k) = (gemm.n as usize, gemm.k as usize);
    let w = match gemm.operands {
        GemmOperands::Bf16 { w, .. } => Matrix::<A>::of(memory, w, [n, k]),
        GemmOperands::Fp8 { w, .. } => Matrix::Packed(PackedMatrix::of(memory, w.codes, w.scales), k),
    };
    let mut sums = vec![O::default(); (gemm.rows * gemm.n) as usize];
    product(*WIDEST, x, w.source(), bias.as_deref(), &mut sums, gemm.rows as usize);
    sums
}

fn stored<A: Activation, O: Activation>(x: &[f32], memory: &Memory, gemm: &Gemm, out: Ptr<impl Role>) {
    let (n, stride) = (gemm.n as usize, u64::from(gemm.stride));
    for (row, sums) in sums::<A, O>(x, memory, gemm).chunks(n).enumerate() {
        memory.write::<O>(out.offset(row as u64 * stride), n).copy_from_slice(sums);
    }
}

struct Strip<'a, O> {
    first: usize,
    out: Vec<&'a mut [O]>,
}

/// `out[t, n] = Σ_k x[t, k] · w[n, k] + bias[n]`, rounded to `O`.
pub fn product<A: Activation, O: Activation>(
    set: InstructionSet,
    x: &[f32],
    w: MatrixRows<A>,
    bias: Option<&[f32]>,
    out: &mut [O],
    rows: usize,
) {
    let (n, k) = (out.len() / rows, x.len() / rows);
    let empty = |first| Strip { first, out: Vec::with_capacity(rows) };
    let mut strips: Vec<Strip<O>> = (0..n).step_by(STRIP_ROWS).map(empty).collect();
    for row in out.chunks_mut(n) {
        strips.iter_mut().zip(row.chunks_mut(STRIP_ROWS)).for_each(|(strip, piece)| strip.out.push(piece));
    }
    for_each(rows * n * k / 8, strips, |mut task| {
        let of = task.first..task.first + task.out[0].len();
        let bias = bias.map_or_else(|| vec![NO_BIAS; of.len()], |bias| bias[of.clone()].to_vec());
        match w {
            MatrixRows::Weight(weight, first) => {
                let rows: Vec<&[bf16]> = of.map(|row| weight.row(first + row)).collect();
                strip(set, &rows, &bias, x, &mut task.out);
            }
            MatrixRows::Panel(elements, k) => {
                let rows: Vec<&[A]> = of.map(|row| &elements[row * k..][..k]).collect();
                strip(set, &rows, &bias, x, &mut task.out);
            }
            MatrixRows::Packed(matrix, k) => {
                let unpacked: Vec<Vec<f32>> = of.map(|row| matrix.unpacked(row, k)).collect();
                let rows: Vec<&[f32]> = unpacked.iter().map(Vec::as_slice).collect();
                strip(set, &rows, &bias, x, &mut task.out);
            }
        }
    });
}

/// A matrix as threads share it.
#[derive(Clone, Copy)]
pub enum MatrixRows<'a, A> {
    /// Rows of a bf16 weight, from one on.
    Weight(&'a Weight, usize),
    /// Activations, and how many make a row.
    Panel(&'a [A], usize),
    /// Codes, and how many make a row.
    Packed(PackedRows<'a>, usize),
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use gpu_kernels::{Element, Ptr};

    use super::*;
    use crate::device::{BufferKind, Buffers, Reference, WeightPart};

    /// Numbers in −1 .. 1 that f32 needs all its bits for.
    fn number(index: usize) -> f32 {
        (index as f32 * 0.61803).sin()
    }

    fn matrix(rows: usize, columns: usize) -> Bytes {
        (0..rows * columns).flat_map(|i| bf16::from_f32(number(i + 7)).to_le_bytes()).collect::<Vec<u8>>().into()
    }

    fn of(w: &Weight) -> MatrixRows<'_, bf16> {
        MatrixRows::Weight(w, 0)
    }

    /// Each product and the sum of its terms' magnitudes.
    fn naive(x: &[f32], w: &Weight, rows: usize) -> Vec<(f64, f64)> {
        let dot = |x: &[f32], w: &[bf16]| {
            let terms = x.iter().zip(w).map(|(x, w)| f64::from(*x) * w.to_f64());
            terms.fold((0.0, 0.0), |(sum, magnitude), term| (sum + term, magnitude + term.abs()))
        };
        let pairs = (0..rows).flat_map(|t| (0..w.rows()).map(move |n| (t, n)));
        pairs.map(|(t, n)| dot(&x[t * w.columns()..][..w.columns()], w.row(n))).collect()
    }

    /// Checks rows 1 to 9 on each instruction set against f64, and that the sets and the row counts agree to the bit.
    fn check(w: &Weight) {
        let (n, k) = (w.rows(), w.columns());
        let x: Vec<f32> = (0..9 * k).map(number).collect();
        let want = naive(&x, w, 9);
        let mut first = vec![0.0; 9 * n];
        product(InstructionSet::available()[0], &x, of(w), None, &mut first, 9);
        // A term is rounded once in each block of its lane that follows, and in the folds of the lanes.
        let roundings = k.div_ceil(16) as f64 + 4.0;
        for (i, (got, (want, magnitude))) in first.iter().zip(&want).enumerate() {
            let bound = roundings * 2f64.powi(-24) * magnitude;
            assert!((f64::from(*got) - want).abs() <= bound, "{n}x{k}, element {i}: got {got}, want {want}");
        }
        for set in InstructionSet::available() {
            for rows in 1..=9 {
                let mut out = vec![0.0; rows * n];
                product(set, &x[..rows * k], of(w), None, &mut out, rows);
                assert_eq!(out, first[..rows * n], "{set:?} with {rows} rows, {n}x{k}");
            }
        }
    }

    #[test]
    fn products_agree_with_f64_on_every_instruction_set_and_row_count() {
        for (n, k) in [(1, 8), (3, 24), (7, 40), (64, 16), (65, 256), (131, 264), (257, 1032)] {
            check(&Weight::new(vec![WeightPart::new(matrix(n, k), k, 0..n, 0..k)]));
        }
    }

    #[test]
    fn a_weight_may_be_several_parts_of_rows_and_columns() {
        let part = |rows, columns| WeightPart::new(matrix(70, 100), 100, rows, columns);
        check(&Weight::new(vec![part(3..70, 4..92), part(0..1, 12..100), part(5..38, 0..88)]));
    }

    #[test]
    fn gemv_and_gemm_give_the_same_bits() {
        let (rows, n, k) = (5, 33, 72);
        let mut buffers = Buffers::default();
        let x = BufferKind::Constant((0..rows * k).map(number).collect());
        let x = buffers.add("x", Element::Act, (rows * k) as u64, x).ptr();
        let part = WeightPart::new(matrix(n, k), k, 0..n, 0..k);
        let w = buffers.add_weight("w", Weight::new(vec![part])).ptr();
        let vector = |n| Weight::new(vec![WeightPart::new(matrix(1, n), n, 0..1, 0..n)]);
        let bias = buffers.add_weight("bias", Weight::column(&[vector(20), vector(13)])).ptr();
        let mut out = || buffers.add("out", Element::Act, (rows * n) as u64, BufferKind::Scratch).ptr();
        let (ours, theirs) = (out(), out());
        let (rows, n, k) = (rows as u32, n as u32, k as u32);
        let memory = Memory::new::<bf16>(buffers);
        let gemv = Gemv { bias, y: ours, ..Gemv::new(x, w, [rows, n, k]) };
        let product = Gemm { bias, ..Gemm::new(x, w, Output::Act(theirs), [rows, n, k]) };
        // The second time, each adds to what it gave the first time.
        for residuals in [[Ptr::NULL; 2], [ours, theirs]] {
            Gemv { residual: residuals[0], ..gemv }.reference::<bf16>(&memory);
            gemm::<bf16>(&Gemm { residual: residuals[1], ..product }, &memory);
            assert_eq!(memory.read_all::<bf16>(ours)[..], memory.read_all::<bf16>(theirs)[..]);
        }
    }
}
