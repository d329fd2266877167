//! Reference of `all_gather`: what one rank does when the others have come, or do not and it is told to give up.
use gpu_kernels::{OneShotAllGather, Ptr, Role};

use super::meeting;
use crate::device::{Activation, Memory, Reference, Stored};

impl Reference for OneShotAllGather {
    fn reference<A: Activation>(&self, memory: &Memory) {
        if !meeting::meet(&self.meeting, memory) {
            return;
        }
        match self.x.is_null() {
            true => send::<A, _>(self, memory, self.x_act, &self.y),
            false => send::<f32, _>(self, memory, self.x, &self.y_f32),
        }
        meeting::meet(&self.meeting, memory);
    }
}

/// Writes this rank's columns into the rows of all.
fn send<T: Stored, R: Role>(gather: &OneShotAllGather, memory: &Memory, x: Ptr<R>, y: &[Ptr<R>]) {
    let (rows, n, ranks) = (gather.rows as usize, gather.n as usize, gather.meeting.ranks as usize);
    let own = memory.read::<T>(x, rows * n).to_vec();
    for y in &y[..ranks] {
        let mut all = memory.write::<T>(*y, rows * ranks * n);
        for (row, own) in all.chunks_mut(ranks * n).zip(own.chunks(n)) {
            row[gather.meeting.rank as usize * n..][..n].copy_from_slice(own);
        }
    }
}
