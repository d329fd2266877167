//! Queues of launches in which ranks meet, with all their memory, and what each of them must write.
use gpu_kernels::all_reduce::meeting::{BLOCKS, MOST_RANKS, Meeting};
use gpu_kernels::{
    Argmax, Args, Gemv, OneShotAllArgmax, OneShotAllGather, OneShotAllReduce, PacketAllGather, Ptr, Role, SkinnyJoin,
    TwoShotAllReduce,
};
use half::bf16;
use nemotron_backend::device::PlannedKernel;
use ptx_emulator::{Launch, Memory, Module, Options, Queued};

use crate::emulator::DEVICES;
use crate::random::Random;

/// What ranks do together.
#[derive(Clone, Copy, PartialEq)]
pub enum Work {
    /// Sums in one shot, of f32.
    Sum,
    /// Sums in one shot, of f32 that the product in front sends.
    SumSent,
    /// Sums in one shot, of activations.
    SumRounded,
    /// Sums in one shot, of activations that the join in front sends.
    SumJoined,
    /// Sums in two shots.
    SumShares,
    Gather,
    /// Columns that are sent as packets.
    GatherSent,
    /// The best of all columns, which the choice in front sends of each rank's.
    Choose,
}

/// What follows each other, of so many rows, and columns or, of what stood in front, those: then a rank reads what others wrote.
pub const STEPS: [(Work, usize, Option<usize>); 24] = [
    (Work::Sum, 1, Some(48)),
    (Work::SumShares, 1, None),
    (Work::SumRounded, 1, None),
    (Work::Gather, 3, Some(43)),
    (Work::Sum, 1, Some(20)),
    (Work::Gather, 1, Some(44)),
    (Work::GatherSent, 3, Some(43)),
    (Work::GatherSent, 2, Some(20)),
    (Work::Sum, 1, None),
    (Work::SumSent, 1, Some(44)),
    (Work::SumSent, 2, Some(20)),
    (Work::Choose, 3, Some(17)),
    (Work::Sum, 1, Some(44)),
    (Work::SumJoined, 2, Some(40)),
    (Work::SumJoined, 9, Some(40)),
    (Work::Choose, 34, Some(4)),
    (Work::Choose, 1, Some(5)),
    (Work::SumRounded, 1, Some(88)),
    (Work::SumShares, 1, Some(104)),
    (Work::SumShares, 1, None),
    (Work::SumShares, 2, Some(40)),
    (Work::Gather, 2, Some(61)),
    (Work::SumRounded, 2, Some(40)),
    (Work::SumJoined, 1, Some(88)),
];
/// Likewise, of ranks that do not reach each other's memory.
pub const BY_PACKETS: [(Work, usize, Option<usize>); 11] = [
    (Work::Sum, 1, Some(48)),
    (Work::SumRounded, 1, None),
    (Work::GatherSent, 1, Some(44)),
    (Work::Sum, 1, None),
    (Work::Choose, 3, Some(17)),
    (Work::GatherSent, 3, Some(43)),
    (Work::SumRounded, 1, Some(88)),
    (Work::SumRounded, 2, Some(40)),
    (Work::Choose, 34, Some(4)),
    (Work::GatherSent, 2, Some(61)),
    (Work::Sum, 1, Some(44)),
];
/// Words that are sent as packets, of eight ranks' columns.
const PACKED: usize = 8 * 44;

/// Where ranks have their packets.
#[derive(Clone, Copy, PartialEq)]
pub enum Packets {
    /// Each in its own memory.
    Apart,
    /// In one area.
    Together,
}

/// A launch.
#[derive(Clone, Copy)]
pub enum Step {
    Product(Gemv),
    Join(SkinnyJoin),
    Best(Argmax),
    Choose(OneShotAllArgmax),
    Sum(OneShotAllReduce),
    SumShares(TwoShotAllReduce),
    Gather(OneShotAllGather),
    GatherSent(PacketAllGather),
}

impl Step {
    pub fn meeting(&mut self) -> Option<&mut Meeting> {
        match self {
            Step::Product(_) | Step::Join(_) | Step::Best(_) => None,
            Step::Choose(kernel) => Some(&mut kernel.meeting),
            Step::Sum(kernel) => Some(&mut kernel.meeting),
            Step::SumShares(kernel) => Some(&mut kernel.meeting),
            Step::Gather(kernel) => Some(&mut kernel.meeting),
            Step::GatherSent(kernel) => Some(&mut kernel.meeting),
        }
    }

