//! `all_reduce` on all of its ranks at once, in seeded random orders: what no release, wait or epoch orders comes out wrong.
use gpu_kernels::all_reduce::{BLOCKS, MOST_RANKS};
use gpu_kernels::{Args, OneShotAllReduce, Ptr, Role};
use half::bf16;
use nemotron_backend::device::PlannedKernel;
use ptx_emulator::{Launch, Memory, Module, Options, Queued};

use crate::emulator::{DEVICES, ptx};
use crate::mutants::entry;
use crate::random::Random;

/// Rows of the sums that follow each other: halves of one launch lie across those of the next.
const ROWS: [usize; 5] = [1, 3, 1, 2, 3];
const N: usize = 44;
const CAPACITY: usize = 3 * N;

/// All ranks' memory and launches.
struct Meeting {
    memory: Memory,
    abort: u64,
    faults: Vec<u64>,
    queues: Vec<Vec<OneShotAllReduce>>,
    /// By launch: where each rank writes, and the bits that all must write.
    results: Vec<(Vec<u64>, Vec<u16>)>,
}

impl Meeting {
    fn new(ranks: usize) -> Meeting {
        let mut memory = Memory::new();
        let (mut parts, mut flags) = ([Ptr::NULL; MOST_RANKS], [Ptr::NULL; MOST_RANKS]);
        for rank in 0..ranks {
            parts[rank] = at(memory.allocate("parts", 8 * CAPACITY));
            flags[rank] = at(words(&mut memory, "flags", BLOCKS as usize * MOST_RANKS));
        }
        let epochs: Vec<u64> = (0..ranks).map(|_| words(&mut memory, "epochs", BLOCKS as usize)).collect();
        let faults: Vec<u64> = (0..ranks).map(|_| words(&mut memory, "fault", 1)).collect();
        let abort = words(&mut memory, "abort", 1);
        let mut meeting = Meeting { memory, abort, faults, queues: vec![Vec::new(); ranks], results: Vec::new() };
        let mut random = Random::new(ranks as u64);
        for rows in ROWS {
            let own: Vec<Vec<f32>> = (0..ranks).map(|_| random.reals(rows * N, 1.0)).collect();
            let y = (0..ranks).map(|_| meeting.memory.allocate("y", 2 * rows * N)).collect::<Vec<_>>();
            for (rank, own) in own.iter().enumerate() {
                let bytes: Vec<u8> = own.iter().flat_map(|x| x.to_le_bytes()).collect();
                let x = meeting.memory.allocate("x", bytes.len());
                meeting.memory.write(x, &bytes).expect("it is there");
                meeting.queues[rank].push(OneShotAllReduce {
                    x: at(x),
                    x_act: Ptr::NULL,
                    bias: Ptr::NULL,
                    residual: Ptr::NULL,
                    y: at(y[rank]),
                    sums: Ptr::NULL,
                    parts,
                    flags,
                    epochs: at(epochs[rank]),
                    abort: at(abort),
                    fault: at(meeting.faults[rank]),
                    rank: rank as u32,
                    ranks: ranks as u32,
                    rows: rows as u32,
                    n: N as u32,
                    capacity: CAPACITY as u32,
                });
            }
            meeting.results.push((y, sums(&own)));
        }
        meeting
    }

