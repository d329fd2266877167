//! `all_reduce` and `all_gather` on all of their ranks at once, in seeded random orders: what no release, wait or epoch orders comes
//! out wrong.
use gpu_kernels::all_reduce::meeting::{BLOCKS, MOST_RANKS, Meeting};
use gpu_kernels::{Args, OneShotAllGather, OneShotAllReduce, Ptr, Role};
use half::bf16;
use nemotron_backend::device::PlannedKernel;
use ptx_emulator::{Launch, Memory, Module, Options, Queued};

use crate::emulator::{DEVICES, ptx};
use crate::mutants::entry;
use crate::random::Random;

/// Rows and columns of what follows each other, and whether it is gathered or summed: halves of one launch lie across those of the
/// next, and pieces of 16 bytes beside those of 4.
const STEPS: [(bool, usize, usize); 9] = [
    (false, 1, 44),
    (true, 3, 43),
    (false, 3, 44),
    (false, 1, 20),
    (true, 1, 44),
    (false, 1, 44),
    (false, 1, 44),
    (true, 2, 61),
    (false, 2, 44),
];
const CAPACITY: usize = 132;
/// Elements that are sent as packets: of sums those of one row.
const PACKED: usize = 44;

/// A launch.
#[derive(Clone, Copy)]
enum Step {
    Sum(OneShotAllReduce),
    Gather(OneShotAllGather),
}

impl Step {
    fn meeting(&mut self) -> &mut Meeting {
        match self {
            Step::Sum(kernel) => &mut kernel.meeting,
            Step::Gather(kernel) => &mut kernel.meeting,
        }
    }

    fn queued(&self) -> Queued {
        match self {
            Step::Sum(kernel) => queued(kernel),
            Step::Gather(kernel) => queued(kernel),
        }
    }
}

/// All ranks' memory and launches.
struct Ranks {
    memory: Memory,
    abort: u64,
    faults: Vec<u64>,
    queues: Vec<Vec<Step>>,
    /// By launch: where each rank writes, and the bytes that all must write.
    results: Vec<(Vec<u64>, Vec<u8>)>,
}

impl Ranks {
    fn new(ranks: usize) -> Ranks {
        let mut memory = Memory::new();
        let (mut parts, mut flags) = ([Ptr::NULL; MOST_RANKS], [Ptr::NULL; MOST_RANKS]);
        let mut packets = [Ptr::NULL; MOST_RANKS];
        for rank in 0..ranks {
            parts[rank] = at(memory.allocate("parts", 8 * CAPACITY));
            flags[rank] = at(words(&mut memory, "flags", BLOCKS as usize * MOST_RANKS));
            packets[rank] = at(words(&mut memory, "packets", 4 * ranks * PACKED));
        }
        let epochs: Vec<u64> = (0..ranks).map(|_| words(&mut memory, "epochs", BLOCKS as usize)).collect();
        let faults: Vec<u64> = (0..ranks).map(|_| words(&mut memory, "fault", 1)).collect();
        let abort = words(&mut memory, "abort", 1);
        let meeting = |rank: usize| Meeting {
            parts,
            flags,
            packets,
            epochs: at(epochs[rank]),
            abort: at(abort),
            fault: at(faults[rank]),
            rank: rank as u32,
            ranks: ranks as u32,
            capacity: CAPACITY as u32,
            packed: PACKED as u32,
        };
        let meetings: Vec<Meeting> = (0..ranks).map(meeting).collect();
        let mut all = Ranks { memory, abort, faults, queues: vec![Vec::new(); ranks], results: Vec::new() };
        let mut random = Random::new(ranks as u64);
        for step in STEPS {
            all.push(step, &meetings, &mut random);
        }
        all
    }

