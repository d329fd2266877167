//! A grid of blocks: in parallel on the host's cores, or all resident and in turns.

use super::{Env, block::Block};
use crate::fault::{Fault, FaultKind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Shape of a launch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Launch {
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z; at most 1024 together.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory per block.
    pub shared_bytes: u32,
}

/// How a launch is run; the results of a right kernel do not depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Host threads at most.
    pub threads: usize,
    /// Instructions that one warp may execute before it counts as a runaway.
    pub instruction_budget: u64,
    /// Blocks at most that take turns, where a kernel could wait for another block. With one, a kernel that waits is a
    /// [`FaultKind::Deadlock`].
    pub resident: usize,
    /// Lets warps of different blocks run for random numbers of instructions in turn, from this seed on, so that what nothing
    /// orders comes out of order.
    pub shuffle: Option<u64>,
}

impl Default for Options {
    /// Every core of the host, 2²⁶ instructions per warp, 512 resident blocks: more than any GPU holds of a kernel that waits.
    fn default() -> Options {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        Options { threads, instruction_budget: 1 << 26, resident: 512, shuffle: None }
    }
}

/// What a launch did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Instructions times the lanes that were active in each.
    pub thread_instructions: u64,
    /// Instructions that warps executed.
    pub warp_instructions: u64,
    /// Blocks that ran to their end.
    pub blocks: u64,
}

impl Stats {
    pub(crate) fn add(&mut self, block: &Block, blocks: u64) {
        self.thread_instructions += block.thread_instructions();
        self.warp_instructions += block.warp_instructions();
        self.blocks += blocks;
    }
}

/// Instructions that a warp runs before the next block gets its turn.
const TURN: u64 = 256;
/// Rounds of turns without a store, a barrier or an exit after which the blocks are taken to wait for each other in vain.
const IDLE_ROUNDS: u64 = 4096;

/// Runs every block of a launch.
pub(crate) fn launch(env: &Env) -> Result<Stats, Fault> {
    check(env)?;
    let blocks = env.launch.grid.iter().map(|&n| u64::from(n)).product();
    if env.program.resident && blocks > 1 { in_turns(env, blocks) } else { in_parallel(env, blocks) }
}

pub fn check(env: &Env) -> Result<(), Fault> {
    let bad = |message: String| Err(Fault::new(FaultKind::BadLaunch, None, message));
    let name = &env.program.name;
    if env.launch.grid.contains(&0) || env.launch.block.contains(&0) {
        return bad(format!(
            "`{name}`: a grid of {:?} blocks of {:?} threads is empty",
            env.launch.grid, env.launch.block
        ));
    }
    let threads: u64 = env.launch.block.iter().map(|&n| u64::from(n)).product();
    if threads > 1024 {
        return bad(format!("`{name}`: a block of {threads} threads, but 1024 is the most"));
    }
    if env.params.len() != env.program.params {
        let (want, got) = (env.program.params, env.params.len());
        return bad(format!("`{name}` takes {want} bytes of parameters, {got} were given"));
    }
    Ok(())
}

pub fn position(env: &Env, number: u64) -> [u32; 3] {
    let [x, y, _] = env.launch.grid.map(u64::from);
    [(number % x) as u32, (number / x % y) as u32, (number / (x * y)) as u32]
}

/// Blocks in order of their number, on as many threads as allowed. Of several faults the lowest block's is reported:
/// blocks are handed out in order, so every lower one has been started and is finished.
fn in_parallel(env: &Env, blocks: u64) -> Result<Stats, Fault> {
    let next = AtomicU64::new(0);
    let failed = AtomicU64::new(u64::MAX);
    let outcome = Mutex::new((Stats::default(), None::<(u64, Fault)>));
    let work = || {
        let mut block = Block::default();
        let (mut done, mut fault) = (0, None);
        loop {
            let number = next.fetch_add(1, Relaxed);
            if number >= blocks || number > failed.load(Relaxed) {
                break;
            }
            block.reset(env, position(env, number));
            match block.run(env) {
                Ok(()) => done += 1,
                Err(found) => {
                    failed.fetch_min(number, Relaxed);
                    fault = Some((number, found));
                    break;
                }
            }
        }
        let mut outcome = outcome.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        outcome.0.add(&block, done);
        if let Some(found) = fault
            && outcome.1.as_ref().is_none_or(|earlier| found.0 < earlier.0)
        {
            outcome.1 = Some(found);
        }
    };
    let threads = env.options.threads.clamp(1, blocks.min(1 << 10) as usize);
    std::thread::scope(|scope| {
        (1..threads).for_each(|_| drop(scope.spawn(work)));
        work();
    });
    let (stats, fault) = outcome.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    fault.map_or(Ok(stats), |(_, fault)| Err(fault))
}

/// Blocks on one thread, each for a short turn: they may wait for each other. One that ends makes room for the next.
fn in_turns(env: &Env, blocks: u64) -> Result<Stats, Fault> {
    let mut running: Vec<Block> = Vec::new();
    let mut waiting = 0..blocks;
    for number in waiting.by_ref().take(env.options.resident.max(1)) {
        let mut block = Block::default();
        block.reset(env, position(env, number));
        running.push(block);
    }
    let mut stats = Stats::default();
    let (mut last, mut idle) = (0, 0);
    let mut slices = Slices(env.options.shuffle);
    while !running.is_empty() {
        let mut ended = Vec::new();
        for (at, block) in running.iter_mut().enumerate() {
            if block.turn(env, || slices.next())? {
                ended.push(at);
            }
        }
        for at in ended.into_iter().rev() {
            stats.blocks += 1;
            match waiting.next() {
                Some(number) => running[at].reset(env, position(env, number)),
                None => stats.add(&running.remove(at), 0),
            }
        }
        let progress = stats.blocks + running.iter().map(Block::progress).sum::<u64>();
        idle = if progress == last { idle + 1 } else { 0 };
        last = progress;
        if let (IDLE_ROUNDS, Some(block)) = (idle, running.first()) {
            return Err(block.deadlocked(env));
        }
    }
    Ok(stats)
}

/// How many instructions a warp runs before the next one's turn.
pub struct Slices(pub Option<u64>);

impl Slices {
    /// [`TURN`], or as many as SplitMix64 (Steele and others, 2014) says: none, a few or many, equally often.
    fn next(&mut self) -> u64 {
        if self.0.is_none() { TURN } else { [0, 4, 64, 1 << 16][self.below(4) as usize] }
    }

    /// A number below `bound`; 0 without a seed.
    pub fn below(&mut self, bound: u64) -> u64 {
        let Some(state) = &mut self.0 else { return 0 };
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        // The high bits.
        ((u128::from(mixed) * u128::from(bound)) >> 64) as u64
    }
}
