//! Reference of `all_reduce`: what one rank does when the others have come, or do not and it is told to give up.
use gpu_kernels::OneShotAllReduce;

use super::{meeting, product, reduction};
use crate::device::{Activation, Memory, Reference};

impl Reference for OneShotAllReduce {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let count = (self.rows * self.n) as usize;
        let own: Option<Vec<f32>> = match (self.x.is_null(), self.x_act.is_null()) {
            (false, _) => Some(memory.read::<f32>(self.x, count).to_vec()),
            (_, false) => Some(reduction::activations::<A>(memory, self.x_act, count)),
            _ => None,
        };
        let words = (count, self.values_of_word());
        let Some(parts) = meeting::exchange(&self.meeting, memory, own.as_deref(), words) else { return };
        let mut sums = reduction::sum(&parts);
        if let Some(bias) = product::bias(memory, self.bias, self.n) {
            let rows = sums.chunks_mut(self.n as usize);
            rows.for_each(|row| row.iter_mut().zip(&bias).for_each(|(sum, bias)| *sum += bias));
        }
        reduction::store::<A>(memory, &sums, self.residual, self.y);
    }
}
