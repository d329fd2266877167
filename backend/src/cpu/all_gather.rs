//! Reference of `all_gather`: what one rank does when the others have come, or do not and it is told to give up.
use gpu_kernels::OneShotAllGather;

use super::meeting;
use crate::device::{Activation, Memory, Reference};

impl Reference for OneShotAllGather {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (rows, n) = (self.rows as usize, self.n as usize);
        let own: Vec<f32> = match self.x.is_null() {
            true => memory.read::<A>(self.x_act, rows * n).iter().map(|x| x.to_f32()).collect(),
            false => memory.read::<f32>(self.x, rows * n).to_vec(),
        };
        let Some(parts) = meeting::meet(&self.meeting, memory, &own, false) else { return };
        let row = |row: usize| parts.iter().flat_map(move |part| &part[row * n..][..n]).copied();
        let gathered: Vec<f32> = (0..rows).flat_map(row).collect();
        match self.y.is_null() {
            true => memory.write::<f32>(self.y_f32, gathered.len()).copy_from_slice(&gathered),
            false => {
                let values: Vec<A> = gathered.into_iter().map(A::from_f32).collect();
                memory.write::<A>(self.y, values.len()).copy_from_slice(&values);
            }
        }
    }
}
