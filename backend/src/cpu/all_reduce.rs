//! Reference of `all_reduce`: what one rank does when the others have come, or do not and it is told to give up.
use gpu_kernels::OneShotAllReduce;

use super::{meeting, product, residual};
use crate::device::{Activation, Memory, Reference};

impl Reference for OneShotAllReduce {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (count, n) = ((self.rows * self.n) as usize, self.n as usize);
        let own: Vec<f32> = match self.x.is_null() {
            true => memory.read::<A>(self.x_act, count).iter().map(|x| x.to_f32()).collect(),
            false => memory.read::<f32>(self.x, count).to_vec(),
        };
        let Some(parts) = meeting::meet(&self.meeting, memory, &own, self.sends_packets()) else { return };
        let mut sums = vec![0.0; count];
        for part in &parts {
            sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        if let Some(bias) = product::bias(memory, self.bias, self.n) {
            sums.chunks_mut(n).for_each(|row| row.iter_mut().zip(&bias).for_each(|(sum, bias)| *sum += bias));
        }
        store::<A>(self, memory, &sums);
    }
}

/// Writes the result.
fn store<A: Activation>(sum: &OneShotAllReduce, memory: &Memory, sums: &[f32]) {
    if sum.y.is_null() {
        return memory.write::<f32>(sum.sums, sums.len()).copy_from_slice(sums);
    }
    let values: Vec<A> = sums.iter().map(|sum| A::from_f32(*sum)).collect();
    if sum.residual.is_null() {
        memory.write::<A>(sum.y, values.len()).copy_from_slice(&values);
    } else {
        residual::add::<A>(memory, sum.residual, sum.y, &values);
    }
}
