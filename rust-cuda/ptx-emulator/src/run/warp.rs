//! One warp: its registers, its stack of divergence, and the loop that steps it.

use super::{Env, access::Checked, copy::Copies, local::Local, mailbox::Sent, product::Products};
use crate::fault::{FaultKind, Trouble};
use crate::lanes::{FULL, LANES, Reg, Registers};
use crate::memory::{shared::Shared, stamp::Clocks};
use crate::program::{Guard, Inst, NOWHERE, Op, Special};
use crate::types::Class;

/// Lanes that run together until they reach `reconverge`, where the frame below takes over.
pub struct Frame {
    pub pc: u32,
    pub reconverge: u32,
    pub mask: u32,
    /// Lanes that the instruction at `pc` needs and that were elsewhere when this frame came to it.
    pub awaits: u32,
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
    /// The block's number in the grid.
    pub block: u64,
    pub regs: Registers,
    pub local: Local,
    pub clocks: Clocks,
    pub copies: Copies,
    pub products: Products,
    /// How often it came to the cluster's barrier, and how often it has passed that.
    pub arrivals: u32,
    pub waits: u32,
    /// Stores to the cluster's shared memory.
    pub sent: Vec<Sent>,
    /// Lanes that have not exited.
    pub live: u32,
    /// The instruction being executed.
    pub pc: u32,
    /// The top runs. Frames of one branch lie next to each other, above the one that they leave for.
    pub stack: Vec<Frame>,
    /// Value of `warp_instructions` when the block began.
    began: u64,
    fresh: bool,
    pub thread_instructions: u64,
    pub warp_instructions: u64,
    /// Stores and atomics so far: a sign of progress for whoever watches blocks that wait for each other.
    pub stores: u64,
}

impl Warp {
    pub fn new(index: usize) -> Warp {
        Warp {
            index,
            block: 0,
            regs: Registers::default(),
            local: Local::default(),
            clocks: Clocks::new(index, 1),
            copies: Copies::default(),
            products: Products::default(),
            arrivals: 0,
            waits: 0,
            sent: Vec::new(),
            live: 0,
            pc: 0,
            stack: Vec::new(),
            began: 0,
            fresh: true,
            thread_instructions: 0,
            warp_instructions: 0,
            stores: 0,
        }
    }

    /// Prepares the warp for a block, from the first instruction.
    pub fn reset(&mut self, env: &Env, block: [u32; 3], clock: u32) {
        let program = env.program;
        if self.fresh {
            self.fresh = false;
            self.create_registers(env);
        }
        for &reg in &program.undefined {
            self.regs.splat(reg, 0);
            *self.regs.defined_mut(reg) = 0;
        }
        for &(reg, special) in &program.specials {
            let cluster = [env.launch.cluster, 1, 1];
            match special {
                Special::Block(axis) => self.regs.splat(reg, u64::from(block[axis])),
                Special::Cluster(axis) => self.regs.splat(reg, u64::from(block[axis] / cluster[axis])),
                Special::ClusterRank => self.regs.splat(reg, u64::from(block[0] % cluster[0])),
                _ => {}
            }
        }
        let [x, y, z] = block.map(u64::from);
        let [width, height, _] = env.launch.grid.map(u64::from);
        self.block = (z * height + y) * width + x;
        self.began = self.warp_instructions;
        self.local.reset(program.local);
        self.clocks = Clocks::new(self.index, clock);
        self.copies = Copies::default();
        self.products.reset(program);
        (self.arrivals, self.waits) = (0, 0);
        self.sent.clear();
        let threads = (env.threads() - self.first_thread()).min(LANES as u32);
        self.live = FULL >> (LANES as u32 - threads);
        self.stack.clear();
        self.stack.push(Frame { pc: 0, reconverge: NOWHERE, mask: self.live, awaits: 0 });
    }

