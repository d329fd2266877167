//! Reference of `quantize_rows`.
use gpu_kernels::QuantizeRows;
use gpu_kernels::quantize_rows::{LEAST, MOST};

use super::cached::Cached;
use crate::device::{Activation, Memory, Reference};

impl Reference for QuantizeRows {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (rows, k) = (self.rows as usize, self.k as usize);
        let x = memory.read::<A>(self.x, rows * k);
        let mut y = memory.write::<u8>(self.y, rows * k);
        let mut scales = memory.write::<f32>(self.scales, rows);
        for ((x, y), scale) in x.chunks(k).zip(y.chunks_mut(k)).zip(scales.iter_mut()) {
            let magnitudes = x.iter().map(|x| x.to_f32().abs()).filter(|magnitude| !magnitude.is_nan());
            let most = magnitudes.fold(0.0, f32::max);
            let inverse = if most < LEAST { 1.0 } else { MOST / most };
            *scale = if most < LEAST { 1.0 } else { most / MOST };
            y.iter_mut().zip(x).for_each(|(code, x)| *code = u8::of(x.to_f32() * inverse, 1.0));
        }
    }
}
