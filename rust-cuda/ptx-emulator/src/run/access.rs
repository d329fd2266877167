//! Loads and stores of a warp.
#![expect(clippy::needless_range_loop, reason = "a lane's number indexes several rows and goes into messages")]

use super::{Env, each_lane, warp::Warp, window};
use crate::fault::{FaultKind, Trouble};
use crate::lanes::{LANES, Reg};
use crate::memory::Allocation;
use crate::memory::shared::{Refusal, Shared};
use crate::parse::Space;
use crate::program::{Access, Address};
use crate::types::{Class, Type};

pub type Checked = Result<(), Box<Trouble>>;

/// Sign-extends the low `bits` bits for signed types, whose loads fill the whole register.
#[inline(always)]
pub fn widen(bits: u64, ty: Type) -> u64 {
    if !ty.is_signed() {
        return bits;
    }
    let shift = 64 - ty.bits();
    ((bits << shift) as i64 >> shift) as u64
}

impl Warp {
    /// The byte address in every lane, of which only those of active lanes mean anything.
    #[inline(always)]
    pub fn addresses(&self, address: &Address) -> [u64; LANES] {
        let slot = address.base.slot as usize;
        match address.base.class {
            Class::R64 => self.regs.r64[slot].map(|base| base.wrapping_add_signed(address.offset)),
            _ => self.regs.r32[slot].map(|base| u64::from(base).wrapping_add_signed(address.offset)),
        }
    }

    /// Checks that the active addresses are multiples of `bytes`.
    #[inline(always)]
    pub fn check_alignment(addresses: &[u64; LANES], bytes: usize, mask: u32) -> Checked {
        let mut odd = 0u32;
        for (l, address) in addresses.iter().enumerate() {
            odd |= u32::from(address & (bytes as u64 - 1) != 0) << l;
        }
        match odd & mask {
            0 => Ok(()),
            odd => {
                let lane = odd.trailing_zeros() as usize;
                Err(Trouble::misaligned(lane, addresses[lane], bytes))
            }
        }
    }

    #[inline(always)]
    pub fn load(&mut self, env: &Env, shared: &mut Shared, access: &Access, mask: u32) -> Checked {
        let addresses = self.addresses(&access.address);
        Self::check_alignment(&addresses, access.ty.bytes() * access.values.len(), mask)?;
        match access.address.space {
            Space::Global | Space::Const => {
                self.ordered(env, access.order, |warp| warp.load_global(env, access, &addresses, mask))
            }
            Space::Shared => self.load_shared(shared, access, &addresses, mask),
            Space::Local => self.load_local(access, &addresses, mask),
            Space::Param => self.load_param(env, access, &addresses, mask),
            Space::Generic => self.by_space(&addresses, mask, |warp, space, addresses, group| match space {
                Space::Shared => warp.load_shared(shared, access, addresses, group),
                Space::Local => warp.load_local(access, addresses, group),
                Space::Param => warp.load_param(env, access, addresses, group),
                _ => warp.ordered(env, access.order, |warp| warp.load_global(env, access, addresses, group)),
            }),
        }
    }

    #[inline(always)]
    pub fn store(&mut self, env: &Env, shared: &mut Shared, access: &Access, mask: u32) -> Checked {
        let addresses = self.addresses(&access.address);
        Self::check_alignment(&addresses, access.ty.bytes() * access.values.len(), mask)?;
        match access.address.space {
            Space::Global | Space::Const => {
                self.ordered(env, access.order, |warp| warp.store_global(env, access, &addresses, mask))
            }
            Space::Shared => self.store_shared(shared, access, &addresses, mask),
            Space::Local => self.store_local(access, &addresses, mask),
            Space::Param => Err(read_only(&addresses, mask)),
            Space::Generic => self.by_space(&addresses, mask, |warp, space, addresses, group| match space {
                Space::Shared => warp.store_shared(shared, access, addresses, group),
                Space::Local => warp.store_local(access, addresses, group),
                Space::Param => Err(read_only(addresses, group)),
                _ => warp.ordered(env, access.order, |warp| warp.store_global(env, access, addresses, group)),
            }),
        }
    }