    /// Appends a launch to the queue of each rank.
    fn push(&mut self, (gathers, rows, n): (bool, usize, usize), meetings: &[Meeting], random: &mut Random) {
        let own: Vec<Vec<f32>> = meetings.iter().map(|_| random.reals(rows * n, 1.0)).collect();
        let want = if gathers { side_by_side(&own, n) } else { sums(&own) };
        let mut results = Vec::new();
        for (rank, (meeting, own)) in meetings.iter().zip(&own).enumerate() {
            let bytes = bytes(own);
            let x = self.memory.allocate("x", bytes.len());
            self.memory.write(x, &bytes).expect("it is there");
            let y = self.memory.allocate("y", want.len());
            results.push(y);
            let (x, x_act, meeting, rows, n) = (at(x), Ptr::NULL, *meeting, rows as u32, n as u32);
            self.queues[rank].push(if gathers {
                Step::Gather(OneShotAllGather { x, x_act, y: Ptr::NULL, y_f32: at(y), meeting, rows, n })
            } else {
                let (bias, residual, sums) = (Ptr::NULL, Ptr::NULL, Ptr::NULL);
                Step::Sum(OneShotAllReduce { x, x_act, bias, residual, y: at(y), sums, meeting, rows, n })
            });
        }
        self.results.push((results, want));
    }

    /// Runs all queues; what went wrong, in words.
    fn run(&self, module: &Module, seed: u64) -> Result<(), String> {
        let queues: Vec<Vec<Queued>> =
            self.queues.iter().map(|queue| queue.iter().map(Step::queued).collect()).collect();
        let options = Options { instruction_budget: 1 << 20, ..Options::default() };
        module.launch_devices(&self.memory, &queues, seed, &options).map_err(|fault| fault.to_string())?;
        for (launch, (results, want)) in self.results.iter().enumerate() {
            for (rank, y) in results.iter().enumerate() {
                let mut got = vec![0; want.len()];
                self.memory.read(*y, &mut got).map_err(|fault| fault.to_string())?;
                if got != *want {
                    return Err(format!("rank {rank} has another result in launch {launch}"));
                }
            }
        }
        Ok(())
    }

    fn meetings_of(&mut self, rank: usize) -> impl Iterator<Item = &mut Meeting> {
        self.queues[rank].iter_mut().map(Step::meeting)
    }

