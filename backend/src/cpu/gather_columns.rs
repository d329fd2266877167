//! Reference of `gather_columns`.
use gpu_kernels::GatherColumns;

use crate::device::{Activation, Memory, Reference};

impl Reference for GatherColumns {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (rows, k) = (self.rows as usize, self.k as usize);
        let x = memory.read::<A>(self.x, rows * k);
        let order = (!self.order.is_null()).then(|| memory.read::<i32>(self.order, k));
        let factors = (!self.factors.is_null()).then(|| memory.read::<f32>(self.factors, k));
        let mut y = memory.write::<A>(self.y, rows * k);
        for (y, x) in y.chunks_mut(k).zip(x.chunks(k)) {
            for (column, y) in y.iter_mut().enumerate() {
                let from = order.as_ref().map_or(column, |order| order[column] as usize);
                let factor = factors.as_ref().map_or(1.0, |factors| factors[column]);
                *y = A::from_f32(x[from].to_f32() * factor);
            }
        }
    }
}
