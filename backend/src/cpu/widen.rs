//! Reference of `widen`.
use gpu_kernels::Widen;

use super::packed::PackedMatrix;
use super::parallel::for_each;
use crate::device::{Activation, Memory, Reference};

impl Reference for Widen {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (rows, k) = (self.rows as usize, self.k as usize);
        let matrix = PackedMatrix::of(memory, self.codes, self.scales);
        let source = matrix.rows();
        let ids = (!self.ids.is_null()).then(|| {
            let (ids, sampled) = (memory.read::<i32>(self.ids, rows), memory.read_all::<i32>(self.sampled));
            ids.iter().map(|id| if *id >= 0 { *id } else { sampled[(-1 - id) as usize] } as usize).collect::<Vec<_>>()
        });
        let mut y = memory.write::<A>(self.y, rows * k);
        for_each(rows * k, y.chunks_mut(k).enumerate().collect(), |(row, y)| {
            let mut values = vec![0.0; k];
            source.unpack(ids.as_ref().map_or(row, |ids| ids[row]), &mut values);
            y.iter_mut().zip(values).for_each(|(y, value)| *y = A::from_f32(value));
        });
    }
}
