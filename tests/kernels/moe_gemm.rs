//! Rows of `moe_gemm`: the product is that of `moe_gemv`.
use gpu_kernels::MoeGemm;
use gpu_kernels::activation::{PLAIN, RELU2};

use crate::data::Data;
use crate::moe_gemv::{Choice, wants};
use crate::moe_sort::sorted;
use crate::mutants::{BARRIER, Defect, EDGE, PRODUCT, STRIDE};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

#[derive(Clone, Copy, Debug)]
struct Shape {
    rows: usize,
    top_k: usize,
    experts: usize,
    n: usize,
    k: usize,
    activation: u32,
    row_per_choice: bool,
    /// Experts in front and behind that the weight does not hold.
    skipped: usize,
}

const fn shape(rows: usize, top_k: usize, experts: usize, n: usize, k: usize) -> Shape {
    Shape { rows, top_k, experts, n, k, activation: PLAIN, row_per_choice: false, skipped: 0 }
}

const SHAPES: [Shape; 41] = [
    shape(1, 1, 1, 16, 8),
    shape(4, 1, 1, 32, 8),
    shape(12, 1, 1, 32, 8),
    shape(20, 1, 1, 32, 8),
    shape(28, 1, 1, 32, 8),
    shape(36, 1, 1, 32, 8),
    shape(44, 1, 1, 32, 8),
    shape(52, 1, 1, 32, 8),
    shape(12, 1, 1, 16, 8),
    shape(20, 1, 1, 16, 8),
    shape(28, 1, 1, 16, 8),
    shape(36, 1, 1, 16, 8),
    shape(44, 1, 1, 16, 8),
    shape(52, 1, 1, 16, 8),
    shape(3, 2, 4, 48, 72),
    shape(9, 3, 5, 144, 136),
    shape(70, 1, 1, 128, 64),
    shape(150, 2, 3, 32, 200),
    // The fewest choices of a wide tile, which half of a stage does not hold.
    shape(129, 1, 1, 32, 72),
    shape(130, 1, 1, 176, 264),
    shape(257, 1, 1, 80, 72),
    shape(300, 2, 3, 208, 136),
    shape(520, 1, 2, 16, 24),
    shape(100, 1, 1, 16, 8),
    shape(20, 1, 1, 272, 264),
    shape(40, 1, 1, 272, 264),
    shape(70, 1, 1, 272, 264),
    shape(100, 1, 1, 272, 264),
    shape(140, 1, 1, 272, 264),
    shape(170, 1, 1, 272, 264),
    shape(200, 1, 1, 272, 264),
    shape(240, 1, 1, 272, 264),
    shape(30, 3, 8, 272, 328),
    Shape { row_per_choice: true, activation: RELU2, ..shape(200, 2, 2, 144, 328) },
    shape(20, 2, 2, 272, 328),
    Shape { activation: RELU2, ..shape(17, 2, 3, 64, 264) },
    Shape { row_per_choice: true, ..shape(13, 3, 4, 96, 72) },
    Shape { skipped: 1, ..shape(40, 2, 4, 32, 72) },
    Shape { skipped: 2, row_per_choice: true, ..shape(30, 3, 5, 16, 40) },
    Shape { row_per_choice: true, ..shape(66, 2, 3, 16, 136) },
    Shape { row_per_choice: true, activation: RELU2, ..shape(5, 2, 2, 160, 520) },
];

pub fn rows() -> Vec<Row<MoeGemm>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, shape)).collect()
}

fn row(seed: u64, shape: &Shape) -> Row<MoeGemm> {
    let Shape { rows, top_k, experts, n, k, activation, row_per_choice, skipped } = *shape;
    let held = skipped..experts - skipped;
    let mut random = Random::new(seed);
    let mut data = Data::default();
    let x_rows = if row_per_choice { rows * top_k } else { rows };
    let ids = (0..rows).flat_map(|_| random.permutation(experts)[..top_k].to_vec());
    let ids: Vec<i32> = ids.map(|id| id as i32).collect();
    let (order, tiles) = sorted(&ids, experts as u32);
    let kernel = MoeGemm {
        x: data.reals("x", random.reals(x_rows * k, 1.0)),
        w: data.weight("w", random.reals(held.len() * n * k, 1.0), k),
        order: data.integers("order", order),
        tiles: data.integers("tiles", tiles),
        y: data.undefined("y", rows * top_k * n),
        rows: rows as u32,
        top_k: top_k as u32,
        experts: experts as u32,
        first: held.start as u32,
        held: held.len() as u32,
        n: n as u32,
        k: k as u32,
        activation,
        row_per_choice: row_per_choice.into(),
    };
    Row { name: format!("{shape:?}"), kernel, data }
}

/// Half of a wide tile's places are never at its end, nor are the rows of a chunk that is whole: the warpgroups' entry has
/// comparisons that may well be off by one.
const TILES_EDGE: Defect = Defect { entries: "moe_gemm", ..EDGE };

impl Oracle for MoeGemm {
    const C: f64 = 16.0;
    const D: f64 = 4.0;
    const DEFECTS: &[Defect] = &[TILES_EDGE, STRIDE, BARRIER, PRODUCT];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        written(self, &data.f64s(self.w), data, precision)
    }
}

/// What the product with the weights `w` of the experts that are held gives.
pub fn written(gemm: &MoeGemm, w: &[f64], data: &Data, precision: Precision) -> Vec<Written> {
    let order = data.i32s(gemm.order);
    let mut choices = vec![Choice { row: 0, expert: 0 }; order.len()];
    for tile in data.i32s(gemm.tiles).chunks(4) {
        for choice in &order[tile[1] as usize..][..tile[2] as usize] {
            let row = if gemm.row_per_choice == 0 { *choice as u32 / gemm.top_k } else { *choice as u32 };
            choices[*choice as usize] = Choice { row: row as usize, expert: tile[0] as usize };
        }
    }
    let x = data.f64s(gemm.x);
    let sizes = (gemm.n as usize, gemm.k as usize);
    let held = |expert: usize| (gemm.first..gemm.first + gemm.held).contains(&(expert as u32));
    let kept: Vec<bool> = choices.iter().map(|choice| !held(choice.expert)).collect();
    choices
        .iter_mut()
        .for_each(|choice| choice.expert = choice.expert.saturating_sub(gemm.first as usize) % gemm.held as usize);
    let mut wants = wants(&choices, &x, w, sizes, gemm.activation, precision);
    for (wants, kept) in wants.chunks_mut(sizes.0).zip(kept) {
        if kept {
            wants.fill(Want::Kept);
        }
    }
    vec![Written::new(gemm.y, wants)]
}
