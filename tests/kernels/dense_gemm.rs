//! Rows of `dense_gemm`: the product is that of `gemv`, and may be some columns of a wider result.
use gpu_kernels::{Act, DenseGemm, Gemv, Ptr, Role};

use crate::data::{Data, Values};
use crate::gemv::written;
use crate::mutants::{BARRIER, Defect, EDGE, LANES, PRODUCT, STRIDE, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

#[derive(Clone, Copy, Debug)]
struct Shape {
    rows: usize,
    n: usize,
    k: usize,
    logits: bool,
    bias: bool,
    residual: bool,
    in_place: bool,
    /// Columns of the result in front of the product's and behind.
    beside: [usize; 2],
    scale: f32,
}

const fn shape(rows: usize, n: usize, k: usize) -> Shape {
    let (logits, bias, residual, in_place) = (false, false, false, false);
    Shape { rows, n, k, logits, bias, residual, in_place, beside: [0; 2], scale: 1.0 }
}

const SHAPES: [Shape; 42] = [
    shape(1, 16, 8),
    shape(4, 32, 8),
    shape(12, 32, 8),
    shape(20, 32, 8),
    shape(28, 32, 8),
    shape(36, 32, 8),
    shape(44, 32, 8),
    shape(52, 32, 8),
    shape(12, 16, 8),
    shape(20, 16, 8),
    shape(36, 16, 8),
    shape(52, 16, 8),
    shape(70, 128, 64),
    // The fewest rows of a wide tile, which half of a stage does not hold.
    shape(129, 32, 72),
    shape(130, 176, 264),
    shape(257, 80, 72),
    shape(100, 272, 328),
    shape(200, 272, 264),
    // Widths that are no whole sixteens, and odd ones.
    shape(40, 8, 72),
    shape(150, 10, 40),
    shape(67, 141, 72),
    shape(140, 271, 40),
    shape(17, 1, 8),
    Shape { bias: true, ..shape(33, 144, 136) },
    Shape { bias: true, ..shape(140, 37, 72) },
    Shape { logits: true, ..shape(65, 48, 72) },
    Shape { logits: true, bias: true, ..shape(150, 133, 40) },
    Shape { logits: true, beside: [8, 3], ..shape(24, 22, 72) },
    Shape { residual: true, ..shape(70, 48, 72) },
    Shape { residual: true, in_place: true, ..shape(140, 144, 136) },
    Shape { residual: true, in_place: true, bias: true, ..shape(270, 48, 72) },
    Shape { residual: true, bias: true, ..shape(66, 23, 40) },
    Shape { residual: true, in_place: true, ..shape(150, 19, 72) },
    Shape { residual: true, scale: 1e3, ..shape(29, 16, 1032) },
    Shape { beside: [16, 32], ..shape(70, 48, 72) },
    Shape { beside: [32, 0], bias: true, ..shape(140, 144, 40) },
    Shape { beside: [0, 1], ..shape(67, 16, 40) },
    Shape { beside: [16, 7], residual: true, ..shape(133, 40, 72) },
    Shape { beside: [16, 16], residual: true, in_place: true, bias: true, ..shape(150, 144, 72) },
    // More tiles than follow each other, in whole groups and not.
    shape(9 * 256 + 100, 144, 8),
    shape(17 * 256 + 130, 24, 8),
    // Chunks enough for the blocks of a whole GPU.
    shape(66 * 256, 16, 8),
];

/// Token rows that end in each eight of a warp's, and widths that end in front of each and within each.
const ENDS: ([usize; 4], [usize; 8]) = ([4, 12, 20, 28], [8, 16, 24, 32, 1, 9, 17, 25]);

pub fn rows() -> Vec<Row<DenseGemm>> {
    let ends = ENDS.0.into_iter().flat_map(|rows| ENDS.1.map(|n| Shape { bias: true, ..shape(rows, n, 8) }));
    let ends = ends.flat_map(|end| [Shape { residual: true, ..end }, Shape { logits: true, ..end }]);
    SHAPES.into_iter().chain(ends).enumerate().map(|(seed, shape)| row(seed as u64, &shape)).collect()
}

fn row(seed: u64, shape: &Shape) -> Row<DenseGemm> {
    let Shape { rows, n, k, logits, bias, residual, in_place, beside, scale } = *shape;
    let mut random = Random::new(seed);
    let mut data = Data::default();
    let x = data.reals("x", random.reals(rows * k, scale));
    let w = data.weight("w", random.reals(n * k, scale), k);
    let mut kernel = DenseGemm::new(x, w, [rows as u32, n as u32, k as u32]);
    let stride = beside[0] + n + beside[1];
    kernel.stride = stride as u32;
    if bias {
        kernel.bias = data.weight("bias", random.reals(n, scale), 1);
    }
    let first = beside[0] as u64;
    if residual {
        kernel.residual = data.reals::<Act>("residual", random.reals(rows * stride, scale)).offset(first);
    }
    match (logits, in_place) {
        (true, _) => kernel.y_f32 = data.undefined::<f32>("y_f32", rows * stride).offset(first),
        (_, true) => kernel.y = kernel.residual,
        (_, false) => kernel.y = data.undefined::<Act>("y", rows * stride).offset(first),
    }
    Row { name: format!("{shape:?}"), kernel, data }
}

/// The rows of the warpgroups' entry have comparisons that may well be off by one: a whole chunk is never at an end.
const TILES_EDGE: Defect = Defect { entries: "dense_gemm", ..EDGE };

impl Oracle for DenseGemm {
    const C: f64 = 16.0;
    const D: f64 = 4.0;
    const DEFECTS: &[Defect] = &[TILES_EDGE, TERM, STRIDE, BARRIER, LANES, PRODUCT];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let DenseGemm { x, w, bias, residual, y, y_f32, rows, n, k, .. } = *self;
        // The product as if it stood alone.
        let mut alone = data.clone();
        if let Some((buffer, first)) = residual.target() {
            let Values::Reals(all) = &data.0[buffer as usize].values else { panic!("not a buffer of numbers") };
            let own = self.columns(all.len(), first).map(|at| all[at]).collect();
            alone.0[buffer as usize].values = Values::Reals(own);
        }
        let gemv = Gemv { bias, residual, y, y_f32, ..Gemv::new(x, w, [rows, n, k]) };
        let own = written(&gemv, &data.f64s(w), &alone, precision).remove(0).1;
        let wants = if y.is_null() { self.spread(y_f32, own, data) } else { self.spread(y, own, data) };
        vec![wants]
    }
}

/// The product's part of a wider result.
trait Part {
    /// Where the product's elements stand among `all`, the first of them at `first`.
    fn columns(&self, all: usize, first: u64) -> impl Iterator<Item = usize>;
    /// The wants of all that stands where the product goes.
    fn spread<R: Role>(&self, to: Ptr<R>, own: Vec<Want>, data: &Data) -> Written;
}

impl Part for DenseGemm {
    fn columns(&self, all: usize, first: u64) -> impl Iterator<Item = usize> {
        let (first, n, stride) = (first as usize, self.n as usize, self.stride as usize);
        (0..all).filter(move |at| (first..first + n).contains(&(at % stride)))
    }

    fn spread<R: Role>(&self, to: Ptr<R>, own: Vec<Want>, data: &Data) -> Written {
        let (buffer, first) = to.target().expect("pointer is not null");
        let all = data.0[buffer as usize].len();
        let mut wants = vec![Want::Kept; all];
        self.columns(all, first).zip(own).for_each(|(at, want)| wants[at] = want);
        Written(buffer, wants)
    }
}
