//! Reference of `moe_gemv`.
use gpu_kernels::{MoeGemv, gemv};

use super::parallel::for_each;
use super::{relu2, sum};
use crate::device::{Activation, Memory, Reference};

impl Reference for MoeGemv {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (n, k, top_k) = (self.n as usize, self.k as usize, self.top_k as usize);
        let choices = self.rows as usize * top_k;
        let x_rows = if self.row_per_choice == 0 { self.rows as usize } else { choices };
        let x: Vec<f32> = memory.read::<A>(self.x, x_rows * k).iter().map(|x| x.to_f32()).collect();
        let ids = memory.read::<i32>(self.ids, choices);
        let w = memory.weight(self.w);
        let w = &*w;
        let mut y = memory.write::<A>(self.y, choices * n);
        let items = y.chunks_mut(n).zip(ids.iter()).enumerate().collect();
        for_each(choices * n * k / 8, items, |(choice, (y, id))| {
            let row = if self.row_per_choice == 0 { choice / top_k } else { choice };
            let x = &x[row * k..][..k];
            for (column, y) in y.iter_mut().enumerate() {
                let w = w.row(*id as usize * n + column);
                let value = A::from_f32(sum::sum(x.iter().zip(w).map(|(x, w)| x * w.to_f32())));
                *y = if self.activation == gemv::RELU2 { relu2::of(value) } else { value };
            }
        });
    }
}
