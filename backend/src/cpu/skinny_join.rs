//! Reference of `skinny_join`.
use gpu_kernels::{Gemv, Ptr, SkinnyJoin};

use super::{gemv, meeting, product};
use crate::device::{Activation, Memory, Reference};

impl Reference for SkinnyJoin {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let SkinnyJoin { bias, residual, y, y_f32, rows, n, activation, .. } = *self;
        let bias = product::bias(memory, bias, n).unwrap_or_else(|| vec![0.0; n as usize]);
        let partial = memory.read::<f32>(self.partial, self.partials());
        let sum = |at: u32| {
            let part = |split| partial[self.partial_index(split, at % n, at / n)];
            (1..self.splits).fold(part(0), |sum, split| sum + part(split)) + bias[(at % n) as usize]
        };
        let sums: Vec<f32> = (0..rows * n).map(sum).collect();
        if self.outbox.sends() {
            return meeting::send_ahead(&self.outbox, memory, &meeting::words(&sums, 2));
        }
        if y.is_null() {
            return memory.write::<f32>(y_f32, sums.len()).copy_from_slice(&sums);
        }
        let around = Gemv { residual, y, activation, ..Gemv::new(Ptr::NULL, Ptr::NULL, [rows, n, 8]) };
        gemv::finish(&around, sums.into_iter().map(A::from_f32).collect(), memory);
    }
}
