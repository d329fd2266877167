//! A grid of blocks: in parallel on the host's cores, or all resident and in turns.

use super::{
    Env,
    cluster::{Cluster, IDLE_ROUNDS, MOST_BLOCKS},
};
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
    /// Blocks of a cluster, neighbours in x; 1 where each is for itself.
    pub cluster: u32,
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
    /// Adds what the blocks of a cluster have executed, and so many blocks that ran to their end.
    pub(crate) fn add(&mut self, cluster: &Cluster, blocks: u64) {
        for block in cluster.blocks() {
            self.thread_instructions += block.thread_instructions();
            self.warp_instructions += block.warp_instructions();
        }
        self.blocks += blocks;
    }
}

/// Instructions that a warp runs before the next block gets its turn.
const TURN: u64 = 256;
/// Runs every block of a launch.
pub(crate) fn launch(env: &Env) -> Result<Stats, Fault> {
    check(env)?;
    let clusters = clusters(env);
    if env.program.resident && clusters > 1 { in_turns(env, clusters) } else { in_parallel(env, clusters) }
}

/// Clusters of the grid.
pub fn clusters(env: &Env) -> u64 {
    env.launch.grid.iter().map(|&n| u64::from(n)).product::<u64>() / u64::from(env.launch.cluster)
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
    let cluster = env.launch.cluster;
    if cluster == 0 || cluster > MOST_BLOCKS || !env.launch.grid[0].is_multiple_of(cluster) {
        return bad(format!(
            "`{name}`: clusters of {cluster} blocks, of {} in x; {MOST_BLOCKS} is the most",
            env.launch.grid[0]
        ));
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

/// Clusters in order of their number, on as many threads as allowed. Of several faults that of the lowest is reported:
/// they are handed out in order, so every lower one has been started and is finished.
fn in_parallel(env: &Env, clusters: u64) -> Result<Stats, Fault> {
    let next = AtomicU64::new(0);
    let failed = AtomicU64::new(u64::MAX);
    let outcome = Mutex::new((Stats::default(), None::<(u64, Fault)>));
    let work = || {
        let mut cluster = Cluster::default();
        let (mut done, mut fault) = (0, None);
        loop {
            let number = next.fetch_add(1, Relaxed);
            if number >= clusters || number > failed.load(Relaxed) {
                break;
            }
            cluster.reset(env, number);
            // Long slices for a block alone: its warps wait for each other at barriers, rarely by polling shared memory.
            let turn = if env.launch.cluster > 1 { TURN } else { 1 << 16 };
            let chance = env.options.shuffle.filter(|_| env.launch.cluster > 1);
            let mut slices = Slices(chance.map(|seed| seed.wrapping_add(number)));
            match cluster.run(env, || slices.next(turn)) {
                Ok(()) => done += u64::from(env.launch.cluster),
                Err(found) => {
                    failed.fetch_min(number, Relaxed);
                    fault = Some((number, found));
                    break;
                }
            }
        }
        let mut outcome = outcome.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        outcome.0.add(&cluster, done);
        if let Some(found) = fault
            && outcome.1.as_ref().is_none_or(|earlier| found.0 < earlier.0)
        {
            outcome.1 = Some(found);
        }
    };
    let threads = env.options.threads.clamp(1, clusters.min(1 << 10) as usize);
    std::thread::scope(|scope| {
        (1..threads).for_each(|_| drop(scope.spawn(work)));
        work();
    });
    let (stats, fault) = outcome.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    fault.map_or(Ok(stats), |(_, fault)| Err(fault))
}

/// Clusters on one thread, each for a short turn: they may wait for each other. One that ends makes room for the next.
fn in_turns(env: &Env, clusters: u64) -> Result<Stats, Fault> {
    let mut running: Vec<Cluster> = Vec::new();
    let mut waiting = 0..clusters;
    for number in waiting.by_ref().take((env.options.resident / env.launch.cluster as usize).max(1)) {
        let mut cluster = Cluster::default();
        cluster.reset(env, number);
        running.push(cluster);
    }
    let mut stats = Stats::default();
    let (mut last, mut idle) = (0, 0);
    let mut slices = Slices(env.options.shuffle);
    while !running.is_empty() {
        let mut ended = Vec::new();
        for (at, cluster) in running.iter_mut().enumerate() {
            if cluster.turn(env, || slices.next(TURN))? {
                ended.push(at);
            }
        }
        for at in ended.into_iter().rev() {
            stats.blocks += u64::from(env.launch.cluster);
            match waiting.next() {
                Some(number) => running[at].reset(env, number),
                None => stats.add(&running.remove(at), 0),
            }
        }
        let progress = stats.blocks + running.iter().map(Cluster::progress).sum::<u64>();
        idle = if progress == last { idle + 1 } else { 0 };
        last = progress;
        if let (IDLE_ROUNDS, Some(cluster)) = (idle, running.first()) {
            return Err(cluster.deadlocked(env));
        }
    }
    Ok(stats)
}

/// How many instructions a warp runs before the next one's turn.
pub struct Slices(pub Option<u64>);

impl Slices {
    /// `turn`, or as many as SplitMix64 (Steele and others, 2014) says: none, a few or many, equally often.
    fn next(&mut self, turn: u64) -> u64 {
        if self.0.is_none() { turn } else { [0, 4, 64, 1 << 16][self.below(4) as usize] }
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
