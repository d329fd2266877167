//! Reference of `nvfp4_rows`.
use gpu_kernels::{Format, Nvfp4Rows};

use crate::device::{Activation, Memory, Reference, nvfp4_apart, nvfp4_rows};

impl Reference for Nvfp4Rows {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (rows, k) = (self.rows as usize, self.k as usize);
        let [codes, scales] = nvfp4_apart(k);
        let codes = memory.read::<u8>(self.codes, rows * codes);
        let scales = memory.read::<u8>(self.scales, rows * scales);
        let mut y = memory.write::<u8>(self.y, rows * Format::Nvfp4.row_bytes(u64::from(self.k)) as usize);
        nvfp4_rows(k, &[&*codes, &*scales].concat(), &mut y);
    }
}
