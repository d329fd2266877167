//! Reference of `gemv`: the product that GEMMs take too, between the norm and what follows.
use gpu_kernels::{Gemv, activation};

use super::product::Matrix;
use super::{gated_norm, layer_norm_1p, meeting, product, relu2, residual, rms_norm, swiglu};
use crate::device::{Activation, Memory, Reference};

impl Reference for Gemv {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let w = Matrix::<A>::of(memory, self.w, [self.n as usize, self.k as usize]);
        multiply(self, &w, memory);
    }
}

/// The product with `w`, between the norm and what follows.
pub fn multiply<A: Activation>(gemv: &Gemv, w: &Matrix<A>, memory: &Memory) {
    let x = normed::<A>(gemv, memory);
    let elements = (gemv.rows * gemv.n) as usize;
    if gemv.y.is_null() {
        let mut sums = vec![0.0f32; elements];
        product::product_of(&x, gemv, w, memory, &mut sums);
        return unrounded::<A>(gemv, sums, memory);
    }
    let mut sums = vec![A::default(); elements];
    product::product_of(&x, gemv, w, memory, &mut sums);
    finish(gemv, sums, memory);
}

/// What follows sums that are not rounded.
fn unrounded<A: Activation>(gemv: &Gemv, mut sums: Vec<f32>, memory: &Memory) {
    if !gemv.residual.is_null() {
        let residual = memory.read::<A>(gemv.residual, sums.len());
        sums.iter_mut().zip(residual.iter()).for_each(|(sum, addend)| *sum += addend.to_f32());
    }
    if gemv.outbox.sends() {
        return meeting::send_ahead(&gemv.outbox, memory, &meeting::words(&sums, 1));
    }
    memory.write::<f32>(gemv.y_f32, sums.len()).copy_from_slice(&sums);
}

/// What follows the rounded sums.
pub fn finish<A: Activation>(gemv: &Gemv, sums: Vec<A>, memory: &Memory) {
    let activated = activated(gemv, sums);
    if gemv.residual.is_null() {
        memory.write::<A>(gemv.y, activated.len()).copy_from_slice(&activated);
    } else {
        residual::add(memory, gemv.residual, gemv.y, &activated);
    }
}

fn normed<A: Activation>(gemv: &Gemv, memory: &Memory) -> Vec<A> {
    let mut x = memory.read::<A>(gemv.x, (gemv.rows * gemv.k) as usize).to_vec();
    if gemv.norm_weight.is_null() {
        return x;
    }
    let (row, weight) = (x.clone(), memory.weight(gemv.norm_weight));
    if !gemv.gate.is_null() {
        let (gate, group) = (memory.read::<A>(gemv.gate, gemv.k as usize), (gemv.k / gemv.norm_groups) as usize);
        gated_norm::normalise([&row, &gate], weight.row(0), (group, gemv.eps), &mut x);
    } else if gemv.norm_bias.is_null() {
        rms_norm::normalise(&row, weight.row(0), (gemv.eps, gemv.roundings), &mut x);
    } else {
        layer_norm_1p::normalise(&row, weight.row(0), memory.weight(gemv.norm_bias).row(0), gemv.eps, &mut x);
    }
    x
}

fn activated<A: Activation>(gemv: &Gemv, sums: Vec<A>) -> Vec<A> {
    match gemv.activation {
        activation::RELU2 => sums.into_iter().map(relu2::of).collect(),
        activation::SWIGLU => {
            let rows = sums.chunks(gemv.n as usize).map(|row| row.split_at(gemv.n as usize / 2));
            rows.flat_map(|(gate, up)| gate.iter().zip(up).map(|(gate, up)| swiglu::gated(*gate, *up))).collect()
        }
        _ => sums,
    }
}