    /// Splits generic addresses by the space they lie in and hands on addresses within that space.
    pub fn by_space(
        &mut self,
        addresses: &[u64; LANES],
        mask: u32,
        mut f: impl FnMut(&mut Warp, Space, &[u64; LANES], u32) -> Checked,
    ) -> Checked {
        let mut left = mask;
        while left != 0 {
            let first = addresses[left.trailing_zeros() as usize];
            let base = window::base(first);
            let mut group = 0u32;
            for (l, address) in addresses.iter().enumerate() {
                group |= u32::from(window::base(*address) == base) << l;
            }
            group &= left;
            f(self, window::space(first), &addresses.map(|a| a.wrapping_sub(base)), group)?;
            left &= !group;
        }
        Ok(())
    }

    /// Splits global addresses by allocation and hands on offsets within it.
    #[inline(always)]
    pub fn by_allocation(
        &mut self,
        env: &Env,
        (addresses, bytes): (&[u64; LANES], usize),
        mask: u32,
        mut f: impl FnMut(&mut Warp, &Allocation, &[usize; LANES], u32) -> Checked,
    ) -> Checked {
        let mut left = mask;
        while left != 0 {
            let lane = left.trailing_zeros() as usize;
            let memory = env.global(addresses[lane]);
            let Some(found) = memory.find(addresses[lane], bytes) else {
                return Err(Box::new(Trouble { lane, fault: memory.outside(addresses[lane], bytes) }));
            };
            let (base, last) = (found.base, (found.bytes - bytes) as u64);
            let offsets = addresses.map(|a| a.wrapping_sub(base) as usize);
            let mut inside = 0u32;
            for (l, offset) in offsets.iter().enumerate() {
                inside |= u32::from(*offset as u64 <= last) << l;
            }
            f(self, found, &offsets, inside & left)?;
            left &= !inside;
        }
        Ok(())
    }

    #[inline(always)]
    fn load_global(&mut self, env: &Env, access: &Access, addresses: &[u64; LANES], mask: u32) -> Checked {
        let width = access.ty.bytes();
        let bytes = width * access.values.len();
        self.by_allocation(env, (addresses, bytes), mask, |warp, found, offsets, group| {
            if let Some(view) = &env.view {
                return warp.load_seen(view, found, (access, offsets), group);
            }
            check_defined(found, offsets, bytes, group)?;
            for (i, reg) in access.values.iter().enumerate() {
                let Some(reg) = *reg else { continue };
                if (reg.class, width) == (Class::R32, 4) {
                    let row = &mut warp.regs.r32[reg.slot as usize];
                    each_lane!(group, l => { row[l] = found.word(offsets[l] + 4 * i); });
                } else {
                    let value = |l: usize| widen(found.load(offsets[l] + width * i, width), access.ty);
                    warp.set_row(reg, group, value);
                }
            }
            Ok(())
        })
    }

    /// Sets the lanes of a register to the low bits of `value(lane)`.
    #[inline(always)]
    fn set_row(&mut self, reg: Reg, mask: u32, value: impl Fn(usize) -> u64) {
        let slot = reg.slot as usize;
        match reg.class {
            Class::R16 => each_lane!(mask, l => { self.regs.r16[slot][l] = value(l) as u16; }),
            Class::R32 => each_lane!(mask, l => { self.regs.r32[slot][l] = value(l) as u32; }),
            Class::R64 => each_lane!(mask, l => { self.regs.r64[slot][l] = value(l); }),
            Class::Pred => each_lane!(mask, l => { self.regs.set_bits(reg, l, value(l)); }),
        }
    }

