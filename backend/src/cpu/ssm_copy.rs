//! Reference of `ssm_copy`.
use gpu_kernels::SsmCopy;
use gpu_kernels::ssm::{CHUNK, WINDOW};

use crate::device::{Activation, Memory, Reference};

impl Reference for SsmCopy {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let mixer = self.mixer();
        let (heads, inner, shared) = (mixer.heads as usize, mixer.inner() as usize, mixer.shared() as usize);
        let (chunk, window) = (CHUNK as usize, WINDOW as usize * mixer.conv_dim() as usize);
        let copies = memory.read_all::<i32>(self.copies);
        for pair in copies[1..].chunks_exact(2).take(copies[0] as usize) {
            let pair = [pair[0] as usize, pair[1] as usize];
            copy(&mut memory.write_all::<f32>(self.state), inner * mixer.state_size as usize, pair);
            copy(&mut memory.write_all::<i32>(self.chunk), heads, pair);
            copy(&mut memory.write_all::<A>(self.ring_x), chunk * inner, pair);
            copy(&mut memory.write_all::<A>(self.ring_b), 2 * chunk * shared, pair);
            copy(&mut memory.write_all::<f32>(self.ring_dt), chunk * heads, pair);
            copy(&mut memory.write_all::<A>(self.window), window, pair);
        }
    }
}

/// Copies what a slot has, so many elements.
fn copy<T: Copy>(slots: &mut [T], elements: usize, [from, to]: [usize; 2]) {
    slots.copy_within(from * elements..(from + 1) * elements, to * elements);
}
