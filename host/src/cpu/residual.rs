//! The residual add that stands in front of a norm.
use gpu_kernels::{Act, Ptr};

use crate::device::{Activation, Memory};

/// `x = r(x + delta)`; nothing where `delta` is null.
pub fn add<A: Activation>(memory: &Memory, x: Ptr<Act>, delta: Ptr<Act>, count: usize) {
    if delta.is_null() {
        return;
    }
    let delta = memory.read::<A>(delta, count);
    for (x, delta) in memory.write::<A>(x, count).iter_mut().zip(delta.iter()) {
        *x = A::from_f32(x.to_f32() + delta.to_f32());
    }
}
