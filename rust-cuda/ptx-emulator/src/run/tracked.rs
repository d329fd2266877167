//! Follows undefined values through registers: they may be moved about, but decide nothing.

use super::{Env, access::Checked, warp::Warp};
use crate::fault::{FaultKind, Trouble};
use crate::lanes::{FULL, Reg};
use crate::parse::Space;
use crate::program::{Inst, Op};
use crate::types::Class;

impl Warp {
    /// Checks what a tracked instruction reads and notes which lanes of its results are defined.
    pub fn follow(&mut self, env: &Env, inst: &Inst, active: u32, mask: u32) -> Checked {
        if let Some(guard) = inst.guard {
            self.need(Reg { class: Class::Pred, slot: guard.slot }, active)?;
        }
        let meta = &env.program.metas[self.pc as usize];
        if mask != 0 && !matches!(inst.op, Op::Product(_)) {
            let registers = meta.reads.iter().chain(&meta.writes).filter(|reg| reg.class == Class::R32);
            self.touch_owned(env, registers.map(|reg| reg.slot), mask.trailing_zeros() as usize)?;
        }
        let mut defined = FULL;
        match &inst.op {
            Op::Lanes(_) => meta.reads.iter().for_each(|r| defined &= self.regs.defined(*r)),
            Op::Select { a, b, p, negated, .. } => {
                let chosen = self.regs.pred[*p as usize] ^ if *negated { FULL } else { 0 };
                let (da, db) = (self.regs.defined(*a), self.regs.defined(*b));
                defined = (da & chosen | db & !chosen) & self.regs.defined(Reg { class: Class::Pred, slot: *p });
            }
            // A value may go to the thread's own memory undefined, and come back so.
            Op::Store(access) if matches!(access.address.space, Space::Local | Space::Generic) => {
                self.need(access.address.base, mask)?;
                let outside = self.lanes_outside_local(inst) & mask;
                access.values.iter().flatten().try_for_each(|r| self.need(*r, outside))?;
            }
            _ => meta.reads.iter().try_for_each(|r| self.need(*r, mask))?,
        }
        for reg in &meta.writes {
            let row = self.regs.defined_mut(*reg);
            *row = *row & !mask | defined & mask;
        }
        Ok(())
    }

    fn lanes_outside_local(&self, inst: &Inst) -> u32 {
        let Op::Store(access) = &inst.op else { return FULL };
        if access.address.space == Space::Local {
            return 0;
        }
        let local = |a: &u64| super::window::space(*a) == Space::Local;
        let addresses = self.addresses(&access.address);
        addresses.iter().enumerate().fold(0, |lanes, (l, a)| lanes | u32::from(!local(a)) << l)
    }

    fn need(&self, reg: Reg, mask: u32) -> Checked {
        let missing = mask & !self.regs.defined(reg);
        if missing == 0 {
            return Ok(());
        }
        let message = "a register that nothing has written decides an address, a branch or a value in memory";
        Err(Trouble::new(FaultKind::UndefinedRegister, missing.trailing_zeros() as usize, None, message))
    }
}
