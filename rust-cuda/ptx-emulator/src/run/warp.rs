//! One warp: its registers, its stack of divergence, and the loop that steps it.

use super::{Env, access::Checked, copy::Copies, local::Local};
use crate::fault::{FaultKind, Trouble};
use crate::lanes::{FULL, LANES, Reg, Registers};
use crate::memory::{shared::Shared, stamp::Clocks};
use crate::program::{Guard, Inst, NOWHERE, Op, Special};
use crate::types::Class;

/// Lanes that run together until they reach `reconverge`, where the frame below takes over.
struct Frame {
    pc: u32,
    reconverge: u32,
    mask: u32,
}

/// Why a warp stopped running.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pause {
    /// Every lane has exited.
    Done,
    /// At a barrier, which is the instruction before `pc`.
    Barrier,
    /// The slice of instructions is used up.
    Slice,
}

pub struct Warp {
    /// Number in the block.
    pub index: usize,
    pub regs: Registers,
    pub local: Local,
    pub clocks: Clocks,
    pub copies: Copies,
    /// Lanes that have not exited.
    pub live: u32,
    /// The instruction being executed.
    pub pc: u32,
    stack: Vec<Frame>,
    pub thread_instructions: u64,
    pub warp_instructions: u64,
    /// Stores and atomics so far: a sign of progress for whoever watches blocks that wait for each other.
    pub stores: u64,
}

impl Warp {
    pub fn new(index: usize) -> Warp {
        Warp {
            index,
            regs: Registers::default(),
            local: Local::default(),
            clocks: Clocks::new(index, 1),
            copies: Copies::default(),
            live: 0,
            pc: 0,
            stack: Vec::new(),
            thread_instructions: 0,
            warp_instructions: 0,
            stores: 0,
        }
    }

    /// Prepares the warp for a block, from the first instruction.
    pub fn reset(&mut self, env: &Env, block: [u32; 3], clock: u32) {
        let program = env.program;
        self.regs.pred.resize(program.class_count(Class::Pred), 0);
        self.regs.r16.resize(program.class_count(Class::R16), [0; LANES]);
        self.regs.r32.resize(program.class_count(Class::R32), [0; LANES]);
        self.regs.r64.resize(program.class_count(Class::R64), [0; LANES]);
        for (class, defined) in self.regs.defined.iter_mut().enumerate() {
            defined.clear();
            defined.resize(program.registers[class] as usize, FULL);
        }
        for &reg in &program.undefined {
            self.regs.splat(reg, 0);
            *self.regs.defined_mut(reg) = 0;
        }
        for &(reg, bits) in &program.constants {
            self.regs.splat(reg, bits);
        }
        for &(reg, special) in &program.specials {
            self.set_special(env, block, reg, special);
        }
        self.local.reset(program.local);
        self.clocks = Clocks::new(self.index, clock);
        self.copies = Copies::default();
        let threads = (env.threads() - self.first_thread()).min(LANES as u32);
        self.live = FULL >> (LANES as u32 - threads);
        self.stack.clear();
        self.stack.push(Frame { pc: 0, reconverge: NOWHERE, mask: self.live });
    }

    fn set_special(&mut self, env: &Env, block: [u32; 3], reg: Reg, special: Special) {
        let launch = env.launch;
        for lane in 0..LANES {
            let linear = self.first_thread() + lane as u32;
            let shared = launch.shared_bytes;
            let value = match special {
                Special::Thread(axis) => env.thread(linear)[axis],
                Special::BlockDim(axis) => launch.block[axis],
                Special::Block(axis) => block[axis],
                Special::GridDim(axis) => launch.grid[axis],
                Special::Lane => lane as u32,
                Special::Warp => self.index as u32,
                Special::WarpCount => env.threads().div_ceil(LANES as u32),
                Special::MaskEq => 1 << lane,
                Special::MaskLt => (1 << lane) - 1,
                Special::MaskLe => FULL >> (LANES - 1 - lane),
                Special::MaskGe => FULL << lane,
                Special::MaskGt => FULL << lane << 1,
                Special::DynamicSharedSize => shared,
                Special::TotalSharedSize => env.program.static_shared as u32 + shared,
                Special::WarpSize => LANES as u32,
                Special::Zero => 0,
                Special::One => 1,
            };
            self.regs.set_bits(reg, lane, u64::from(value));
        }
    }

    /// Number in the block of lane 0.
    pub fn first_thread(&self) -> u32 {
        (self.index * LANES) as u32
    }

    /// Lanes of `active` in which the guard lets an instruction run.
    #[inline(always)]
    fn admitted(&self, guard: Option<Guard>, active: u32) -> u32 {
        match guard {
            None => active,
            Some(guard) => active & (self.regs.pred[guard.slot as usize] ^ if guard.negated { FULL } else { 0 }),
        }
    }

    /// Runs at most `slice` instructions. On a fault, `pc` is the instruction's index.
    pub fn run(&mut self, env: &Env, shared: &mut Shared, slice: u64) -> Result<Pause, Box<Trouble>> {
        let mut left = slice;
        while let Some(frame) = self.stack.last() {
            let (mut pc, reconverge, active) = (frame.pc, frame.reconverge, frame.mask);
            if active == 0 || pc == reconverge {
                self.stack.pop();
                continue;
            }
            let lanes = u64::from(active.count_ones());
            let before = left;
            let outcome = loop {
                if pc == reconverge || left == 0 {
                    break Ok(None);
                }
                left -= 1;
                let inst = &env.program.insts[pc as usize];
                let mask = self.admitted(inst.guard, active);
                match &inst.op {
                    Op::Lanes(run) if !inst.tracked => {
                        run(&mut self.regs, mask);
                        pc += 1;
                    }
                    Op::Branch { target, .. } if !inst.tracked && (mask == active || mask == 0) => {
                        pc = if mask == 0 { pc + 1 } else { *target };
                    }
                    _ => {
                        self.pc = pc;
                        match self.step(env, shared, inst, (active, mask)) {
                            Ok(Flow::Next) => pc += 1,
                            other => break other.map(Some),
                        }
                    }
                }
            };
            self.warp_instructions += before - left;
            self.thread_instructions += (before - left) * lanes;
            match outcome? {
                // The step itself has set the stack.
                Some(Flow::Jumped) => {}
                Some(_) => {
                    self.set_pc(pc + 1);
                    return Ok(Pause::Barrier);
                }
                None => {
                    self.set_pc(pc);
                    if left == 0 {
                        return self.out_of_slice(env, active);
                    }
                }
            }
        }
        Ok(Pause::Done)
    }

