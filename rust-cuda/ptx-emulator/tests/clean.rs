//! Correct programs with many threads: their results, nothing reported, and the same bits on any number of host threads.

use ptx_emulator::{Fault, Launch, Memory, Module, Options, Stats};

const THREADS: [usize; 3] = [1, 2, 7];

fn launch(blocks: u32, threads: u32, shared_bytes: u32) -> Launch {
    Launch { grid: [blocks, 1, 1], block: [threads, 1, 1], shared_bytes, cluster: 1 }
}

fn words(memory: &Memory, address: u64, count: usize) -> Vec<u32> {
    let mut bytes = vec![0; 4 * count];
    memory.read(address, &mut bytes).expect("every word was written");
    bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn bytes(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn run(text: &str, memory: &Memory, launch: &Launch, params: &[u64], threads: usize) -> Result<Stats, Fault> {
    let module = Module::parse(text).expect("the text parses");
    let options = Options { threads, ..Options::default() };
    module.launch_with(memory, "test", launch, &bytes(params), &options)
}

#[test]
fn blocks_meet_at_a_grid_barrier() {
    let blocks = 23;
    for threads in THREADS {
        let mut memory = Memory::new();
        let counter = memory.allocate("counter", 4);
        let (numbers, sums) = (memory.allocate("numbers", 4 * blocks), memory.allocate("sums", 4 * blocks));
        memory.write(counter, &[0; 4]).expect("a write inside the counter");
        let shape = launch(blocks as u32, 96, 0);
        let text = include_str!("clean/grid_barrier.ptx");
        let stats = run(text, &memory, &shape, &[counter, numbers, sums], threads).expect("no fault");
        assert_eq!(stats.blocks, blocks as u64);
        assert_eq!(words(&memory, sums, blocks), vec![(0..blocks as u32).sum(); blocks]);
    }
}

#[test]
fn the_last_block_to_arrive_has_all_that_the_others_left_out_of_order_too() {
    let text = include_str!("clean/last_block.ptx");
    let runs = |text: &str| -> Vec<u32> {
        let module = Module::parse(text).expect("the text parses");
        let shuffles = (0..8).map(|seed| Options { shuffle: Some(seed), ..Options::default() });
        let sum = |options: Options| {
            let mut memory = Memory::new();
            let [counter, sum, out] = ["counter", "sum", "out"].map(|name| memory.allocate(name, 4));
            [counter, sum, out].iter().for_each(|word| memory.write(*word, &[0; 4]).expect("a word"));
            let params = bytes(&[counter, sum, out]);
            module.launch_with(&memory, "test", &launch(9, 96, 0), &params, &options).expect("no fault");
            words(&memory, out, 1)[0]
        };
        [Options::default(), Options { resident: 1, ..Options::default() }]
            .into_iter()
            .chain(shuffles)
            .map(sum)
            .collect()
    };
    assert_eq!(runs(text), [9 * 96; 10]);
    let without_barrier = text.replacen("bar.sync 0;", "", 1);
    assert!(runs(&without_barrier).iter().any(|sum| *sum != 9 * 96), "a missing barrier shows out of order");
}

#[test]
fn named_barriers_order_a_producer_and_a_consumer() {
    let mut memory = Memory::new();
    let out = memory.allocate("out", 128);
    run(include_str!("clean/named_barriers.ptx"), &memory, &launch(1, 64, 0), &[out], 1).expect("no fault");
    let want: Vec<u32> = (0..32).map(|lane| (0..8).map(|i| i + (31 - lane)).sum()).collect();
    assert_eq!(words(&memory, out, 32), want);
}

#[test]
fn a_tree_of_barriers_sums_every_block() {
    let (blocks, size) = (37, 128);
    let input: Vec<u32> = (0..blocks * size).map(|i: u32| i.wrapping_mul(2_654_435_761)).collect();
    let want: Vec<u32> =
        input.chunks(size as usize).map(|b| b.iter().fold(0, |s: u32, x| s.wrapping_add(*x))).collect();
    let mut all = Vec::new();
    for threads in THREADS {
        let mut memory = Memory::new();
        let (source, out) = (memory.allocate("in", 4 * input.len()), memory.allocate("out", 4 * blocks as usize));
        let raw: Vec<u8> = input.iter().flat_map(|x| x.to_le_bytes()).collect();
        memory.write(source, &raw).expect("a write inside the input");
        let text = include_str!("clean/block_sum.ptx");
        all.push(run(text, &memory, &launch(blocks, size, 4 * size), &[source, out], threads).expect("no fault"));
        assert_eq!(words(&memory, out, blocks as usize), want);
    }
    assert!(all.iter().all(|stats| *stats == all[0]), "{all:?}");
}

#[test]
fn a_dropped_barrier_in_the_tree_is_found() {
    let text = include_str!("clean/block_sum.ptx").replacen("wide:\n\tbar.sync 0;", "wide:", 1);
    let mut memory = Memory::new();
    let (source, out) = (memory.allocate("in", 512), memory.allocate("out", 4));
    memory.write(source, &[1; 512]).expect("a write inside the input");
    let fault = run(&text, &memory, &launch(1, 128, 512), &[source, out], 1).expect_err("a fault");
    // Nothing has written the other half yet when the first warp reads it.
    assert_eq!(fault.kind, ptx_emulator::FaultKind::UndefinedRead);
}

#[test]
fn lanes_that_return_early_are_not_waited_for() {
    let mut memory = Memory::new();
    let out = memory.allocate("out", 256);
    memory.write(out, &[0; 256]).expect("a write inside the output");
    run(include_str!("clean/early_return.ptx"), &memory, &launch(1, 64, 0), &[out], 1).expect("no fault");
    let vote = |thread: u32| match thread {
        3 | 50.. => 0,
        0..32 => 0xfff7 + 49,
        _ => 49,
    };
    assert_eq!(words(&memory, out, 64), (0..64).map(vote).collect::<Vec<u32>>());
}

#[test]
fn an_entry_has_no_shared_memory_that_others_alone_name() {
    let text = include_str!("clean/unnamed_shared.ptx");
    let mut memory = Memory::new();
    let starts = memory.allocate("starts", 8);
    run(text, &memory, &launch(1, 1, 16), &[starts], 1).expect("no fault");
    assert_eq!(words(&memory, starts, 2), [0, 64], "the entry's own array, and what is dynamic behind it");
}
