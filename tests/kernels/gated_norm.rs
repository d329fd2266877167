//! Rows of `gated_norm`.
use gpu_kernels::GatedNorm;

use crate::approx::Approx;
use crate::data::Data;
use crate::mutants::{Defect, EDGE, LANES, STRIDE, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Rows, groups, width of a group, elements between rows of z beyond the width, scale of y and z, whether out is y.
const SHAPES: [(usize, usize, usize, usize, f32, bool); 15] = [
    (1, 1, 8, 0, 1.0, false),
    (3, 2, 24, 16, 1.0, true),
    (2, 8, 40, 8, 4.0, false),
    (5, 4, 128, 264, 1.0, true),
    (1, 8, 1280, 2176, 1.0, false),
    (2, 8, 1024, 0, 0.1, true),
    (1, 1, 4104, 8, 1.0, false),
    (2, 1, 8240, 8, 2.0, true),
    (1, 2, 5000, 0, 1.0, false),
    (33, 2, 72, 24, 1.0, false),
    (2, 3, 264, 48, 30.0, false),
    (1, 4, 512, 8, 1e-3, true),
    (2, 2, 136, 0, 1e-12, false),
    (1, 1, 4096, 0, 1.0, false),
    (2, 1, 3080, 8, 1.0, true),
];

pub fn rows() -> Vec<Row<GatedNorm>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape)).collect()
}

fn row(seed: u64, shape: (usize, usize, usize, usize, f32, bool)) -> Row<GatedNorm> {
    let (rows, groups, group, beyond, scale, in_place) = shape;
    let (mut random, mut data) = (Random::new(seed), Data::default());
    let (width, z_stride) = (groups * group, groups * group + beyond);
    let mut y = random.reals(rows * width, scale);
    // Of the longest groups, what no lane keeps in registers decides the norm.
    y.iter_mut().enumerate().filter(|(i, _)| i % group >= 1280).for_each(|(_, y)| *y *= 64.0);
    let y = data.reals("y", y);
    let kernel = GatedNorm {
        y,
        z: data.reals("z", random.reals(rows * z_stride, scale)),
        weight: data.weight("weight", random.reals(width, 1.0), width),
        out: if in_place { y } else { data.undefined("out", rows * width) },
        rows: rows as u32,
        width: width as u32,
        groups: groups as u32,
        z_stride: z_stride as u32,
        eps: 1e-5,
    };
    Row { name: format!("{shape:?}"), kernel, data }
}

impl Oracle for GatedNorm {
    const C: f64 = 16.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[EDGE, TERM, STRIDE, LANES];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let (width, group) = (self.width as usize, (self.width / self.groups) as usize);
        let (y, z, weight) = (data.f64s(self.y), data.f64s(self.z), data.f64s(self.weight));
        let rows = y.chunks(width).zip(z.chunks(self.z_stride as usize));
        let groups = rows.flat_map(|(y, z)| y.chunks(group).zip(z.chunks(group)).zip(weight.chunks(group)));
        let out = groups.flat_map(|((y, z), weight)| normed((y, z), weight, f64::from(self.eps)));
        let want = |out: Approx| Want::near(precision.round(out.value), out.error);
        vec![Written::new(self.out, out.map(want).collect())]
    }
}

/// The outputs of a group, before they are rounded.
pub fn normed((y, z): (&[f64], &[f64]), weight: &[f64], eps: f64) -> Vec<Approx> {
    let gated: Vec<Approx> = y.iter().zip(z).map(|(y, z)| Approx::exact(*z).silu() * Approx::exact(*y)).collect();
    let count = gated.len() as f64;
    let mean = gated.iter().map(|g| g.value * g.value).sum::<f64>() / count + eps;
    // The squares' errors, as a share of their mean; the square root halves it.
    let share = gated.iter().map(|g| g.value.abs() * g.error).sum::<f64>() / count / mean;
    let root = mean.sqrt();
    let want = |(g, weight): (&Approx, &f64)| {
        let value = weight * g.value / root;
        // The root and its reciprocal, two products.
        let error = weight.abs() * g.error / root + value.abs() * (share + 4.0);
        Approx::near(value, error)
    };
    gated.iter().zip(weight).map(want).collect()
}
