//! `atom` and `red`, lane by lane in order.

use super::{
    Env,
    access::{Checked, check_defined},
    warp::Warp,
};
use crate::float::Real;
use crate::lanes::LANES;
use crate::memory::shared::Shared;
use crate::parse::Space;
use crate::program::{Atomic, AtomicOp};
use crate::types::Type;

impl Warp {
    pub fn atomic(&mut self, env: &Env, shared: &mut Shared, atomic: &Atomic, mask: u32) -> Checked {
        let addresses = self.addresses(&atomic.address);
        Self::check_alignment(&addresses, atomic.ty.bytes(), mask)?;
        match atomic.address.space {
            Space::Shared => self.atomic_shared(shared, atomic, &addresses, mask),
            Space::Generic => self.by_space(&addresses, mask, |warp, space, addresses, group| match space {
                Space::Shared => warp.atomic_shared(shared, atomic, addresses, group),
                _ => warp.ordered(env, atomic.order, |warp| warp.atomic_global(env, atomic, addresses, group)),
            }),
            _ => self.ordered(env, atomic.order, |warp| warp.atomic_global(env, atomic, &addresses, mask)),
        }
    }

    fn atomic_global(&mut self, env: &Env, atomic: &Atomic, addresses: &[u64; LANES], mask: u32) -> Checked {
        let bytes = atomic.ty.bytes();
        for lane in (0..LANES).filter(|l| mask >> l & 1 == 1) {
            let mut changed = false;
            self.by_allocation(env, (addresses, bytes), 1 << lane, |warp, found, offsets, group| {
                if let Some(view) = &env.view {
                    changed = warp.atomic_seen(view, found, (atomic, offsets[lane]), lane)?;
                    return Ok(());
                }
                check_defined(found, offsets, bytes, group)?;
                let (b, c) = warp.atomic_operands(atomic, lane);
                let old = found.update(offsets[lane], bytes, |a| combine(atomic.op, atomic.ty, a, b, c));
                changed = found.load(offsets[lane], bytes) != old;
                if let Some(d) = atomic.d {
                    warp.regs.set_bits(d, lane, old);
                }
                Ok(())
            })?;
            // An exchange or a comparison that finds what it leaves may be a thread that waits.
            self.stores += u64::from(changed);
        }
        Ok(())
    }

    fn atomic_shared(&mut self, shared: &mut Shared, atomic: &Atomic, addresses: &[u64; LANES], mask: u32) -> Checked {
        let bytes = atomic.ty.bytes();
        self.clocks.used = true;
        for lane in (0..LANES).filter(|l| mask >> l & 1 == 1) {
            let (address, thread) = (addresses[lane], self.first_thread() + lane as u32);
            self.check_shared(shared, lane, address, bytes)?;
            let at = address as usize;
            shared
                .read(&self.clocks, thread, at, bytes, true)
                .and_then(|()| shared.write(&self.clocks, thread, at, bytes, true))
                .map_err(|refusal| self.refused(refusal, lane, address))?;
            let (b, c) = self.atomic_operands(atomic, lane);
            let old = shared.load(at, bytes);
            let new = combine(atomic.op, atomic.ty, old, b, c);
            shared.store(at, bytes, new);
            self.stores += u64::from(new != old);
            if let Some(d) = atomic.d {
                self.regs.set_bits(d, lane, old);
            }
        }
        Ok(())
    }

    pub fn atomic_operands(&self, atomic: &Atomic, lane: usize) -> (u64, u64) {
        (self.regs.bits(atomic.b, lane), atomic.c.map_or(0, |c| self.regs.bits(c, lane)))
    }
}

/// The new value of a cell that held `a`.
pub fn combine(op: AtomicOp, ty: Type, a: u64, b: u64, c: u64) -> u64 {
    let signed = |x: u64| if ty == Type::S32 { i64::from(x as u32 as i32) } else { x as i64 };
    match op {
        AtomicOp::Add => add(ty, a, b),
        AtomicOp::Min if ty.is_signed() => signed(a).min(signed(b)) as u64,
        AtomicOp::Max if ty.is_signed() => signed(a).max(signed(b)) as u64,
        AtomicOp::Min => a.min(b),
        AtomicOp::Max => a.max(b),
        AtomicOp::And => a & b,
        AtomicOp::Or => a | b,
        AtomicOp::Xor => a ^ b,
        AtomicOp::Exchange => b,
        AtomicOp::CompareSwap => {
            if a == b {
                c
            } else {
                a
            }
        }
        AtomicOp::Increment => {
            if a >= b {
                0
            } else {
                a + 1
            }
        }
        AtomicOp::Decrement => {
            if a == 0 || a > b {
                b
            } else {
                a - 1
            }
        }
    }
}

fn add(ty: Type, a: u64, b: u64) -> u64 {
    match ty {
        Type::F32 => u64::from(Real::add(f32::from_bits(a as u32), f32::from_bits(b as u32)).to_bits()),
        Type::F64 => Real::add(f64::from_bits(a), f64::from_bits(b)).to_bits(),
        Type::F16x2 | Type::Bf16x2 => add_pair(ty, a as u32, b as u32),
        _ => a.wrapping_add(b),
    }
}

fn add_pair(ty: Type, a: u32, b: u32) -> u64 {
    use crate::float::{Bf16, F16, Pair};
    use crate::lanes::Lane;
    u64::from(match ty {
        Type::F16x2 => Pair::<F16>::from_bits(a).add(Pair::<F16>::from_bits(b)).to_bits(),
        _ => Pair::<Bf16>::from_bits(a).add(Pair::<Bf16>::from_bits(b)).to_bits(),
    })
}
