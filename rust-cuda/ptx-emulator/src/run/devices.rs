//! Several devices at once: each runs the launches of its queue in order, all of them in turns on one thread.

use super::launch::{Slices, check, clusters};
use super::{Env, Launch, Options, Stats, cluster::Cluster};
use crate::fault::Fault;
use crate::memory::{Memory, view::Views};
use crate::module::Module;

/// Turns of a device without a store, a barrier or an exit anywhere, for each device, after which they are taken to wait for each
/// other in vain.
const IDLE_TURNS: u64 = 512;

/// A launch that waits in a device's queue.
#[derive(Clone, Debug)]
pub struct Queued {
    /// The entry to run.
    pub entry: String,
    /// Its shape; all its blocks run at once.
    pub launch: Launch,
    /// As of [`Module::launch`].
    pub params: Vec<u8>,
}

/// One device and what it is about to do.
struct Device<'a> {
    number: usize,
    queue: std::slice::Iter<'a, Queued>,
    env: Option<Env<'a>>,
    running: Vec<Cluster>,
}

/// Runs every queue to its end.
pub fn run(
    module: &Module,
    memory: &Memory,
    queues: &[Vec<Queued>],
    (seed, options): (u64, &Options),
) -> Result<Stats, Fault> {
    let views = Views::new(queues.len(), seed);
    let mut chance = Slices(Some(seed));
    // How soon stores become visible by themselves, from at once to hardly ever.
    let odds = [2, 64, 1 << 12, 1 << 20][chance.below(4) as usize];
    let mut devices: Vec<Device> = queues
        .iter()
        .enumerate()
        .map(|(number, queue)| Device { number, queue: queue.iter(), env: None, running: Vec::new() })
        .collect();
    let (mut stats, mut idle, mut last) = (Stats::default(), 0, 0);
    let mut burst = (0, 0);
    loop {
        let open: Vec<usize> = (0..devices.len()).filter(|d| devices[*d].is_busy()).collect();
        if open.is_empty() {
            return Ok(stats);
        }
        if burst.1 == 0 || !open.contains(&burst.0) {
            let turns = [1, 4, 64][chance.below(3) as usize];
            burst = (open[chance.below(open.len() as u64) as usize], turns);
        }
        burst.1 -= 1;
        let device = &mut devices[burst.0];
        device.begin(module, memory, &views, options)?;
        device.turn(&views, &mut chance, &mut stats)?;
        views.of(device.number).drain(memory, if device.is_busy() { odds } else { 1 });
        let progress = stats.blocks + devices.iter().flat_map(|d| &d.running).map(Cluster::progress).sum::<u64>();
        idle = if progress == last { idle + 1 } else { 0 };
        last = progress;
        if idle > IDLE_TURNS * queues.len() as u64
            && let Some((env, cluster)) = devices.iter().find_map(Device::waiting)
        {
            return Err(cluster.deadlocked(env));
        }
    }
}

impl<'a> Device<'a> {
    fn is_busy(&self) -> bool {
        self.env.is_some() || !self.queue.as_slice().is_empty()
    }

    fn waiting(&self) -> Option<(&Env<'a>, &Cluster)> {
        Some((self.env.as_ref()?, self.running.first()?))
    }

    /// Begins the next launch where none runs.
    fn begin(
        &mut self,
        module: &'a Module,
        memory: &'a Memory,
        views: &'a Views,
        options: &'a Options,
    ) -> Result<(), Fault> {
        let (None, Some(queued)) = (&self.env, self.queue.as_slice().first()) else { return Ok(()) };
        self.queue.next();
        let env = module.env(memory, queued, options, views.of(self.number))?;
        check(&env)?;
        self.running = (0..clusters(&env))
            .map(|number| {
                let mut cluster = Cluster::default();
                cluster.reset(&env, number);
                cluster
            })
            .collect();
        self.env = Some(env);
        Ok(())
    }

    /// Gives every block of the launch a turn.
    fn turn(&mut self, views: &Views, chance: &mut Slices, stats: &mut Stats) -> Result<(), Fault> {
        let Some(env) = &self.env else { return Ok(()) };
        let mut ended = Vec::new();
        for (at, cluster) in self.running.iter_mut().enumerate() {
            if cluster.turn(env, || [0, 4, 64, 512][chance.below(4) as usize])? {
                ended.push(at);
            }
        }
        for at in ended.into_iter().rev() {
            stats.add(&self.running.remove(at), u64::from(env.launch.cluster));
        }
        if self.running.is_empty() {
            views.of(self.number).end_launch();
            self.env = None;
        }
        Ok(())
    }
}