    /// Runs all queues; what went wrong, in words.
    fn run(&self, module: &Module, seed: u64) -> Result<(), String> {
        let queues: Vec<Vec<Queued>> = self.queues.iter().map(|queue| queue.iter().map(queued).collect()).collect();
        let options = Options { instruction_budget: 1 << 20, ..Options::default() };
        module.launch_devices(&self.memory, &queues, seed, &options).map_err(|fault| fault.to_string())?;
        for (launch, (results, want)) in self.results.iter().enumerate() {
            for (rank, y) in results.iter().enumerate() {
                let mut bytes = vec![0; 2 * want.len()];
                self.memory.read(*y, &mut bytes).map_err(|fault| fault.to_string())?;
                let got: Vec<u16> = bytes.as_chunks().0.iter().map(|code| u16::from_le_bytes(*code)).collect();
                if got != *want {
                    return Err(format!("rank {rank} has another sum in launch {launch}"));
                }
            }
        }
        Ok(())
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

/// In f32, in the order of the ranks.
fn sums(parts: &[Vec<f32>]) -> Vec<u16> {
    let sum = |at: usize| parts[1..].iter().fold(parts[0][at], |sum, part| sum + part[at]);
    (0..parts[0].len()).map(|at| bf16::from_f32(sum(at)).to_bits()).collect()
}

fn queued(kernel: &OneShotAllReduce) -> Queued {
    let launch = PlannedKernel::launch(kernel, &DEVICES[0]);
    let mut params = vec![0; size_of_val(kernel)];
    Args::write(kernel, &mut params);
    let launch_of = Launch { grid: launch.grid, block: launch.block, shared_bytes: launch.shared_bytes };
    Queued { entry: launch.symbol.to_owned(), launch: launch_of, params }
}

/// The kernel with `edit` made of each line.
fn module(edit: impl Fn(&str) -> String) -> Module {
    let (head, entry) = entry(ptx(&DEVICES[0]), "all_reduce");
    let lines: Vec<String> = entry.lines().map(edit).collect();
    Module::parse(&(head.to_owned() + &lines.join("\n"))).expect("a mutant is PTX")
}

/// How many of `seeds` notice.
fn noticed(module: &Module, ranks: usize, seeds: u64, spoil: impl Fn(&mut Meeting)) -> usize {
    let notices = |seed: &u64| {
        let mut meeting = Meeting::new(ranks);
        spoil(&mut meeting);
        meeting.run(module, *seed).is_err()
    };
    (0..seeds).filter(notices).count()
}

#[test]
fn every_rank_has_the_sum_in_the_order_of_the_ranks() {
    let right = module(str::to_owned);
    for (ranks, seeds) in [(1, 2), (2, 24), (4, 12), (8, 6)] {
        for seed in 0..seeds {
            let meeting = Meeting::new(ranks);
            let ran = meeting.run(&right, seed);
            assert_eq!((ran, meeting.word(meeting.faults[0])), (Ok(()), 0), "{ranks} ranks, seed {seed}");
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
    let half = |meeting: &mut Meeting| {
        meeting.queues.iter_mut().flatten().for_each(|kernel| kernel.capacity = 0);
    };
    assert!(noticed(&mutant, 2, 24, half) > 0, "one half of the parts for all epochs");
}

#[test]
fn a_wrong_peer_is_noticed() {
    let right = module(str::to_owned);
    for ranks in [2, 4] {
        let flag = |meeting: &mut Meeting| {
            meeting.queues[1].iter_mut().for_each(|kernel| kernel.flags[0] = kernel.flags[1]);
        };
        assert!(noticed(&right, ranks, 4, flag) > 0, "another is told, {ranks} ranks");
        let part = |meeting: &mut Meeting| {
            meeting.queues[1].iter_mut().for_each(|kernel| kernel.parts[0] = kernel.parts[1]);
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
    let mut meeting = Meeting::new(4);
    meeting.queues[2].clear();
    let waits = meeting.run(&right, 1).expect_err("nobody ends the wait");
    assert!(waits.contains("deadlock"), "{waits}");
    let mut meeting = Meeting::new(4);
    meeting.queues[2].clear();
    meeting.memory.write(meeting.abort, &1i32.to_le_bytes()).expect("it is there");
    let unwritten = meeting.run(&right, 1).expect_err("there is no sum");
    assert!(unwritten.contains("never written"), "{unwritten}");
    let faults: Vec<i32> = meeting.faults.iter().map(|fault| meeting.word(*fault)).collect();
    assert_eq!(faults, [3, 3, 0, 3]);
}
