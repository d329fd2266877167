//! The kernels in which ranks meet, on all of them at once, in seeded random orders: what no release, wait or epoch orders comes
//! out wrong.
use ptx_emulator::Module;

use crate::emulator::{DEVICES, ptx};
use crate::mutants::entry;
use queues::{BY_PACKETS, Packets, Ranks, STEPS, Step};

mod queues;

/// The kernels with `edit` made of each line.
fn module(edit: impl Fn(&str) -> String) -> Module {
    let entries = [
        "all_reduce",
        "all_reduce_sent",
        "all_reduce_act",
        "all_reduce_act_sent",
        "all_reduce_two_shot",
        "all_gather",
        "all_gather_packets",
        "all_argmax",
        "argmax",
        "gemv_narrow",
        "skinny_join_sent",
    ]
    .map(|name| entry(ptx(&DEVICES[0]), name));
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
    for (ranks, seeds) in [(1, 2), (2, 16), (4, 8), (8, 4)] {
        for seed in 0..seeds {
            let all = Ranks::new(ranks);
            let ran = all.run(&right, seed);
            assert_eq!((ran, all.word(all.faults[0])), (Ok(()), 0), "{ranks} ranks, seed {seed}");
        }
    }
}

#[test]
fn packets_of_all_ranks_may_be_one_area() {
    let right = module(str::to_owned);
    for (ranks, seeds) in [(1, 2), (2, 16), (4, 8), (8, 4)] {
        for seed in 0..seeds {
            let ran = Ranks::of(ranks, Packets::Together, &BY_PACKETS).run(&right, seed);
            assert_eq!(ran, Ok(()), "{ranks} ranks, seed {seed}");
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
    let half = module(|line| match line.trim().starts_with("and.b32") {
        true => line.replace(", 1;", ", 0;"),
        false => line.to_owned(),
    });
    assert!(noticed(&half, 2, 24, |_| {}) > 0, "one half of the packets for all epochs");
}

#[test]
fn packets_of_another_epoch_are_noticed() {
    let edits = [
        ("values that are no whole", "st.relaxed.sys.global.v2.b64", "st.global.v2.b64"),
        ("sent values that are no whole", "st.relaxed.sys.global.b64", "st.global.b64"),
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
            all.queues[1].iter_mut().for_each(|step| {
                if let Step::SumShares(sum) = step {
                    sum.x[0] = sum.x[1];
                }
            });
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
    // Nothing is read that is not there then.
    let alone: Vec<_> = STEPS.into_iter().filter(|(_, _, n)| n.is_some()).collect();
    let mut all = Ranks::of(4, Packets::Apart, &alone);
    all.queues[2].clear();
    all.memory.write(all.abort, &1i32.to_le_bytes()).expect("it is there");
    let unwritten = all.run(&right, 1).expect_err("there is no sum");
    assert!(unwritten.contains("never written"), "{unwritten}");
    let faults: Vec<i32> = all.faults.iter().map(|fault| all.word(*fault)).collect();
    // The host has given up from the start, so they may name one that is only late.
    let named: Vec<bool> = faults.iter().map(|fault| *fault != 0).collect();
    assert_eq!(named, [true, true, false, true], "{faults:?}");
}
