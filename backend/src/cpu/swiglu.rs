//! Reference of `swiglu`.
use gpu_kernels::Swiglu;

use super::parallel::for_each;
use crate::device::{Activation, Memory, Reference};

/// Operations that an exponential stands for.
const EXP_OPERATIONS: usize = 16;

impl Reference for Swiglu {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (rows, width) = (self.rows as usize, self.width as usize);
        let gate_up = memory.read::<A>(self.gate_up, rows * 2 * width);
        let mut y = memory.write::<A>(self.y, rows * width);
        let items = gate_up.chunks(2 * width).zip(y.chunks_mut(width)).collect();
        for_each(rows * width * EXP_OPERATIONS, items, |(gate_up, y): (&[A], &mut [A])| {
            let (gate, up) = gate_up.split_at(width);
            for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
                *y = gated(*gate, *up);
            }
        });
    }
}

/// SiLU of the gate times what stands beside it.
pub(super) fn gated<A: Activation>(gate: A, up: A) -> A {
    let gate = gate.to_f32();
    let silu = A::round(gate / (1.0 + (-gate).exp()));
    A::from_f32(silu * up.to_f32())
}
