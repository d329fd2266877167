//! Reference of `all_reduce`: what one rank does when the others have come, or do not and it is told to give up.
use gpu_kernels::OneShotAllReduce;
use gpu_kernels::all_reduce::{BLOCKS, MOST_RANKS};

use super::{product, residual};
use crate::device::{Activation, Memory, Reference};

impl Reference for OneShotAllReduce {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (count, n) = ((self.rows * self.n) as usize, self.n as usize);
        let epoch = memory.read::<i32>(self.epochs, 1)[0].wrapping_add(1);
        let half = if epoch % 2 == 0 { 0 } else { u64::from(self.capacity) };
        let own: Vec<f32> = match self.x.is_null() {
            true => memory.read::<A>(self.x_act, count).iter().map(|x| x.to_f32()).collect(),
            false => memory.read::<f32>(self.x, count).to_vec(),
        };
        memory.write::<f32>(self.parts[self.rank as usize].offset(half), count).copy_from_slice(&own);
        for flags in &self.flags[..self.ranks as usize] {
            for row in memory.write::<i32>(*flags, BLOCKS as usize * MOST_RANKS).chunks_mut(MOST_RANKS) {
                row[self.rank as usize] = epoch;
            }
        }
        if let Some(late) = late(self, memory, epoch) {
            assert_ne!(memory.read::<i32>(self.abort, 1)[0], 0, "rank {late} does not come, and nobody gives up");
            memory.write::<i32>(self.fault, 1)[0] = late as i32 + 1;
            return;
        }
        let mut sums = vec![0.0; count];
        for parts in &self.parts[..self.ranks as usize] {
            let parts = memory.read::<f32>(parts.offset(half), count);
            sums.iter_mut().zip(parts.iter()).for_each(|(sum, part)| *sum += part);
        }
        if let Some(bias) = product::bias(memory, self.bias, self.n) {
            sums.chunks_mut(n).for_each(|row| row.iter_mut().zip(&bias).for_each(|(sum, bias)| *sum += bias));
        }
        store::<A>(self, memory, &sums);
        memory.write::<i32>(self.epochs, BLOCKS as usize).fill(epoch);
    }
}

/// A rank whose part of this epoch is not there.
fn late(sum: &OneShotAllReduce, memory: &Memory, epoch: i32) -> Option<usize> {
    let flags = memory.read::<i32>(sum.flags[sum.rank as usize], MOST_RANKS);
    (0..sum.ranks as usize).find(|rank| flags[*rank].wrapping_sub(epoch) < 0)
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
