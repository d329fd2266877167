//! One block: its warps in a fixed order, its shared memory, its barriers.

use super::{
    Env, collective,
    mailbox::Sent,
    warp::{Pause, Warp},
};
use crate::fault::{Fault, FaultKind, Place, Trouble};
use crate::lanes::{FULL, LANES};
use crate::memory::{clock::Knowledge, shared::Shared, stamp::MAX_CLOCK};
use crate::program::{Barrier, BarrierKind, Op, Vote};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Running,
    /// At the barrier that is the instruction at this index.
    Waiting(u32),
    /// At the cluster's barrier.
    AtCluster,
    Done,
}

/// Threads that a warp has announced at a named barrier without waiting.
struct Arrival {
    id: u32,
    knows: Knowledge,
}

#[derive(Default)]
pub struct Block {
    pub position: [u32; 3],
    warps: Vec<Warp>,
    states: Vec<State>,
    arrivals: Vec<Arrival>,
    /// What warps knew that came to the cluster's barrier with a release.
    released: Knowledge,
    /// What warps knew that came to the cluster's barrier, and the same each time that all had.
    left: Knowledge,
    handed: Vec<Knowledge>,
    pub shared: Shared,
    /// Where the next block's clocks begin, so that the stamps of this one need not be cleared.
    next_clock: u32,
    /// Barriers passed and warps ended.
    events: u64,
}

impl Block {
    /// Prepares for the block at `position`.
    pub fn reset(&mut self, env: &Env, position: [u32; 3]) {
        self.position = position;
        if self.next_clock == 0 || self.next_clock > MAX_CLOCK / 2 {
            self.next_clock = 1;
        }
        let count = (env.threads() as usize).div_ceil(LANES);
        while self.warps.len() < count {
            self.warps.push(Warp::new(self.warps.len()));
        }
        self.warps.truncate(count);
        let clock = self.next_clock;
        self.warps.iter_mut().for_each(|w| w.reset(env, position, clock));
        self.states = vec![State::Running; count];
        self.arrivals.clear();
        (self.released, self.left) = (Knowledge::default(), Knowledge::default());
        self.handed.clear();
        self.shared.reset(env.program.static_shared + env.launch.shared_bytes as usize, clock);
    }

    /// Runs every warp that can run for at most `slice()` instructions; `true` when the block has ended.
    pub fn turn(&mut self, env: &Env, mut slice: impl FnMut() -> u64) -> Result<bool, Fault> {
        let mut ran = false;
        for index in 0..self.warps.len() {
            let slice = slice();
            while self.states[index] == State::Running {
                ran = true;
                if slice == 0 {
                    break;
                }
                match self.run_warp(env, index, slice)? {
                    Pause::Slice => break,
                    Pause::Done => {
                        self.states[index] = State::Done;
                        self.events += 1;
                    }
                    Pause::Barrier => self.arrive(env, index)?,
                }
            }
        }
        let released = self.release(env)?;
        if self.states.iter().all(|s| *s == State::Done) {
            self.next_clock = self.warps.iter().map(|w| w.clocks.now).max().unwrap_or(0) + 1;
            return self.check_mailboxes(env).map(|()| true);
        }
        if !ran && !released && !self.states.contains(&State::AtCluster) {
            return Err(self.stuck(env));
        }
        Ok(false)
    }

    fn run_warp(&mut self, env: &Env, index: usize, slice: u64) -> Result<Pause, Fault> {
        let warp = &mut self.warps[index];
        warp.run(env, &mut self.shared, slice).map_err(|trouble| self.locate(env, index, *trouble))
    }

    fn locate(&self, env: &Env, warp: usize, trouble: Trouble) -> Fault {
        self.locate_at(env, (warp, self.warps[warp].pc), trouble)
    }

    /// The fault of a warp at an instruction.
    pub fn locate_at(&self, env: &Env, (warp, pc): (usize, u32), trouble: Trouble) -> Fault {
        let thread = env.thread((warp * LANES + trouble.lane) as u32);
        let line = env.program.metas[pc as usize].line;
        let kernel = env.program.name.clone();
        let place = Place { kernel, line, text: String::new(), block: self.position, thread };
        Fault { place: Some(Box::new(place)), ..trouble.fault }
    }

    /// A sum that grows with everything that others may be waiting for.
    pub fn progress(&self) -> u64 {
        self.events + self.warps.iter().map(|w| w.stores).sum::<u64>()
    }

    pub fn thread_instructions(&self) -> u64 {
        self.warps.iter().map(|w| w.thread_instructions).sum()
    }

    pub fn warp_instructions(&self) -> u64 {
        self.warps.iter().map(|w| w.warp_instructions).sum()
    }

