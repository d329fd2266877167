//! Global memory as one of several devices sees it: loads, stores and atomics by way of the device's view.

use super::{
    Env,
    access::{Checked, undefined, widen},
    atomic::combine,
    warp::Warp,
};
use crate::fault::Trouble;
use crate::lanes::LANES;
use crate::memory::{Allocation, view::View};
use crate::program::{Access, Atomic, Order};

impl Warp {
    /// Does `access` with what `order` says in front of it and behind it.
    pub fn ordered(&mut self, env: &Env, order: Order, access: impl FnOnce(&mut Warp) -> Checked) -> Checked {
        let Some(view) = &env.view else { return access(self) };
        if order.release && order.system {
            view.release(env.memory, self.block);
        }
        access(self)?;
        if order.acquire {
            view.acquire(self.block, order.system);
        }
        Ok(())
    }

    pub fn load_seen(
        &mut self,
        view: &View,
        found: &Allocation,
        (access, offsets): (&Access, &[usize; LANES]),
        mask: u32,
    ) -> Checked {
        let width = access.ty.bytes();
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 == 1) {
            for (i, reg) in access.values.iter().enumerate() {
                let at = (offsets[lane] + width * i, width);
                let (bits, defined) = view.load(self.block, found, at, access.order.system);
                if !defined {
                    return Err(undefined(found, offsets, width * access.values.len(), 1 << lane));
                }
                if let Some(reg) = *reg {
                    self.regs.set_bits(reg, lane, widen(bits, access.ty));
                }
            }
        }
        Ok(())
    }

    /// Reads what asynchronous copies of so many bytes take.
    pub fn copy_seen(
        &mut self,
        view: &View,
        found: &Allocation,
        (offsets, bytes): (&[usize; LANES], usize),
        mask: u32,
        data: &mut [[u8; 16]; LANES],
    ) -> Checked {
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 == 1) {
            for (i, byte) in data[lane][..bytes].iter_mut().enumerate() {
                let (bits, defined) = view.load(self.block, found, (offsets[lane] + i, 1), false);
                if !defined {
                    return Err(undefined(found, offsets, bytes, 1 << lane));
                }
                *byte = bits as u8;
            }
        }
        Ok(())
    }

    pub fn store_seen(
        &mut self,
        view: &View,
        found: &Allocation,
        (access, offsets): (&Access, &[usize; LANES]),
        mask: u32,
    ) -> Checked {
        let width = access.ty.bytes();
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 == 1) {
            for (i, reg) in access.values.iter().enumerate() {
                let Some(reg) = *reg else { continue };
                let at = (offsets[lane] + width * i, width);
                view.store(self.block, found, at, self.regs.bits(reg, lane), access.order.system);
            }
        }
        Ok(())
    }

    /// Does an atomic of one lane; whether it changed anything. One of the device's scope may miss what others have there.
    pub fn atomic_seen(
        &mut self,
        view: &View,
        found: &Allocation,
        (atomic, offset): (&Atomic, usize),
        lane: usize,
    ) -> Result<bool, Box<Trouble>> {
        let (at, system) = ((offset, atomic.ty.bytes()), atomic.order.system);
        let (old, defined) = view.load(self.block, found, at, system);
        if !defined {
            return Err(undefined(found, &[offset; LANES], at.1, 1 << lane));
        }
        let (b, c) = self.atomic_operands(atomic, lane);
        let new = combine(atomic.op, atomic.ty, old, b, c);
        view.store(self.block, found, at, new, system);
        if let Some(d) = atomic.d {
            self.regs.set_bits(d, lane, old);
        }
        Ok(new != old)
    }
}
