//! Reference of `relu2`.
use gpu_kernels::Relu2;

use crate::device::{Activation, Memory, Reference};

impl Reference for Relu2 {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let count = self.count as usize;
        if self.x.addr != self.y.addr {
            memory.write::<A>(self.y, count).copy_from_slice(&memory.read::<A>(self.x, count));
        }
        for y in memory.write::<A>(self.y, count).iter_mut() {
            *y = of(*y);
        }
    }
}

/// The square of what is positive.
pub(super) fn of<A: Activation>(x: A) -> A {
    let positive = x.to_f32().max(0.0);
    A::from_f32(positive * positive)
}