    #[inline(always)]
    fn store_global(&mut self, env: &Env, access: &Access, addresses: &[u64; LANES], mask: u32) -> Checked {
        let width = access.ty.bytes();
        let bytes = width * access.values.len();
        self.stores += 1;
        self.by_allocation(env, (addresses, bytes), mask, |warp, found, offsets, group| {
            if let Some(view) = &env.view {
                return warp.store_seen(view, found, (access, offsets), group);
            }
            for (i, reg) in access.values.iter().enumerate() {
                let Some(reg) = *reg else { continue };
                if (reg.class, width) == (Class::R32, 4) {
                    let row = &warp.regs.r32[reg.slot as usize];
                    each_lane!(group, l => { found.store(offsets[l] + 4 * i, 4, u64::from(row[l])); });
                } else {
                    each_lane!(group, l => { found.store(offsets[l] + width * i, width, warp.regs.bits(reg, l)); });
                }
            }
            each_lane!(group, l => { found.define(offsets[l], bytes); });
            Ok(())
        })
    }

    /// Checks the bounds of shared memory.
    pub fn check_shared(&self, shared: &Shared, lane: usize, address: u64, bytes: usize) -> Checked {
        if address.checked_add(bytes as u64).is_some_and(|end| end <= shared.bytes() as u64) {
            return Ok(());
        }
        let past = (address as i64).wrapping_add(bytes as i64) - shared.bytes() as i64;
        let message = match past > 0 {
            true => format!("{bytes} bytes of shared memory, {past} past the end of the block's {}", shared.bytes()),
            false => format!("{bytes} bytes before the start of shared memory"),
        };
        Err(Trouble::new(FaultKind::OutOfBounds, lane, Some(address), message))
    }

    #[inline(always)]
    fn load_shared(&mut self, shared: &mut Shared, access: &Access, addresses: &[u64; LANES], mask: u32) -> Checked {
        let width = access.ty.bytes();
        let bytes = width * access.values.len();
        let thread = self.first_thread();
        self.clocks.used = true;
        each_lane!(mask, l => {
            self.check_shared(shared, l, addresses[l], bytes)?;
            shared
                .read(&self.clocks, thread + l as u32, addresses[l] as usize, bytes, access.strong)
                .map_err(|refusal| self.refused(refusal, l, addresses[l]))?;
        });
        for (i, reg) in access.values.iter().enumerate() {
            let Some(reg) = *reg else { continue };
            let value = |l: usize| widen(shared.load(addresses[l] as usize + width * i, width), access.ty);
            self.set_row(reg, mask, value);
        }
        Ok(())
    }

    #[inline(always)]
    fn store_shared(&mut self, shared: &mut Shared, access: &Access, addresses: &[u64; LANES], mask: u32) -> Checked {
        let width = access.ty.bytes();
        let bytes = width * access.values.len();
        let thread = self.first_thread();
        self.clocks.used = true;
        self.stores += 1;
        each_lane!(mask, l => {
            self.check_shared(shared, l, addresses[l], bytes)?;
            shared
                .write(&self.clocks, thread + l as u32, addresses[l] as usize, bytes, access.strong)
                .map_err(|refusal| self.refused(refusal, l, addresses[l]))?;
        });
        for (i, reg) in access.values.iter().enumerate() {
            let Some(reg) = *reg else { continue };
            each_lane!(mask, l => {
                shared.store(addresses[l] as usize + width * i, width, self.regs.bits(reg, l));
            });
        }
        Ok(())
    }

    /// The fault of an access that shared memory refused.
    #[cold]
    pub fn refused(&self, refusal: Refusal, lane: usize, address: u64) -> Box<Trouble> {
        let (kind, message) = match refusal {
            Refusal::Undefined => {
                (FaultKind::UndefinedRead, "shared memory that no thread of the block has written".to_string())
            }
            Refusal::InFlight => (
                FaultKind::UndefinedRead,
                "shared memory whose cp.async has been issued but not waited for".to_string(),
            ),
            Refusal::Unpublished { writer } => {
                let message =
                    format!("shared memory that thread {writer} has written without a fence.proxy.async behind");
                (FaultKind::UndefinedRead, message)
            }
            Refusal::Race { other, wrote } => {
                let verb = if wrote { "writes" } else { "reads" };
                let message = format!("thread {other} of the block {verb} the same byte, with no barrier in between");
                (FaultKind::SharedRace, message)
            }
        };
        Trouble::new(kind, lane, Some(address), message)
    }

