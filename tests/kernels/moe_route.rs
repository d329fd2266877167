//! Rows of `moe_route`.
use gpu_kernels::{Gemv, MoeRoute, Ptr, rms_norm};

use crate::approx::Approx;
use crate::data::Data;
use crate::gemv::{self, KEPT, Normed};
use crate::mutants::{BARRIER, Defect, EDGE, LANES, RANK, STRIDE, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

#[derive(Clone, Copy, Debug)]
struct Shape {
    rows: usize,
    hidden: usize,
    experts: usize,
    top_k: usize,
    /// Groups, and how many of them stay.
    groups: (usize, usize),
    normalize: bool,
    /// Experts that are equal to expert 0 of their kind: expert e is expert e mod `kinds`.
    kinds: usize,
}

const fn shape(rows: usize, hidden: usize, experts: usize, top_k: usize) -> Shape {
    Shape { rows, hidden, experts, top_k, groups: (1, 1), normalize: true, kinds: usize::MAX }
}

const SHAPES: [Shape; 93] = [
    shape(1, 8, 1, 1),
    shape(1, 8, 2, 2),
    shape(2, 264, 8, 2),
    shape(3, 40, 17, 6),
    shape(8, 1032, 33, 5),
    shape(9, 72, 16, 4),
    shape(17, 24, 40, 22),
    Shape { normalize: false, ..shape(5, 136, 128, 6) },
    shape(4, 264, 12, 3),
    shape(1, 2056, 9, 1),
    shape(2, 4360, 5, 2),
    shape(1, 16, 512, 22),
    Shape { kinds: 300, ..shape(3, 16, 1024, 32) },
    Shape { groups: (2, 1), ..shape(7, 72, 16, 4) },
    Shape { groups: (4, 2), ..shape(3, 136, 64, 9) },
    Shape { groups: (8, 3), normalize: false, ..shape(2, 24, 16, 3) },
    Shape { groups: (32, 31), ..shape(2, 40, 64, 32) },
    Shape { kinds: 3, ..shape(3, 72, 40, 7) },
    Shape { kinds: 33, ..shape(2, 72, 130, 12) },
    Shape { kinds: 5, groups: (4, 2), ..shape(2, 40, 40, 6) },
    Shape { kinds: 1, ..shape(2, 24, 80, 9) },
    Shape { kinds: 2, ..shape(2, 24, 80, 9) },
    Shape { kinds: 4, ..shape(2, 24, 80, 9) },
    Shape { kinds: 8, ..shape(2, 24, 80, 9) },
    Shape { kinds: 16, ..shape(2, 24, 80, 9) },
    Shape { kinds: 32, ..shape(2, 24, 160, 9) },
    Shape { kinds: 2, groups: (32, 5), ..shape(2, 24, 64, 9) },
    Shape { kinds: 4, groups: (32, 5), ..shape(2, 24, 64, 9) },
    Shape { kinds: 8, groups: (32, 5), ..shape(2, 24, 64, 9) },
    Shape { kinds: 16, groups: (32, 5), ..shape(2, 24, 64, 9) },
    Shape { kinds: 32, groups: (32, 5), ..shape(2, 24, 64, 9) },
    Shape { groups: (4, 1), ..shape(5, 40, 128, 6) },
    Shape { kinds: 34, groups: (2, 1), ..shape(5, 40, 136, 6) },
    shape(2, 16, 600, 32),
    shape(65, 264, 33, 5),
    shape(97, 40, 8, 2),
    Shape { groups: (4, 1), ..shape(64, 8, 128, 6) },
    Shape { kinds: 33, groups: (2, 1), ..shape(120, 8, 64, 6) },
    shape(66, 8, 1000, 22),
    shape(99, 776, 64, 6),
    Shape { normalize: false, ..shape(66, 8, 600, 22) },
    Shape { kinds: 34, groups: (4, 2), ..shape(80, 520, 136, 6) },
    Shape { kinds: 1, ..shape(65, 24, 80, 9) },
    Shape { kinds: 2, ..shape(65, 24, 80, 9) },
    Shape { kinds: 4, ..shape(65, 24, 80, 9) },
    Shape { kinds: 8, ..shape(65, 24, 80, 9) },
    Shape { kinds: 16, ..shape(65, 24, 80, 9) },
    Shape { kinds: 32, ..shape(65, 24, 160, 9) },
    Shape { kinds: 2, groups: (32, 5), ..shape(65, 24, 64, 9) },
    Shape { kinds: 4, groups: (32, 5), ..shape(65, 24, 64, 9) },
    Shape { kinds: 8, groups: (32, 5), ..shape(65, 24, 64, 9) },
    Shape { kinds: 16, groups: (32, 5), ..shape(65, 24, 64, 9) },
    Shape { kinds: 32, groups: (32, 5), ..shape(65, 24, 64, 9) },
    // From 9 rows on another entry, from 65 on a third.
    shape(33, 1032, 33, 5),
    shape(30, 2056, 17, 6),
    shape(9, 16, 512, 22),
    shape(9, 16, 600, 32),
    Shape { groups: (4, 2), ..shape(12, 136, 64, 9) },
    Shape { groups: (8, 3), normalize: false, ..shape(10, 24, 16, 3) },
    Shape { groups: (32, 31), ..shape(9, 40, 64, 32) },
    Shape { kinds: 3, ..shape(11, 72, 40, 7) },
    Shape { kinds: 33, ..shape(10, 72, 130, 12) },
    Shape { kinds: 5, groups: (4, 2), ..shape(10, 40, 40, 6) },
    Shape { kinds: 1, ..shape(10, 24, 80, 9) },
    Shape { kinds: 2, ..shape(10, 24, 80, 9) },
    Shape { kinds: 4, ..shape(10, 24, 80, 9) },
    Shape { kinds: 8, ..shape(10, 24, 80, 9) },
    Shape { kinds: 16, ..shape(10, 24, 80, 9) },
    Shape { kinds: 32, ..shape(10, 24, 160, 9) },
    Shape { kinds: 2, groups: (32, 5), ..shape(9, 24, 64, 9) },
    Shape { kinds: 4, groups: (32, 5), ..shape(9, 24, 64, 9) },
    Shape { kinds: 8, groups: (32, 5), ..shape(9, 24, 64, 9) },
    Shape { kinds: 16, groups: (32, 5), ..shape(9, 24, 64, 9) },
    Shape { kinds: 32, groups: (32, 5), ..shape(9, 24, 64, 9) },
    Shape { groups: (4, 1), ..shape(13, 40, 128, 6) },
    Shape { kinds: 34, groups: (2, 1), ..shape(13, 40, 136, 6) },
    shape(65, 1544, 17, 6),
    Shape { groups: (4, 2), ..shape(66, 136, 64, 9) },
    Shape { groups: (8, 3), ..shape(70, 264, 64, 9) },
    shape(10, 8, 1000, 22),
    Shape { groups: (4, 2), ..shape(20, 40, 256, 8) },
    Shape { groups: (4, 2), ..shape(72, 40, 256, 8) },
    // Groups that end where all lanes have had an expert, and groups whose best two are one lane's.
    Shape { groups: (2, 1), ..shape(8, 8, 64, 6) },
    Shape { groups: (2, 1), ..shape(8, 16, 64, 6) },
    Shape { groups: (2, 1), ..shape(8, 24, 64, 6) },
    Shape { groups: (2, 1), ..shape(8, 32, 64, 6) },
    Shape { groups: (2, 1), ..shape(8, 40, 64, 6) },
    Shape { groups: (4, 2), ..shape(64, 8, 256, 8) },
    Shape { groups: (4, 1), ..shape(60, 24, 512, 8) },
    Shape { kinds: 96, groups: (2, 1), ..shape(40, 24, 256, 8) },
    shape(65, 264, 48, 22),
    shape(65, 40, 60, 32),
    shape(120, 776, 33, 5),
];

/// Of one row, which the router normalises, and its roundings: rows of which threads have no piece, one, or more than they keep.
const NORMED: [(Shape, u32); 9] = [
    (shape(1, 2688, 128, 6), rms_norm::ONCE),
    (shape(1, 8, 2, 2), rms_norm::ONCE),
    (shape(1, 264, 17, 6), rms_norm::TWICE),
    (shape(1, 4360, 5, 2), rms_norm::ONCE),
    (shape(1, 8192, 5, 2), rms_norm::ONCE),
    (shape(1, 8456, 6, 2), rms_norm::TWICE),
    (shape(1, 10_400, 5, 2), rms_norm::TWICE),
    (Shape { groups: (4, 2), ..shape(1, 136, 512, 22) }, rms_norm::ONCE),
    (Shape { kinds: 300, ..shape(1, 24, 1024, 32) }, rms_norm::ONCE),
];

pub fn rows() -> Vec<Row<MoeRoute>> {
    let plain = SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, shape));
    // What chooses is compiled anew.
    let few = SHAPES.iter().filter(|shape| shape.rows <= 8);
    let few = few.flat_map(|shape| vec![(Shape { rows: 1, ..*shape }, rms_norm::ONCE); shape.rows]);
    let normed = NORMED.into_iter().chain(few).enumerate();
    plain.chain(normed.map(|(seed, normed)| normed_row(seed as u64, &normed))).collect()
}