    /// Registers, constants, and the special registers that are the same in every block of the launch.
    fn create_registers(&mut self, env: &Env) {
        let program = env.program;
        self.regs.pred.resize(program.class_count(Class::Pred), 0);
        self.regs.r16.resize(program.class_count(Class::R16), [0; LANES]);
        self.regs.r32.resize(program.class_count(Class::R32), [0; LANES]);
        self.regs.r64.resize(program.class_count(Class::R64), [0; LANES]);
        for (class, defined) in self.regs.defined.iter_mut().enumerate() {
            defined.resize(program.registers[class] as usize, FULL);
        }
        for &(reg, bits) in &program.constants {
            self.regs.splat(reg, bits);
        }
        for &(reg, special) in &program.specials {
            self.set_special(env, reg, special);
        }
    }

    fn set_special(&mut self, env: &Env, reg: Reg, special: Special) {
        let launch = env.launch;
        for lane in 0..LANES {
            let linear = self.first_thread() + lane as u32;
            let shared = launch.shared_bytes;
            let value = match special {
                Special::Thread(axis) => env.thread(linear)[axis],
                Special::BlockDim(axis) => launch.block[axis],
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
                Special::ClusterSize => launch.cluster,
                Special::ClusterCount(0) => launch.grid[0] / launch.cluster,
                Special::ClusterCount(axis) => launch.grid[axis],
                Special::Zero | Special::Block(_) | Special::Cluster(_) | Special::ClusterRank => 0,
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
            if frame.awaits != 0 {
                self.pc = pc;
                return Err(self.absent(env, active, frame.awaits));
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
                Some(flow) => {
                    self.set_pc(pc + 1);
                    return if flow == Flow::Yield { self.out_of_slice(env, active) } else { Ok(Pause::Barrier) };
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

    pub fn set_pc(&mut self, pc: u32) {
        if let Some(frame) = self.stack.last_mut() {
            frame.pc = pc;
        }
    }

    fn out_of_slice(&mut self, env: &Env, active: u32) -> Result<Pause, Box<Trouble>> {
        let budget = env.options.instruction_budget;
        if self.warp_instructions - self.began < budget {
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
            Op::Trap | Op::Clock { .. } | Op::Nothing | Op::Fence(_) | Op::Unknown(_) | Op::ActiveMask { .. } => {
                self.rare(env, shared, &inst.op, mask)?;
            }
            Op::Atomic(_) | Op::CopyAsync(_) | Op::CopyCommit | Op::CopyWait(_) | Op::ProxyFence => {
                self.rare(env, shared, &inst.op, mask)?;
            }
            Op::MailboxOpen(_)
            | Op::MailboxExpect(_)
            | Op::MailboxTest { .. }
            | Op::SendAsync(_)
            | Op::MailboxFence => {
                return self.mailbox(shared, &inst.op, mask);
            }
            together => {
                let missing = self.missing(together, mask);
                if missing != 0 {
                    return self.park(env, (active, mask), missing);
                }
                if let Op::Barrier(_) | Op::ClusterArrive { .. } | Op::ClusterWait = together {
                    return Ok(Flow::Pause);
                }
                self.rare(env, shared, together, mask)?;
            }
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
            Op::Product(product) => self.product(env, shared, product, mask),
            Op::ProductWait(newest) => self.product_wait(shared, *newest, mask),
            Op::ProductFence => {
                self.products.fence();
                Ok(())
            }
            Op::ProductCommit => {
                self.products.commit();
                Ok(())
            }
            Op::ProxyFence => {
                self.publish(shared, mask);
                Ok(())
            }
            Op::Clock { d } => {
                let now = self.warp_instructions;
                (0..LANES).filter(|l| mask >> l & 1 == 1).for_each(|l| self.regs.set_bits(*d, l, now));
                Ok(())
            }
            Op::Trap => Err(Trouble::new(FaultKind::Trap, lane, None, "the kernel executed `trap`")),
            Op::Unknown(what) => {
                let message = format!("{what} is beyond this machine, an sm_80 that knows `wgmma` too");
                Err(Trouble::new(FaultKind::UnknownInstruction, lane, None, message))
            }
            Op::Nothing => Ok(()),
            Op::Fence(order) => self.ordered(env, *order, |_| Ok(())),
            other => self.collective(other, mask),
        }
    }
}

/// What follows a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    Next,
    /// The stack was changed.
    Jumped,
    /// Others go on first.
    Yield,
    Pause,
}