    fn check_local(&self, lane: usize, address: u64, bytes: usize) -> Checked {
        if address.checked_add(bytes as u64).is_some_and(|end| end <= self.local.size() as u64) {
            return Ok(());
        }
        let message = format!("{bytes} bytes outside the thread's {} bytes of local memory", self.local.size());
        Err(Trouble::new(FaultKind::OutOfBounds, lane, Some(address), message))
    }

    fn load_local(&mut self, access: &Access, addresses: &[u64; LANES], mask: u32) -> Checked {
        let width = access.ty.bytes();
        each_lane!(mask, l => {
            self.check_local(l, addresses[l], width * access.values.len())?;
            for (i, reg) in access.values.iter().enumerate() {
                let Some(reg) = *reg else { continue };
                let (bits, defined) = self.local.load(l, addresses[l] as usize + width * i, width);
                self.regs.set_bits(reg, l, widen(bits, access.ty));
                let row = self.regs.defined_mut(reg);
                *row = *row & !(1 << l) | u32::from(defined) << l;
            }
        });
        Ok(())
    }

    fn store_local(&mut self, access: &Access, addresses: &[u64; LANES], mask: u32) -> Checked {
        let width = access.ty.bytes();
        each_lane!(mask, l => {
            self.check_local(l, addresses[l], width * access.values.len())?;
            for (i, reg) in access.values.iter().enumerate() {
                let Some(reg) = *reg else { continue };
                let (bits, defined) = (self.regs.bits(reg, l), self.regs.defined(reg) >> l & 1 == 1);
                self.local.store(l, addresses[l] as usize + width * i, width, bits, defined);
            }
        });
        Ok(())
    }

    fn load_param(&mut self, env: &Env, access: &Access, addresses: &[u64; LANES], mask: u32) -> Checked {
        let width = access.ty.bytes();
        let bytes = (width * access.values.len()) as u64;
        each_lane!(mask, l => {
            if addresses[l].checked_add(bytes).is_none_or(|end| end > env.params.len() as u64) {
                let message = format!("{bytes} bytes outside the {} bytes of parameters", env.params.len());
                return Err(Trouble::new(FaultKind::OutOfBounds, l, Some(addresses[l]), message));
            }
        });
        for (i, reg) in access.values.iter().enumerate() {
            let Some(reg) = *reg else { continue };
            self.set_row(reg, mask, |l| {
                let at = addresses[l] as usize + width * i;
                let mut number = [0; 8];
                number[..width].copy_from_slice(&env.params[at..at + width]);
                widen(u64::from_le_bytes(number), access.ty)
            });
        }
        Ok(())
    }
}

#[inline(always)]
pub fn check_defined(found: &Allocation, offsets: &[usize; LANES], bytes: usize, mask: u32) -> Checked {
    let mut defined = true;
    each_lane!(mask, l => { defined &= found.is_defined(offsets[l], bytes); });
    if defined { Ok(()) } else { Err(undefined(found, offsets, bytes, mask)) }
}

#[cold]
pub fn undefined(found: &Allocation, offsets: &[usize; LANES], bytes: usize, mask: u32) -> Box<Trouble> {
    let missing = |l: &usize| mask >> l & 1 == 1 && !found.is_defined(offsets[*l], bytes);
    let lane = (0..LANES).find(missing).unwrap_or(0);
    let offset = offsets[lane];
    let message = format!("{bytes} bytes at offset {offset} of `{}` that nothing has written", found.name);
    Trouble::new(FaultKind::UndefinedRead, lane, Some(found.base + offset as u64), message)
}

#[cold]
fn read_only(addresses: &[u64; LANES], mask: u32) -> Box<Trouble> {
    let lane = mask.trailing_zeros() as usize % LANES;
    Trouble::new(FaultKind::OutOfBounds, lane, Some(addresses[lane]), "a store to the parameters, which are read-only")
}