fn normed_row(seed: u64, (shape, roundings): &(Shape, u32)) -> Row<MoeRoute> {
    let Row { name, kernel, mut data } = row(seed, shape);
    let norm_weight = data.weight("norm_weight", Random::new(seed).reals(shape.hidden, 1.5), shape.hidden);
    let normed = data.undefined("normed", shape.hidden);
    let kernel = MoeRoute { norm_weight, normed, eps: 1e-5, roundings: *roundings, ..kernel };
    Row { name: format!("{name}, normalised"), kernel, data }
}

fn row(seed: u64, shape: &Shape) -> Row<MoeRoute> {
    let Shape { rows, hidden, experts, top_k, groups, normalize, kinds } = *shape;
    let mut random = Random::new(seed);
    let mut data = Data::default();
    let mut x = random.reals(rows * hidden, 1.0);
    // Of the longest rows, what no thread of a norm keeps decides it.
    x.iter_mut().skip(if hidden > KEPT { KEPT } else { rows * hidden }).for_each(|x| *x *= 64.0);
    let x = data.reals("x", x);
    // Logits of a few units, whatever the width.
    let kind = random.reals_in_full(experts.min(kinds) * hidden, 2.0 / (hidden as f32).sqrt());
    let weight: Vec<f32> = (0..experts).flat_map(|e| kind[e % kinds * hidden..][..hidden].to_vec()).collect();
    let bias = random.reals(experts.min(kinds), 0.5);
    let bias = (0..experts).map(|e| bias[e % kinds]).collect();
    let kernel = MoeRoute {
        x,
        norm_weight: Ptr::NULL,
        normed: Ptr::NULL,
        w: data.reals("w", weight),
        bias: data.reals("bias", bias),
        logits: data.undefined("logits", rows * experts),
        counters: data.integers("counters", vec![0; rows.div_ceil(8)]),
        ids: data.undefined("ids", rows * top_k),
        weights: data.undefined("weights", rows * top_k),
        rows: rows as u32,
        hidden: hidden as u32,
        experts: experts as u32,
        top_k: top_k as u32,
        groups: groups.0 as u32,
        top_groups: groups.1 as u32,
        normalize: normalize.into(),
        scale: 2.5,
        eps: 0.0,
        roundings: rms_norm::ONCE,
    };
    Row { name: format!("{shape:?}"), kernel, data }
}

