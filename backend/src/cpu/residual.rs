//! The residual add behind a product.
use gpu_kernels::{Act, Ptr};

use crate::device::{Activation, Memory};

/// `y = r(residual + values)`; `residual` may be `y`.
pub fn add<A: Activation>(memory: &Memory, residual: Ptr<Act>, y: Ptr<Act>, values: &[A]) {
    if residual.target() != y.target() {
        memory.write::<A>(y, values.len()).copy_from_slice(&memory.read::<A>(residual, values.len()));
    }
    for (y, value) in memory.write::<A>(y, values.len()).iter_mut().zip(values) {
        *y = A::from_f32(y.to_f32() + value.to_f32());
    }
}