    fn queued(&self) -> Queued {
        match self {
            Step::Product(kernel) => queued(kernel),
            Step::Join(kernel) => queued(kernel),
            Step::Best(kernel) => queued(kernel),
            Step::Choose(kernel) => queued(kernel),
            Step::Sum(kernel) => queued(kernel),
            Step::SumShares(kernel) => queued(kernel),
            Step::Gather(kernel) => queued(kernel),
            Step::GatherSent(kernel) => queued(kernel),
        }
    }
}

/// Values as they stand in memory.
#[derive(Clone)]
pub enum Values {
    F32(Vec<f32>),
    Act(Vec<f32>),
    /// Small integers.
    I32(Vec<f32>),
}

impl Values {
    fn numbers(&self) -> &[f32] {
        let (Values::F32(numbers) | Values::Act(numbers) | Values::I32(numbers)) = self;
        numbers
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Values::F32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Values::I32(values) => values.iter().flat_map(|value| (*value as i32).to_le_bytes()).collect(),
            Values::Act(values) => values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
        }
    }
}

/// All ranks' memory and launches.
pub struct Ranks {
    pub memory: Memory,
    pub abort: u64,
    pub faults: Vec<u64>,
    pub queues: Vec<Vec<Step>>,
    /// By launch: where each rank writes, and the values that all must write there.
    pub results: Vec<(Vec<u64>, Values)>,
}

impl Ranks {
    pub fn new(ranks: usize) -> Ranks {
        Ranks::of(ranks, Packets::Apart, &STEPS)
    }

    pub fn of(ranks: usize, place: Packets, steps: &[(Work, usize, Option<usize>)]) -> Ranks {
        let mut memory = Memory::new();
        let (mut flags, mut packets) = ([Ptr::NULL; MOST_RANKS], [Ptr::NULL; MOST_RANKS]);
        for rank in 0..ranks {
            flags[rank] = at(words(&mut memory, "flags", BLOCKS as usize * MOST_RANKS));
            packets[rank] = match place {
                Packets::Together if rank > 0 => packets[0],
                _ => at(words(&mut memory, "packets", 4 * ranks * PACKED)),
            };
        }
        let epochs: Vec<u64> = (0..ranks).map(|_| words(&mut memory, "epochs", BLOCKS as usize)).collect();
        let faults: Vec<u64> = (0..ranks).map(|_| words(&mut memory, "fault", 1)).collect();
        let abort = words(&mut memory, "abort", 1);
        let meeting = |rank: usize| Meeting {
            flags,
            packets,
            epochs: at(epochs[rank]),
            abort: at(abort),
            fault: at(faults[rank]),
            rank: rank as u32,
            ranks: ranks as u32,
            packed: PACKED as u32,
        };
        let meetings: Vec<Meeting> = (0..ranks).map(meeting).collect();
        let mut all = Ranks { memory, abort, faults, queues: vec![Vec::new(); ranks], results: Vec::new() };
        let mut random = Random::new(ranks as u64);
        for step in steps {
            all.push(*step, &meetings, &mut random);
        }
        all
    }

    /// Appends launches to the queue of each rank.
    fn push(&mut self, (work, rows, n): (Work, usize, Option<usize>), meetings: &[Meeting], random: &mut Random) {
        let (own, parts) = match n {
            Some(n) => self.new_parts(work, meetings.iter().map(|_| random.reals(rows * n, 1.0)).collect()),
            None => {
                let (results, values) = self.results.last().expect("something stands in front").clone();
                (vec![values.numbers().to_vec(); meetings.len()], results)
            }
        };
        let n = own[0].len() / rows;
        let want = match work {
            Work::Gather | Work::GatherSent => Values::F32(side_by_side(&own, n)),
            Work::Choose => Values::I32(best(&side_by_side(&own, n), rows)),
            _ => Values::Act(sums(&own)),
        };
        let bytes = want.bytes().len();
        let results: Vec<u64> = own.iter().map(|_| self.memory.allocate("y", bytes)).collect();
        let shape = [rows as u32, n as u32];
        for (rank, meeting) in meetings.iter().enumerate() {
            match work {
                Work::SumSent => self.push_product(&own[rank], meeting, shape),
                Work::SumJoined => self.push_join(&own[rank], meeting, shape),
                Work::Choose => {
                    self.push_choice(parts[rank], results[rank], meeting, shape);
                    continue;
                }
                _ => {}
            }
            self.queues[rank].push(step(work, *meeting, (&parts, &results), shape));
        }
        self.results.push((results, want));
    }