/// What one row of `x` gives.
struct Routed {
    logits: Vec<Approx>,
    ids: Vec<usize>,
    weights: Vec<Approx>,
}

impl Oracle for MoeRoute {
    const C: f64 = 16.0;
    const D: f64 = 4.0;
    const DEFECTS: &[Defect] = &[EDGE, STRIDE, LANES, RANK, TERM, Defect { entries: "norm", ..BARRIER }];

    /// What lanes exchange the other entries, and products behind a norm, exchange likewise; of one token few rows notice a lane that is
    /// missing.
    fn spares(entry: &str, defect: &Defect) -> bool {
        entry == "moe_route_rms_norm" && defect.name == LANES.name
    }

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let (x, w, bias) = (data.f64s(self.x), data.f64s(self.w), data.f64s(self.bias));
        let norm = Gemv::new(self.x, Ptr::NULL, [self.rows, 0, self.hidden]);
        let norm = Gemv { norm_weight: self.norm_weight, eps: self.eps, roundings: self.roundings, ..norm };
        let x: Vec<Vec<Approx>> = x.chunks(self.hidden as usize).map(|x| norm.normed(x, data, precision)).collect();
        let rows: Vec<Routed> = x.iter().map(|x| routed(self, x, &w, &bias)).collect();
        let ids = rows.iter().flat_map(|row| row.ids.iter().map(|id| Want::exact(*id as f64)));
        let mut written = vec![
            Written::new(self.logits, rows.iter().flat_map(|row| row.logits.iter().map(Approx::want)).collect()),
            Written::new(self.counters, vec![Want::exact(0.0); data.i32s(self.counters).len()]),
            Written::new(self.ids, ids.collect()),
            Written::new(self.weights, rows.iter().flat_map(|row| row.weights.iter().map(Approx::want)).collect()),
        ];
        if !self.normed.is_null() {
            written.push(Written::new(self.normed, x.iter().flatten().map(Approx::want).collect()));
        }
        written
    }
}