    fn set_pc(&mut self, pc: u32) {
        if let Some(frame) = self.stack.last_mut() {
            frame.pc = pc;
        }
    }

    fn out_of_slice(&mut self, env: &Env, active: u32) -> Result<Pause, Box<Trouble>> {
        let budget = env.options.instruction_budget;
        if self.warp_instructions < budget {
            return Ok(Pause::Slice);
        }
        let message = format!("the warp has executed {budget} instructions, which is all that it may");
        Err(Trouble::new(FaultKind::RunawayLoop, active.trailing_zeros() as usize, None, message))
    }

    /// Every instruction that is not plain arithmetic or a uniform branch.
    #[inline(always)]
    fn step(
        &mut self,
        env: &Env,
        shared: &mut Shared,
        inst: &Inst,
        (active, mask): (u32, u32),
    ) -> Result<Flow, Box<Trouble>> {
        if inst.tracked {
            self.follow(env, inst, active, mask)?;
        }
        match &inst.op {
            Op::Branch { target, reconverge } => return Ok(self.branch(*target, *reconverge, active, mask)),
            Op::Exit => return Ok(self.exit(active, mask)),
            _ if mask == 0 => return Ok(Flow::Next),
            Op::Lanes(run) | Op::Select { run, .. } => run(&mut self.regs, mask),
            Op::Load(access) => self.load(env, shared, access, mask)?,
            Op::Store(access) => self.store(env, shared, access, mask)?,
            Op::Switch { index, targets, reconverge } => {
                return self.switch(*index, targets, *reconverge, active, mask);
            }
            Op::Barrier(_) => {
                self.check_barrier(mask)?;
                return Ok(Flow::Pause);
            }
            other => self.rare(env, shared, other, mask)?,
        }
        Ok(Flow::Next)
    }

    fn rare(&mut self, env: &Env, shared: &mut Shared, op: &Op, mask: u32) -> Checked {
        let lane = mask.trailing_zeros() as usize;
        match op {
            Op::Atomic(atomic) => self.atomic(env, shared, atomic, mask),
            Op::CopyAsync(copy) => self.copy_async(env, shared, copy, mask),
            Op::CopyCommit => {
                self.copies.commit(mask);
                Ok(())
            }
            Op::CopyWait(groups) => {
                self.copy_wait(shared, *groups, mask);
                Ok(())
            }
            Op::LoadMatrix(matrix) => self.load_matrix(shared, matrix, mask),
            Op::Mma(mma) => self.mma(mma, mask),
            Op::Clock { d } => {
                let now = self.warp_instructions;
                (0..LANES).filter(|l| mask >> l & 1 == 1).for_each(|l| self.regs.set_bits(*d, l, now));
                Ok(())
            }
            Op::Trap => Err(Trouble::new(FaultKind::Trap, lane, None, "the kernel executed `trap`")),
            Op::Unknown(opcode) => {
                let message = format!("`{opcode}` is not an instruction of this machine (sm_80)");
                Err(Trouble::new(FaultKind::UnknownInstruction, lane, None, message))
            }
            Op::Nothing => Ok(()),
            other => self.collective(other, mask),
        }
    }

    /// A branch whose lanes do not agree, or a tracked one: both sides get a frame, the taken side runs first.
    fn branch(&mut self, target: u32, reconverge: u32, active: u32, taken: u32) -> Flow {
        let stay = active & !taken;
        if taken == 0 {
            return Flow::Next;
        }
        self.diverge(reconverge, &[(self.pc + 1, stay), (target, taken)]);
        Flow::Jumped
    }

    fn switch(
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
            // The frame below already waits at this point with all these lanes: a loop that lanes leave one by one.
            if frame.reconverge == reconverge && reconverge != NOWHERE {
                self.stack.pop();
            } else if reconverge == NOWHERE {
                frame.mask = 0;
            } else {
                frame.pc = reconverge;
            }
        }
        for &(pc, mask) in sides {
            if pc != reconverge {
                self.stack.push(Frame { pc, reconverge, mask });
            }
        }
    }

    fn exit(&mut self, active: u32, mask: u32) -> Flow {
        self.live &= !mask;
        self.stack.iter_mut().for_each(|frame| frame.mask &= !mask);
        if mask == active {
            return Flow::Jumped;
        }
        self.set_pc(self.pc + 1);
        Flow::Jumped
    }

    /// A barrier needs every lane that has not exited.
    fn check_barrier(&self, mask: u32) -> Checked {
        if mask == self.live {
            return Ok(());
        }
        let (lane, missing) = (mask.trailing_zeros() as usize, self.live & !mask);
        let message = format!("lanes {missing:#010x} of the warp have not exited and are not at this barrier");
        Err(Trouble::new(FaultKind::DivergentBarrier, lane, None, message))
    }
}

/// What follows a step.
pub enum Flow {
    Next,
    /// The stack was changed.
    Jumped,
    Pause,
}
