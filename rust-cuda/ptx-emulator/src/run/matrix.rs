//! `ldmatrix` and `mma.sync`.

use super::{access::Checked, warp::Warp};
use crate::fault::{FaultKind, Trouble};
use crate::float::{Canonical, F16};
use crate::lanes::{FULL, LANES};
use crate::memory::shared::Shared;
use crate::program::{LoadMatrix, Mma};
use crate::types::Type;
use pulp::Arch;

impl Warp {
    pub fn whole_warp(&self, mask: u32) -> Checked {
        if mask == FULL {
            return Ok(());
        }
        let message = format!("this instruction needs all 32 lanes; lanes {:#010x} are not here", !mask);
        Err(Trouble::new(FaultKind::DivergentCollective, mask.trailing_zeros() as usize, None, message))
    }

    /// Lane 8·m + r holds the address of row r of matrix m; each lane gets two neighbours of row lane / 4.
    pub fn load_matrix(&mut self, shared: &mut Shared, matrix: &LoadMatrix, mask: u32) -> Checked {
        self.whole_warp(mask)?;
        let addresses = self.addresses(&matrix.address);
        let rows = 8 * matrix.d.len();
        Self::check_alignment(&addresses, 16, FULL >> (LANES - rows))?;
        self.clocks.used = true;
        for (lane, &address) in addresses.iter().enumerate().take(rows) {
            self.check_shared(shared, lane, address, 16)?;
            // The row is read by four (transposed: eight) lanes; it is stamped for the lane that names it, as no
            // other lane of the warp can be told apart from it without a barrier anyway.
            let thread = self.first_thread() + lane as u32;
            shared
                .read(&self.clocks, thread, address as usize, 16, false)
                .map_err(|refusal| self.refused(refusal, lane, address))?;
        }
        for (m, &d) in matrix.d.iter().enumerate() {
            let row = |r: usize| addresses[8 * m + r] as usize;
            let half = |r: usize, c: usize| shared.load(row(r) + 2 * c, 2) as u32;
            let out = &mut self.regs.r32[d as usize];
            for (lane, value) in out.iter_mut().enumerate() {
                let (r, c) = (lane / 4, 2 * (lane % 4));
                *value = match matrix.transposed {
                    false => shared.load(row(r) + 2 * c, 4) as u32,
                    true => half(c, r) | half(c + 1, r) << 16,
                };
            }
        }
        self.clocks.warp_sync();
        Ok(())
    }

    /// D = A·B + C with A 16×k by rows, B k×8 by columns; products and sums in f64, rounded to f32 once.
    pub fn mma(&mut self, mma: &Mma, mask: u32) -> Checked {
        self.whole_warp(mask)?;
        let expand = |bits: u32| match mma.half {
            Type::Bf16 => [bits << 16, bits & 0xffff_0000].map(|b| f64::from(f32::from_bits(b))),
            _ => [bits as u16, (bits >> 16) as u16].map(|b| f64::from(F16(b).to_f32())),
        };
        // a[row][k] and b[k][column]; register i of A holds rows lane/4 + 8·(i%2), columns 2·(lane%4) + 8·(i/2).
        let (mut a, mut b, mut d) = ([[0f64; 16]; 16], [[0f64; 8]; 16], [[0f64; 8]; 16]);
        for lane in 0..LANES {
            let (group, pair) = (lane / 4, 2 * (lane % 4));
            for (i, &slot) in mma.a.iter().enumerate() {
                let halves = expand(self.regs.r32[slot as usize][lane]);
                a[group + 8 * (i % 2)][pair + 8 * (i / 2)] = halves[0];
                a[group + 8 * (i % 2)][pair + 8 * (i / 2) + 1] = halves[1];
            }
            for (i, &slot) in mma.b.iter().enumerate() {
                let halves = expand(self.regs.r32[slot as usize][lane]);
                b[pair + 8 * i][group] = halves[0];
                b[pair + 8 * i + 1][group] = halves[1];
            }
            for (i, &slot) in mma.c.iter().enumerate() {
                let value = f32::from_bits(self.regs.r32[slot as usize][lane]);
                d[group + 8 * (i / 2)][pair + i % 2] = f64::from(value);
            }
        }
        multiply_add(&a, &b[..8 * mma.b.len()], &mut d);
        for (i, &slot) in mma.d.iter().enumerate() {
            let row = &mut self.regs.r32[slot as usize];
            for (lane, value) in row.iter_mut().enumerate() {
                let result = d[lane / 4 + 8 * (i / 2)][2 * (lane % 4) + i % 2] as f32;
                *value = result.canonical().to_bits();
            }
        }
        self.clocks.warp_sync();
        Ok(())
    }
}

/// `d += a·b`
pub fn multiply_add(a: &[[f64; 16]; 16], b: &[[f64; 8]], d: &mut [[f64; 8]; 16]) {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for (a, d) in a.iter().zip(d.iter_mut()) {
                for (a, b) in a.iter().zip(b) {
                    for (d, b) in d.iter_mut().zip(b) {
                        *d = a.mul_add(*b, *d);
                    }
                }
            }
        },
    );
}