    /// What each rank has, and where.
    fn new_parts(&mut self, work: Work, own: Vec<Vec<f32>>) -> (Vec<Vec<f32>>, Vec<u64>) {
        let mut part = |own: &Vec<f32>| match work {
            Work::SumRounded | Work::SumJoined | Work::SumShares => {
                store(&mut self.memory, "x", &Values::Act(own.clone()).bytes())
            }
            _ => store(&mut self.memory, "x", &Values::F32(own.clone()).bytes()),
        };
        let parts = own.iter().map(&mut part).collect();
        (own, parts)
    }

    /// A join of two splits, one of which has what is a rank's own.
    fn push_join(&mut self, own: &[f32], meeting: &Meeting, [rows, n]: [u32; 2]) {
        let none = SkinnyJoin {
            partial: Ptr::NULL,
            bias: Ptr::NULL,
            residual: Ptr::NULL,
            y: Ptr::NULL,
            y_f32: Ptr::NULL,
            outbox: meeting.outbox(),
            rows,
            n,
            splits: 2,
            activation: 0,
        };
        let mut partial = vec![0.0; none.partials()];
        for (at, value) in (0u32..).zip(own) {
            partial[none.partial_index(at % 2, at % n, at / n)] = *value;
        }
        let partial = store(&mut self.memory, "partial", &Values::F32(partial).bytes());
        self.queues[meeting.rank as usize].push(Step::Join(SkinnyJoin { partial: at(partial), ..none }));
    }

    /// A choice among a rank's columns, and that among all; row l is that of slot l.
    fn push_choice(&mut self, logits: u64, results: u64, meeting: &Meeting, [rows, vocab]: [u32; 2]) {
        let slots = Values::I32((0..rows).map(|row| row as f32).collect());
        let (slots, sampled) = (at(store(&mut self.memory, "slots", &slots.bytes())), at(results));
        let faults = at(results + 4 * u64::from(rows));
        let (shared, counters, outbox) = (Ptr::NULL, Ptr::NULL, meeting.outbox());
        let best = Argmax { logits: at(logits), slots, sampled, faults, shared, counters, outbox, rows, vocab };
        let choice = OneShotAllArgmax { slots, sampled, faults, meeting: *meeting, rows };
        self.queues[meeting.rank as usize].extend([Step::Best(best), Step::Choose(choice)]);
    }

    /// A product whose results are a rank's own: each row of tokens chooses one column of the weight.
    fn push_product(&mut self, own: &[f32], meeting: &Meeting, [rows, n]: [u32; 2]) {
        let (mut w, mut x) = (vec![0.0; 8 * n as usize], vec![0.0; 8 * rows as usize]);
        for (row, values) in own.chunks(n as usize).enumerate() {
            x[9 * row] = 1.0;
            values.iter().enumerate().for_each(|(column, value)| w[8 * column + row] = *value);
        }
        let [x, w] = [x, w].map(|values| store(&mut self.memory, "operand", &Values::Act(values).bytes()));
        let product = Gemv { outbox: meeting.outbox(), ..Gemv::new(at(x), at(w), [rows, n, 8]) };
        self.queues[meeting.rank as usize].push(Step::Product(product));
    }

    /// Runs all queues; what went wrong, in words.
    pub fn run(&self, module: &Module, seed: u64) -> Result<(), String> {
        let queues: Vec<Vec<Queued>> =
            self.queues.iter().map(|queue| queue.iter().map(Step::queued).collect()).collect();
        let options = Options { instruction_budget: 1 << 21, ..Options::default() };
        module.launch_devices(&self.memory, &queues, seed, &options).map_err(|fault| fault.to_string())?;
        for (launch, (results, want)) in self.results.iter().enumerate() {
            for (rank, y) in results.iter().enumerate() {
                let want = want.bytes();
                let mut got = vec![0; want.len()];
                self.memory.read(*y, &mut got).map_err(|fault| fault.to_string())?;
                if got != want {
                    return Err(format!("rank {rank} has another result in launch {launch}"));
                }
            }
        }
        Ok(())
    }

    pub fn meetings_of(&mut self, rank: usize) -> impl Iterator<Item = &mut Meeting> {
        self.queues[rank].iter_mut().filter_map(Step::meeting)
    }