fn routed(route: &MoeRoute, x: &[Approx], w: &[f64], bias: &[f64]) -> Routed {
    let logits: Vec<Approx> = w.chunks(x.len()).map(|w| gemv::dot(x, w)).collect();
    let scores: Vec<Approx> = logits.iter().map(|&logit| sigmoid(logit)).collect();
    let mut choice: Vec<f64> = scores.iter().zip(bias).map(|(score, bias)| score.value + bias).collect();
    let size = choice.len() / route.groups as usize;
    let group_scores: Vec<f64> =
        choice.chunks(size).map(|group| best(group, 2).iter().map(|i| group[*i]).sum()).collect();
    let kept = best(&group_scores, route.top_groups as usize);
    for (group, scores) in choice.chunks_mut(size).enumerate() {
        if !kept.contains(&group) {
            scores.fill(f64::NEG_INFINITY);
        }
    }
    let ids = best(&choice, route.top_k as usize);
    let total = ids.iter().fold(Approx::exact(1e-20), |sum, id| sum.plus_term(scores[*id]));
    let total = if route.normalize == 0 { Approx::exact(1.0) } else { total };
    let scale = f64::from(route.scale);
    let weight = |id: &usize| {
        let share = scores[*id].times(1.0 / total.value);
        // The total's errors, as a share of it.
        let off = total.times(share.value / total.value);
        Approx { value: 0.0, ..off }.plus_term(share).times(scale).with_error(scale * 4.0 * share.value)
    };
    let weights = ids.iter().map(weight).collect();
    Routed { logits, ids, weights }
}

fn sigmoid(logit: Approx) -> Approx {
    let value = 1.0 / (1.0 + (-logit.value).exp());
    // The exponential is within 4 ulp; the sum and the quotient add one each.
    Approx { value, ..logit.times(value * (1.0 - value)).with_error(6.0 * value) }
}

/// Where the largest values stand, the largest first; of equal ones the first.
fn best(values: &[f64], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    order.truncate(count);
    order
}
