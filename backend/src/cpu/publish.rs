//! Reference of `publish`.
use gpu_kernels::Publish;

use crate::device::{Activation, Memory, Reference};

impl Reference for Publish {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let count = self.count as usize;
        memory.write::<i32>(self.out, count).copy_from_slice(&memory.read::<i32>(self.tokens, count));
    }
}
