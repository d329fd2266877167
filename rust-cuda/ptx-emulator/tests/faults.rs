//! A planted defect for every kind of fault: the kind, the block, the thread and the line must be right.
//!
//! The line of each file of `tests/faults` that must be named ends in `// fault`. The buffer has 1024 bytes, of which the
//! first 512 are written (with zeros).

use FaultKind::*;
use ptx_emulator::{Fault, FaultKind, Launch, Memory, Module, Options};

struct Row {
    name: &'static str,
    text: &'static str,
    kind: FaultKind,
    block: u32,
    thread: u32,
}

macro_rules! rows {
    ($($name:ident $kind:ident $block:literal $thread:literal)*) => {
        [$(Row {
            name: stringify!($name),
            text: include_str!(concat!("faults/", stringify!($name), ".ptx")),
            kind: $kind,
            block: $block,
            thread: $thread,
        }),*]
    };
}

/// Defects, each with the block and the thread that must be named.
const ROWS: [Row; 40] = rows! {
    load_past_end OutOfBounds 2 37
    store_before_start OutOfBounds 2 37
    load_straddles_end OutOfBounds 2 37
    null OutOfBounds 2 37
    shared_past_end OutOfBounds 2 37
    local_past_end OutOfBounds 2 37
    param_past_end OutOfBounds 2 37
    misaligned Misaligned 2 37
    misaligned_vector Misaligned 2 37
    misaligned_shared Misaligned 2 37
    undefined_global UndefinedRead 2 37
    undefined_half UndefinedRead 2 37
    undefined_shared UndefinedRead 2 37
    undefined_atomic UndefinedRead 2 37
    undefined_address UndefinedRegister 2 37
    undefined_value UndefinedRegister 2 37
    undefined_local UndefinedRegister 2 37
    race_write_write SharedRace 0 40
    race_write_after_read SharedRace 0 32
    race_read_after_write SharedRace 0 32
    race_in_warp SharedRace 0 0
    race_in_vector SharedRace 0 2
    race_bytes SharedRace 0 63
    race_atomic SharedRace 0 0
    copy_in_flight UndefinedRead 2 37
    copy_group_in_flight UndefinedRead 2 37
    copy_not_published SharedRace 0 50
    divergent_barrier DivergentBarrier 0 0
    guarded_barrier DivergentBarrier 0 32
    different_barriers DivergentBarrier 0 0
    barrier_count DivergentBarrier 0 0
    divergent_shuffle DivergentCollective 0 48
    shuffle_from_absent DivergentCollective 0 0
    shuffle_from_exited DivergentCollective 0 34
    vote_without_member DivergentCollective 0 31
    divergent_mma DivergentCollective 0 0
    divergent_ldmatrix DivergentCollective 0 0
    trap Trap 2 37
    hopper UnknownInstruction 2 37
    deadlock Deadlock 0 0
};

fn run(text: &str, options: &Options) -> Option<Fault> {
    let module = Module::parse(text).expect("the text parses");
    let mut memory = Memory::new();
    let buffer = memory.allocate("buffer", 1024);
    memory.write(buffer, &[0; 512]).expect("a write inside the buffer");
    let launch = Launch { grid: [4, 1, 1], block: [64, 1, 1], shared_bytes: 256, cluster: 1 };
    module.launch_with(&memory, "test", &launch, &buffer.to_le_bytes(), options).err()
}

fn marked_line(text: &str) -> u32 {
    text.lines().zip(1..).find(|(line, _)| line.ends_with("// fault")).map_or(0, |(_, number)| number)
}

fn check(row: &Row, options: &Options) -> Result<(), String> {
    let fault = run(row.text, options).ok_or("nothing was found")?;
    let place = fault.place.as_deref().ok_or("the fault has no place")?;
    let got = (fault.kind, place.block, place.thread, place.line);
    let want = (row.kind, [row.block, 0, 0], [row.thread, 0, 0], marked_line(row.text));
    let said = fault.to_string();
    let names_line = said.contains(place.text.as_str()) && place.text.ends_with("// fault");
    if got == want && names_line { Ok(()) } else { Err(format!("got {got:?}, want {want:?}: {said}")) }
}

#[test]
fn every_planted_defect_is_found_where_it_is() {
    let failed: Vec<String> = ROWS
        .iter()
        .flat_map(|row| [1, 4].map(|threads| (row, Options { threads, ..Options::default() })))
        .filter_map(|(row, options)| check(row, &options).err().map(|e| format!("{} {options:?}: {e}", row.name)))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn a_runaway_loop_ends_with_its_budget() {
    let options = Options { instruction_budget: 1 << 18, ..Options::default() };
    let fault = run(include_str!("faults/runaway.ptx"), &options).expect("a fault");
    let place = fault.place.expect("a place");
    assert_eq!((fault.kind, place.block, place.thread), (RunawayLoop, [2, 0, 0], [37, 0, 0]));
}

#[test]
fn a_block_that_waits_for_another_is_stuck_where_one_is_resident_at_a_time() {
    let module = Module::parse(include_str!("clean/grid_barrier.ptx")).expect("the text parses");
    let mut memory = Memory::new();
    let words = ["counter", "numbers", "sums"].map(|name| memory.allocate(name, 16));
    memory.write(words[0], &[0; 16]).expect("a write inside the counter");
    let params: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let launch = Launch { grid: [4, 1, 1], block: [96, 1, 1], shared_bytes: 0, cluster: 1 };
    let options = Options { resident: 1, ..Options::default() };
    let fault = module.launch_with(&memory, "test", &launch, &params, &options).expect_err("a fault");
    assert_eq!(fault.kind, Deadlock);
}

#[test]
fn an_unknown_instruction_is_refused_with_its_line() {
    let text =
        ".version 7.4\n.target sm_80\n.address_size 64\n.visible .entry test()\n{\n\tfrobnicate.sync.b32;\n\tret;\n}\n";
    let error = Module::parse(text).err().expect("an error");
    assert_eq!((error.line, error.message.as_str()), (6, "unknown instruction `frobnicate.sync.b32`"));
}

#[test]
fn an_unknown_modifier_is_refused() {
    let text = ".version 7.4\n.target sm_80\n.visible .entry test()\n{\n.reg .b32 %r;\nadd.wrong.s32 %r, 1, 2;\n}\n";
    assert_eq!(Module::parse(text).err().map(|e| e.line), Some(6));
}

#[test]
fn an_out_of_bounds_message_names_the_nearest_allocation() {
    let fault = run(include_str!("faults/load_past_end.ptx"), &Options::default()).expect("a fault");
    let said = fault.to_string();
    assert!(said.contains("nearest is `buffer` (1024 bytes), 4 bytes past the end"), "{said}");
}

#[test]
fn a_launch_that_does_not_fit_is_refused() {
    let module = Module::parse(include_str!("faults/trap.ptx")).expect("the text parses");
    let memory = Memory::new();
    let launch = |block| Launch { grid: [1, 1, 1], block: [block, 1, 1], shared_bytes: 0, cluster: 1 };
    let refused = |entry: &str, block, params: &[u8]| {
        let fault = module.launch(&memory, entry, &launch(block), params).err();
        fault.is_some_and(|fault| fault.kind == BadLaunch && fault.place.is_none())
    };
    assert!(refused("no_such_entry", 32, &[0; 8]));
    assert!(refused("test", 32, &[0; 4]));
    assert!(refused("test", 0, &[0; 8]));
    assert!(refused("test", 1025, &[0; 8]));
}
