//! Divergence: branches whose lanes disagree, lanes that exit, and instructions that a warp executes together.

use super::{
    Env,
    warp::{Flow, Frame, Warp},
};
use crate::fault::{FaultKind, Trouble};
use crate::lanes::{FULL, LANES};
use crate::program::{NOWHERE, Op};

impl Warp {
    /// Lanes that `op`, reached by those in `mask`, needs as well.
    pub fn missing(&self, op: &Op, mask: u32) -> u32 {
        let named = |members: &u32| self.regs.r32[*members as usize][mask.trailing_zeros() as usize];
        let needed = match op {
            Op::Barrier(_) | Op::Mma(_) | Op::LoadMatrix(_) | Op::Product(_) | Op::ProductWait(_) => FULL,
            Op::ProductFence | Op::ProductCommit | Op::ClusterArrive { .. } | Op::ClusterWait => FULL,
            Op::Shuffle(shuffle) => named(&shuffle.members),
            Op::WarpBarrier { members }
            | Op::Vote { members, .. }
            | Op::Match { members, .. }
            | Op::Reduce { members, .. } => named(members),
            _ => 0,
        };
        needed & self.live & !mask
    }

    /// Sets the top frame aside until the missing lanes come to the same instruction. They can only be in frames of the
    /// same branch: beyond the point where its sides meet, they have passed the instruction by.
    pub fn park(&mut self, env: &Env, (active, mask): (u32, u32), missing: u32) -> Result<Flow, Box<Trouble>> {
        let top = self.stack.len() - 1;
        let reconverge = self.stack[top].reconverge;
        self.stack[top].pc = self.pc;
        let bottom = self.stack.iter().rposition(|f| f.reconverge != reconverge).map_or(0, |below| below + 1);
        let siblings = &self.stack[bottom..top];
        // A lane that the guard holds back has come, and does not take part.
        if missing & active != 0 {
            return Err(self.absent(env, mask, missing));
        }
        if let Some(at) = siblings.iter().position(|f| f.pc == self.pc && f.awaits != 0) {
            let met = self.stack.remove(bottom + at);
            self.stack[top - 1].mask |= met.mask;
            return Ok(Flow::Jumped);
        }
        if siblings.iter().all(|f| f.awaits != 0 || f.mask == 0) {
            let left = self.at_exit(env) & missing;
            if left == 0 {
                return Err(self.absent(env, mask, missing));
            }
            self.end(left);
            return Ok(Flow::Jumped);
        }
        if let Some(mut frame) = self.stack.pop() {
            frame.awaits = missing;
            self.stack.insert(bottom, frame);
        }
        Ok(Flow::Jumped)
    }

    /// Lanes that wait in a lower frame for nothing but to exit: a GPU would have let them go.
    fn at_exit(&self, env: &Env) -> u32 {
        let (mut above, mut leaving) = (0, 0);
        for frame in self.stack.iter().rev() {
            let inst = &env.program.insts[frame.pc as usize];
            if matches!(inst.op, Op::Exit) && inst.guard.is_none() {
                leaving |= frame.mask & !above;
            }
            above |= frame.mask;
        }
        leaving
    }

    /// The fault of lanes `here` at the instruction at `pc`, which also needs `missing`.
    pub fn absent(&self, env: &Env, here: u32, missing: u32) -> Box<Trouble> {
        let kind = match env.program.insts[self.pc as usize].op {
            Op::Barrier(_) | Op::ClusterArrive { .. } | Op::ClusterWait => FaultKind::DivergentBarrier,
            _ => FaultKind::DivergentCollective,
        };
        let message = format!("lanes {missing:#010x} of the warp are needed here as well, and do not come");
        Trouble::new(kind, here.trailing_zeros() as usize, None, message)
    }

    /// A branch whose lanes do not agree, or a tracked one: both sides get a frame, the taken side runs first.
    pub fn branch(&mut self, target: u32, reconverge: u32, active: u32, taken: u32) -> Flow {
        let stay = active & !taken;
        if taken == 0 {
            return Flow::Next;
        }
        self.diverge(reconverge, &[(self.pc + 1, stay), (target, taken)]);
        Flow::Jumped
    }

    pub fn switch(
        &mut self,
        index: u32,
        targets: &[u32],
        reconverge: u32,
        active: u32,
        mask: u32,
    ) -> Result<Flow, Box<Trouble>> {
        let mut sides = vec![(self.pc + 1, active & !mask)];
        for lane in (0..LANES).filter(|l| mask >> l & 1 == 1) {
            let chosen = self.regs.r32[index as usize][lane] as usize;
            let Some(&target) = targets.get(chosen) else {
                let message = format!("branch {chosen} of a list of {}", targets.len());
                return Err(Trouble::new(FaultKind::OutOfBounds, lane, None, message));
            };
            match sides.iter_mut().skip(1).find(|side| side.0 == target) {
                Some(side) => side.1 |= 1 << lane,
                None => sides.push((target, 1 << lane)),
            }
        }
        self.diverge(reconverge, &sides);
        Ok(Flow::Jumped)
    }

    /// Splits the top frame into `sides` (instruction, lanes), which meet again at `reconverge`.
    fn diverge(&mut self, reconverge: u32, sides: &[(u32, u32)]) {
        let mut sides = sides.iter().filter(|side| side.1 != 0).peekable();
        if let Some(frame) = self.stack.last_mut() {
            if let (Some(side), None) = (sides.next_if(|side| side.1 == frame.mask), sides.peek()) {
                frame.pc = side.0;
                return;
            }
            // The frame below already waits at this point with all these lanes (a loop that lanes leave one by one), or
            // the sides meet only at the exit.
            if frame.reconverge == reconverge || reconverge == NOWHERE {
                self.stack.pop();
            } else {
                frame.pc = reconverge;
            }
        }
        for &(pc, mask) in sides {
            if pc != reconverge {
                self.stack.push(Frame { pc, reconverge, mask, awaits: 0 });
            }
        }
    }

    pub fn exit(&mut self, active: u32, mask: u32) -> Flow {
        self.end(mask);
        if mask != active {
            self.set_pc(self.pc + 1);
        }
        Flow::Jumped
    }

    fn end(&mut self, lanes: u32) {
        self.live &= !lanes;
        self.stack.iter_mut().for_each(|frame| frame.mask &= !lanes);
    }
}