    fn barrier<'p>(&self, env: &Env<'p>, at: u32) -> Option<&'p Barrier> {
        match &env.program.insts[at as usize].op {
            Op::Barrier(barrier) => Some(barrier),
            _ => None,
        }
    }

    /// A warp has reached the barrier at its `pc`.
    fn arrive(&mut self, env: &Env, index: usize) -> Result<(), Fault> {
        let at = self.warps[index].pc;
        match env.program.insts[at as usize].op {
            Op::ClusterArrive { release } => return self.arrive_at_cluster(env, index, release),
            Op::ClusterWait => return self.wait_at_cluster(env, index),
            _ => {}
        }
        match self.barrier(env, at) {
            Some(barrier) if matches!(barrier.kind, BarrierKind::Arrive) => {
                let id = self.operand(index, barrier.id);
                let mut knows = Knowledge::default();
                knows.add(&self.warps[index].clocks);
                // What the warp does from here on is ordered before nothing that waits there.
                self.warps[index].clocks.tick();
                self.arrivals.push(Arrival { id, knows });
            }
            _ => self.states[index] = State::Waiting(at),
        }
        Ok(())
    }

    fn arrive_at_cluster(&mut self, env: &Env, index: usize, release: bool) -> Result<(), Fault> {
        let warp = &mut self.warps[index];
        if warp.arrivals > warp.waits {
            return Err(self.disordered(env, index, "arrives at the cluster's barrier again, without a wait between"));
        }
        warp.announce(&mut self.shared, release);
        if release {
            self.released.add(&warp.clocks);
        }
        self.left.add(&warp.clocks);
        warp.clocks.tick();
        self.events += 1;
        Ok(())
    }

    fn wait_at_cluster(&mut self, env: &Env, index: usize) -> Result<(), Fault> {
        let warp = &self.warps[index];
        if warp.arrivals == warp.waits {
            return Err(self.disordered(env, index, "waits at the cluster's barrier without having arrived"));
        }
        self.states[index] = State::AtCluster;
        Ok(())
    }

    fn disordered(&self, env: &Env, index: usize, message: &str) -> Fault {
        let lane = self.warps[index].live.trailing_zeros() as usize % LANES;
        self.locate(env, index, *Trouble::new(FaultKind::DivergentBarrier, lane, None, message))
    }

    /// How often all warps that still run have come to the cluster's barrier; none where none runs.
    pub fn cluster_arrivals(&self) -> Option<u32> {
        let running = self.warps.iter().zip(&self.states).filter(|(_, state)| **state != State::Done);
        running.map(|(warp, _)| warp.arrivals).min()
    }

    /// Lets warps go on that wait at the cluster's barrier, to which all have come so often.
    pub fn pass_cluster(&mut self, arrivals: u32) {
        if self.handed.len() < arrivals as usize && arrivals != u32::MAX {
            self.handed.push(self.left);
        }
        let passes = |w: &usize| self.states[*w] == State::AtCluster && self.warps[*w].arrivals <= arrivals;
        let passing: Vec<usize> = (0..self.warps.len()).filter(passes).collect();
        if passing.is_empty() {
            return;
        }
        for w in passing {
            self.released.acquire(&mut self.warps[w].clocks);
            self.warps[w].waits = self.warps[w].arrivals;
            self.states[w] = State::Running;
        }
        self.events += 1;
    }

    /// Takes words that a block of the cluster sends which had waited `waits` times at its barrier; whether their place is free.
    pub fn receive(&mut self, to: usize, data: &[u8], waits: u32) -> bool {
        let handed = (waits as usize).checked_sub(1).and_then(|last| self.handed.get(last));
        self.shared.begin_receipt(to, data, handed.unwrap_or(&Knowledge::default()))
    }

    /// What the warps have sent to blocks of the cluster.
    pub fn sent(&mut self) -> impl Iterator<Item = Sent> {
        self.warps.iter_mut().flat_map(|warp| std::mem::take(&mut warp.sent))
    }

    /// The block has ended: as many bytes have come as it expected.
    fn check_mailboxes(&self, env: &Env) -> Result<(), Fault> {
        let Some((at, _)) = self.shared.mailboxes.iter().find(|(_, mailbox)| mailbox.is_uneven()) else {
            return Ok(());
        };
        let message = "the block ends, and its mbarrier expects other bytes than have come";
        Err(self.locate(env, 0, *Trouble::new(FaultKind::ClusterRace, 0, Some(*at as u64), message)))
    }

    fn operand(&self, warp: usize, slot: u32) -> u32 {
        let lane = self.warps[warp].live.trailing_zeros() as usize % LANES;
        self.warps[warp].regs.r32[slot as usize][lane]
    }

    /// The barrier's number and, where given, its count of threads.
    fn asked(&self, env: &Env, warp: usize, at: u32) -> (u32, Option<u32>) {
        self.barrier(env, at)
            .map_or((0, None), |b| (self.operand(warp, b.id), b.threads.map(|slot| self.operand(warp, slot))))
    }

    /// Lets the warps of every complete barrier go on; `true` if there was one.
    fn release(&mut self, env: &Env) -> Result<bool, Fault> {
        let mut released = false;
        for first in 0..self.warps.len() {
            let State::Waiting(at) = self.states[first] else { continue };
            let (id, threads) = self.asked(env, first, at);
            let waiting: Vec<usize> = (0..self.warps.len())
                .filter(|&w| matches!(self.states[w], State::Waiting(at) if self.asked(env, w, at).0 == id))
                .collect();
            let running = self.states.iter().filter(|s| **s != State::Done).count();
            let arrived = self.arrivals.iter().filter(|a| a.id == id).count();
            let complete = match threads {
                None => waiting.len() == running,
                Some(threads) => (waiting.len() + arrived) * LANES >= threads as usize,
            };
            if !complete {
                continue;
            }
            if let (None, Some(&other)) = (threads, waiting.iter().find(|&&w| self.states[w] != State::Waiting(at))) {
                return Err(self.mismatched(env, first, other));
            }
            self.complete(env, id, &waiting, threads.is_none());
            released = true;
        }
        Ok(released)
    }

    fn complete(&mut self, env: &Env, id: u32, waiting: &[usize], all: bool) {
        let mut together = Knowledge::default();
        waiting.iter().for_each(|&w| together.add(&self.warps[w].clocks));
        self.arrivals.iter().filter(|a| a.id == id).for_each(|a| together.merge(&a.knows));
        self.arrivals.retain(|a| a.id != id);
        self.reduce(env, waiting);
        together.share(self.warps.iter_mut().map(|w| &mut w.clocks), waiting, all);
        for &w in waiting {
            self.states[w] = State::Running;
        }
        self.events += 1;
    }

    /// `bar.red`: joins the predicates of all waiting threads and hands each the result.
    fn reduce(&mut self, env: &Env, waiting: &[usize]) {
        let part = |block: &Block, w: usize| match (block.states[w], &block.warps[w]) {
            (State::Waiting(at), warp) => block.barrier(env, at).and_then(|b| match b.kind {
                BarrierKind::Reduce { mode, d, p, negated } => {
                    let votes = (warp.regs.pred[p as usize] ^ if negated { FULL } else { 0 }) & warp.live;
                    Some((mode, d, votes, warp.live))
                }
                _ => None,
            }),
            _ => None,
        };
        let parts: Vec<_> = waiting.iter().filter_map(|&w| part(self, w).map(|p| (w, p))).collect();
        let Some((_, (mode, ..))) = parts.first() else { return };
        let counts = parts.iter().map(|(_, (mode, _, votes, live))| collective::count(*mode, *votes, *live));
        let result = match mode {
            Vote::Count => counts.sum(),
            Vote::All => u32::from(counts.min() == Some(1)),
            _ => u32::from(counts.max() == Some(1)),
        };
        for (w, (_, d, _, live)) in parts {
            let regs = &mut self.warps[w].regs;
            (0..LANES).filter(|l| live >> l & 1 == 1).for_each(|l| regs.set_bits(d, l, u64::from(result)));
        }
    }

    fn mismatched(&self, env: &Env, first: usize, other: usize) -> Fault {
        let line = |w: usize| env.program.metas[self.warps[w].pc as usize].line;
        let message = format!(
            "warp {first} waits at the barrier of line {}, warp {other} at that of line {}",
            line(first),
            line(other)
        );
        let lane = self.warps[first].live.trailing_zeros() as usize;
        self.locate(env, first, *Trouble::new(FaultKind::DivergentBarrier, lane, None, message))
    }

    /// No warp can go on.
    fn stuck(&self, env: &Env) -> Fault {
        let waiting = (0..self.warps.len()).find(|&w| matches!(self.states[w], State::Waiting(_))).unwrap_or(0);
        let (id, threads) = self.asked(env, waiting, self.warps[waiting].pc);
        let at: Vec<String> = (0..self.warps.len())
            .filter_map(|w| match self.states[w] {
                State::Waiting(at) => Some(format!("warp {w} at line {}", env.program.metas[at as usize].line)),
                _ => None,
            })
            .collect();
        let want = threads.map_or("every thread".to_string(), |t| format!("{t} threads"));
        let message = format!("barrier {id} waits for {want} and can never have them ({})", at.join(", "));
        let lane = self.warps[waiting].live.trailing_zeros() as usize % LANES;
        self.locate(env, waiting, *Trouble::new(FaultKind::DivergentBarrier, lane, None, message))
    }

    /// The fault of a block that waits for other blocks in vain, at the first warp that still runs.
    pub fn deadlocked(&self, env: &Env) -> Fault {
        let warp = self.states.iter().position(|s| *s == State::Running).unwrap_or(0);
        let message = "every block waits for another, and none has stored anything for a long time";
        let lane = self.warps[warp].live.trailing_zeros() as usize % LANES;
        self.locate(env, warp, *Trouble::new(FaultKind::Deadlock, lane, None, message))
    }
}
