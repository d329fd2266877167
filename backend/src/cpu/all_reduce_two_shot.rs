//! Reference of `all_reduce_two_shot`: the share of one rank when the others have come, or do not and it is told to give up.
use gpu_kernels::TwoShotAllReduce;

use super::{meeting, product, reduction};
use crate::device::{Activation, Memory, Reference};

impl Reference for TwoShotAllReduce {
    fn reference<A: Activation>(&self, memory: &Memory) {
        if !meeting::meet(&self.meeting, memory) {
            return;
        }
        let (count, share) = ((self.rows * self.n) as usize, 8 * self.share() as usize);
        let first = count.min(share * self.meeting.rank as usize);
        let end = count.min(first + share);
        if first < end {
            self.sum::<A>(memory, first, end);
        }
        meeting::meet(&self.meeting, memory);
    }
}

/// Sums a range of the elements.
trait Share {
    fn sum<A: Activation>(&self, memory: &Memory, first: usize, end: usize);
}

impl Share for TwoShotAllReduce {
    fn sum<A: Activation>(&self, memory: &Memory, first: usize, end: usize) {
        let (offset, ranks) = (first as u64, self.meeting.ranks as usize);
        let parts = self.x[..ranks].iter().map(|x| reduction::activations::<A>(memory, x.offset(offset), end - first));
        let mut sums = reduction::sum(&parts.collect::<Vec<_>>());
        if let Some(bias) = product::bias(memory, self.bias, self.n) {
            sums.iter_mut().enumerate().for_each(|(i, sum)| *sum += bias[(first + i) % bias.len()]);
        }
        let residual = if self.residual.is_null() { self.residual } else { self.residual.offset(offset) };
        // This rank's own last, for the residual may stand there.
        let others = (0..ranks).filter(|rank| *rank != self.meeting.rank as usize);
        for rank in others.chain([self.meeting.rank as usize]) {
            reduction::store::<A>(memory, &sums, residual, self.y[rank].offset(offset));
        }
    }
}