    fn word(&self, address: u64) -> i32 {
        let mut word = [0; 4];
        self.memory.read(address, &mut word).expect("it is there");
        i32::from_le_bytes(word)
    }
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

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// In f32, in the order of the ranks, rounded to bf16.
fn sums(parts: &[Vec<f32>]) -> Vec<u8> {
    let sum = |at: usize| parts[1..].iter().fold(parts[0][at], |sum, part| sum + part[at]);
    (0..parts[0].len()).flat_map(|at| bf16::from_f32(sum(at)).to_le_bytes()).collect()
}

/// The columns of all ranks.
fn side_by_side(parts: &[Vec<f32>], n: usize) -> Vec<u8> {
    let rows = parts[0].len() / n;
    let row = |row: usize| parts.iter().flat_map(move |part| bytes(&part[row * n..][..n]));
    (0..rows).flat_map(row).collect()
}

fn queued<K: Args + PlannedKernel>(kernel: &K) -> Queued {
    let launch = PlannedKernel::launch(kernel, &DEVICES[0]);
    let mut params = vec![0; size_of_val(kernel)];
    Args::write(kernel, &mut params);
    let launch_of = Launch { grid: launch.grid, block: launch.block, shared_bytes: launch.shared_bytes };
    Queued { entry: launch.symbol.to_owned(), launch: launch_of, params }
}

/// The kernels with `edit` made of each line.
fn module(edit: impl Fn(&str) -> String) -> Module {
    let entries = ["all_reduce", "all_reduce_packets", "all_gather"].map(|name| entry(ptx(&DEVICES[0]), name));
    let lines: Vec<String> = entries.iter().flat_map(|(_, entry)| entry.lines()).map(edit).collect();
    Module::parse(&(entries[0].0.to_owned() + &lines.join("\n"))).expect("a mutant is PTX")
}

/// How many of `seeds` notice.
fn noticed(module: &Module, ranks: usize, seeds: u64, spoil: impl Fn(&mut Ranks)) -> usize {
    let notices = |seed: &u64| {
        let mut all = Ranks::new(ranks);
        spoil(&mut all);
        all.run(module, *seed).is_err()
    };
    (0..seeds).filter(notices).count()
}

#[test]
fn every_rank_has_the_sum_in_the_order_of_the_ranks() {
    let right = module(str::to_owned);
    for (ranks, seeds) in [(1, 2), (2, 24), (4, 12), (8, 6)] {
        for seed in 0..seeds {
            let all = Ranks::new(ranks);
            let ran = all.run(&right, seed);
            assert_eq!((ran, all.word(all.faults[0])), (Ok(()), 0), "{ranks} ranks, seed {seed}");
        }
    }
}

#[test]
fn a_dropped_order_is_noticed() {
    let edits = [
        ("a release that is none", "st.release.sys", "st.relaxed.sys"),
        ("a release within a GPU", "st.release.sys", "st.release.gpu"),
        ("an acquire that is none", "ld.acquire.sys", "ld.relaxed.sys"),
        ("an acquire within a GPU", "ld.acquire.sys", "ld.acquire.gpu"),
    ];
    for (name, from, to) in edits {
        let mutant = module(|line| line.replace(from, to));
        assert!(noticed(&mutant, 2, 12, |_| {}) > 0, "{name}");
    }
    let sync = module(|line| if line.trim().starts_with("bar.sync") { String::new() } else { line.to_owned() });
    assert!(noticed(&sync, 2, 12, |_| {}) > 0, "no barrier between the part and its flag");
}

#[test]
fn a_missing_wait_and_a_stale_epoch_are_noticed() {
    for (name, add) in [("no wait", 1 << 20), ("a wait for the epoch before", 1)] {
        let mutant = module(|line| match line.trim().strip_prefix("ld.acquire.sys.global.b32 ") {
            Some(operands) => {
                let flag = operands.split(',').next().expect("a destination");
                format!("{line}\nadd.s32 {flag}, {flag}, {add};")
            }
            None => line.to_owned(),
        });
        assert!(noticed(&mutant, 2, 12, |_| {}) > 0, "{name}");
    }
    let mutant = module(str::to_owned);
    let half = |all: &mut Ranks| {
        all.queues.iter_mut().flatten().for_each(|step| step.meeting().capacity = 0);
    };
    assert!(noticed(&mutant, 2, 24, half) > 0, "one half of the parts for all epochs");
}

#[test]
fn packets_of_another_epoch_are_noticed() {
    let edits = [
        ("values that are no whole", "st.relaxed.sys.global.v2.b64", "st.global.v2.b64"),
        ("values that are read early", "ld.relaxed.sys.global.v2.b64", "ld.global.v2.b64"),
    ];
    for (name, from, to) in edits {
        let mutant = module(|line| line.replace(from, to));
        assert!(noticed(&mutant, 2, 12, |_| {}) > 0, "{name}");
    }
    let other = |all: &mut Ranks| {
        all.meetings_of(1).for_each(|meeting| meeting.packets[0] = meeting.packets[1]);
    };
    assert!(noticed(&module(str::to_owned), 2, 4, other) > 0, "the packets of another");
}

#[test]
fn a_wrong_peer_is_noticed() {
    let right = module(str::to_owned);
    for ranks in [2, 4] {
        let flag = |all: &mut Ranks| {
            all.meetings_of(1).for_each(|meeting| meeting.flags[0] = meeting.flags[1]);
        };
        assert!(noticed(&right, ranks, 4, flag) > 0, "another is told, {ranks} ranks");
        let part = |all: &mut Ranks| {
            all.meetings_of(1).for_each(|meeting| meeting.parts[0] = meeting.parts[1]);
        };
        assert!(noticed(&right, ranks, 4, part) > 0, "the part of another, {ranks} ranks");
    }
    let word = |line: &str| match line.trim().starts_with("ld.acquire.sys") {
        true => line.replace("];", "+4];"),
        false => line.to_owned(),
    };
    assert!(noticed(&module(word), 2, 4, |_| {}) > 0, "the word of another");
}

#[test]
fn a_rank_that_does_not_come_ends_by_the_word_of_the_host_alone() {
    let right = module(str::to_owned);
    let mut all = Ranks::new(4);
    all.queues[2].clear();
    let waits = all.run(&right, 1).expect_err("nobody ends the wait");
    assert!(waits.contains("deadlock"), "{waits}");
    let mut all = Ranks::new(4);
    all.queues[2].clear();
    all.memory.write(all.abort, &1i32.to_le_bytes()).expect("it is there");
    let unwritten = all.run(&right, 1).expect_err("there is no sum");
    assert!(unwritten.contains("never written"), "{unwritten}");
    let faults: Vec<i32> = all.faults.iter().map(|fault| all.word(*fault)).collect();
    // The host has given up from the start, so they may name one that is only late.
    let named: Vec<bool> = faults.iter().map(|fault| *fault != 0).collect();
    assert_eq!(named, [true, true, false, true], "{faults:?}");
}