    pub fn word(&self, address: u64) -> i32 {
        let mut word = [0; 4];
        self.memory.read(address, &mut word).expect("it is there");
        i32::from_le_bytes(word)
    }
}

/// The launch of one rank, where all have their parts and results there.
fn step(work: Work, meeting: Meeting, (parts, results): (&[u64], &[u64]), [rows, n]: [u32; 2]) -> Step {
    let rank = meeting.rank as usize;
    let (x, y, bias, residual) = (parts[rank], results[rank], Ptr::NULL, Ptr::NULL);
    match work {
        Work::Gather => {
            let (x, x_act, y, y_f32) = (at(x), Ptr::NULL, [Ptr::NULL; MOST_RANKS], of_ranks(results));
            Step::Gather(OneShotAllGather { x, x_act, y, y_f32, meeting, rows, n })
        }
        Work::GatherSent => {
            let (x, x_act, y, y_f32) = (at(x), Ptr::NULL, Ptr::NULL, at(y));
            Step::GatherSent(PacketAllGather { x, x_act, y, y_f32, meeting, rows, n })
        }
        Work::Choose => unreachable!("it has another launch"),
        Work::Sum | Work::SumSent | Work::SumRounded | Work::SumJoined => {
            let (x, x_act, sent) = match work {
                Work::Sum => (at(x), Ptr::NULL, 0),
                Work::SumRounded => (Ptr::NULL, at(x), 0),
                Work::SumJoined => (Ptr::NULL, Ptr::NULL, 2),
                _ => (Ptr::NULL, Ptr::NULL, 1),
            };
            Step::Sum(OneShotAllReduce { x, x_act, sent, bias, residual, y: at(y), meeting, rows, n })
        }
        Work::SumShares => {
            let (x, y) = (of_ranks(parts), of_ranks(results));
            Step::SumShares(TwoShotAllReduce { x, bias, residual, y, meeting, rows, n })
        }
    }
}

/// Pointers of all ranks; null beyond the last.
fn of_ranks<R: Role>(addresses: &[u64]) -> [Ptr<R>; MOST_RANKS] {
    let mut pointers = [Ptr::NULL; MOST_RANKS];
    pointers.iter_mut().zip(addresses).for_each(|(pointer, address)| *pointer = at(*address));
    pointers
}

fn words(memory: &mut Memory, name: &str, count: usize) -> u64 {
    let address = memory.allocate(name, 4 * count);
    memory.write(address, &vec![0; 4 * count]).expect("it is there");
    address
}

/// A pointer on the device.
fn at<R: Role>(address: u64) -> Ptr<R> {
    let mut pointer = Ptr::new(0, 0);
    pointer.addr = address;
    pointer
}

/// New memory with these bytes.
fn store(memory: &mut Memory, name: &str, bytes: &[u8]) -> u64 {
    let address = memory.allocate(name, bytes.len());
    memory.write(address, bytes).expect("it is there");
    address
}

/// In f32, in the order of the ranks, rounded to bf16.
fn sums(parts: &[Vec<f32>]) -> Vec<f32> {
    let sum = |at: usize| parts[1..].iter().fold(parts[0][at], |sum, part| sum + part[at]);
    (0..parts[0].len()).map(|at| bf16::from_f32(sum(at)).to_f32()).collect()
}

/// The ids of the largest values of so many rows, then their faults.
fn best(values: &[f32], rows: usize) -> Vec<f32> {
    let id = |row: &[f32]| (0..row.len()).fold(0, |best, at| if row[at] > row[best] { at } else { best }) as f32;
    values.chunks(values.len() / rows).map(id).chain(vec![0.0; rows]).collect()
}

/// The columns of all ranks.
fn side_by_side(parts: &[Vec<f32>], n: usize) -> Vec<f32> {
    let rows = parts[0].len() / n;
    (0..rows).flat_map(|row| parts.iter().flat_map(move |part| &part[row * n..][..n]).copied()).collect()
}

fn queued<K: Args + PlannedKernel>(kernel: &K) -> Queued {
    let launch = PlannedKernel::launch(kernel, &DEVICES[0]);
    let mut params = vec![0; size_of_val(kernel)];
    Args::write(kernel, &mut params);
    let launch_of =
        Launch { grid: launch.grid, block: launch.block, shared_bytes: launch.shared_bytes, cluster: launch.cluster };
    Queued { entry: launch.symbol.to_owned(), launch: launch_of, params }
}
