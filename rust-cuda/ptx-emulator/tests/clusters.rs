//! Clusters: a ring of blocks that send to each other, in any order, and with planted defects.

use FaultKind::*;
use ptx_emulator::{Fault, FaultKind, Launch, Memory, Module, Options};

const TEXT: &str = include_str!("clean/cluster_ring.ptx");
const THREADS: u32 = 64;
const BLOCKS: u32 = 8;
const SIZE: u32 = 4;

/// Pairs of words that the threads store, in turn.
fn run(text: &str, cluster: u32, options: &Options) -> Result<Vec<[u32; 2]>, Fault> {
    let module = Module::parse(text).expect("the text parses");
    let mut memory = Memory::new();
    let bytes = (BLOCKS * THREADS * 8) as usize;
    let out = memory.allocate("out", bytes);
    memory.write(out, &vec![0xff; bytes])?;
    let launch = Launch { grid: [BLOCKS, 1, 1], block: [THREADS, 1, 1], shared_bytes: 0, cluster };
    let stats = module.launch_with(&memory, "test", &launch, &out.to_le_bytes(), options)?;
    assert_eq!(stats.blocks, u64::from(BLOCKS));
    let mut words = vec![0; bytes];
    memory.read(out, &mut words)?;
    let word = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    Ok(words.chunks_exact(8).map(|pair| [word(&pair[..4]), word(&pair[4..])]).collect())
}

fn orders() -> impl Iterator<Item = Options> {
    let shuffled = (0..16).map(|seed| Options { shuffle: Some(seed), ..Options::default() });
    [Options::default(), Options { threads: 1, ..Options::default() }].into_iter().chain(shuffled)
}

/// What comes to a thread from the block before in a ring of `ring` blocks of a cluster of `cluster`; of the others, nothing.
fn wanted(cluster: u32, ring: u32) -> Vec<[u32; 2]> {
    let threads = (0..BLOCKS).flat_map(|block| (0..THREADS).map(move |thread| (block, thread)));
    let from = |(block, thread): (u32, u32)| {
        let (first, rank) = (block / cluster * cluster, block % cluster);
        let sender = (rank + ring - 1) % ring;
        if rank < ring { [(first + sender) * 100 + THREADS - 1 - thread, sender] } else { [u32::MAX; 2] }
    };
    threads.map(from).collect()
}

#[test]
fn a_ring_of_blocks_sends_in_any_order() {
    for cluster in [1, 2, SIZE, 8] {
        for options in orders() {
            let got = run(TEXT, cluster, &options).unwrap_or_else(|fault| panic!("{cluster}, {options:?}: {fault}"));
            assert_eq!(got, wanted(cluster, cluster), "{cluster}, {options:?}");
        }
    }
}

#[test]
fn blocks_that_have_ended_are_not_waited_for() {
    let start = "\tmov.u32 %at, slots;\n";
    let leaves = format!("\tsub.u32 %size, %size, 1;\n\tsetp.eq.u32 %p, %rank, %size;\n\t@%p exit;\n{start}");
    let text = TEXT.replacen(start, &leaves, 1);
    for options in orders() {
        assert_eq!(run(&text, SIZE, &options).expect("no fault"), wanted(SIZE, SIZE - 1), "{options:?}");
    }
}

#[test]
fn a_release_orders_what_the_own_block_did() {
    let (arrive, before) = ("\tbarrier.cluster.arrive.relaxed;\n", "\t@!%p st.shared.b32 [box+8], %block;\n");
    let read = "\tld.shared.b32 %y, [box+8];\n\tadd.u32 %next";
    // One thread of the second warp writes, all read.
    let one = "\tsetp.ne.u32 %p, %thread, 63;\n";
    let with = |arrive: &str| {
        TEXT.replacen("\tbarrier.cluster.arrive.relaxed;\n", &format!("{one}{before}{arrive}"), 1).replacen(
            "\tadd.u32 %next",
            read,
            1,
        )
    };
    assert!(run(&with("\tbarrier.cluster.arrive.release;\n"), SIZE, &Options::default()).is_ok());
    let fault = run(&with(arrive), SIZE, &Options::default()).expect_err("a race");
    assert_eq!(fault.kind, SharedRace, "{fault}");
}

#[test]
fn what_a_block_has_touched_in_front_of_the_barrier_may_be_sent_to() {
    // Each thread writes and reads its own slot, with a barrier of the block behind it or without.
    let touch = "\tmad.lo.u32 %to, %thread, 8, %at;\n\tst.shared.b32 [%to], %rank;\n\tld.shared.b32 %x, [%to];\n";
    for text in [
        TEXT.replacen(ARRIVE, &format!("{touch}{ARRIVE}"), 1),
        TEXT.replacen(ARRIVE, &format!("{touch}\tbar.sync 0;\n{ARRIVE}"), 1),
    ] {
        for options in orders() {
            assert_eq!(run(&text, SIZE, &options).expect("no fault"), wanted(SIZE, SIZE), "{options:?}");
        }
    }
    // Behind its arrival no more, nor what has not landed.
    let late = TEXT.replacen(ARRIVE, &format!("{ARRIVE}{touch}"), 1);
    let copy = "\tmad.lo.u32 %to, %thread, 8, %at;\n\tcp.async.ca.shared.global [%to], [%out], 8;\n";
    let in_flight = TEXT.replacen(ARRIVE, &format!("{copy}{ARRIVE}"), 1);
    for text in [late, in_flight] {
        for options in orders() {
            let kind = run(&text, SIZE, &options).err().map(|fault| fault.kind);
            assert!(matches!(kind, Some(ClusterRace | SharedRace | UndefinedRead)), "{options:?}: {kind:?}");
        }
    }
}

const ARRIVE: &str = "\tbarrier.cluster.arrive.relaxed;\n";
const WAIT: &str = "\tbarrier.cluster.wait.acquire;\n";
const SEND: &str = "\tst.async.weak";

/// A thread that does not know of the initialisation: it comes before, or races with it.
const UNORDERED: &[FaultKind] = &[ClusterRace, SharedRace, UndefinedRead];

/// An edit of the text, and what is found then, whatever the order.
const DEFECTS: [(&str, &str, &[FaultKind]); 17] = [
    ("\tfence.mbarrier_init.release.cluster;\n", "", UNORDERED),
    (ARRIVE, "", &[DivergentBarrier]),
    (ARRIVE, "\t@%p barrier.cluster.arrive.relaxed;\n", &[DivergentBarrier]),
    (ARRIVE, "\tbarrier.cluster.arrive;\n\tbarrier.cluster.arrive;\n", &[DivergentBarrier]),
    (WAIT, "", UNORDERED),
    ("\t@%p mbarrier.init.shared::cta.b64 [%box], 1;\n", "", &[UndefinedRead]),
    ("[%box], 1;", "[%box], 2;", &[Deadlock]),
    ("_, [%box], 512;", "_, [%box], 504;", &[UndefinedRead, ClusterRace]),
    ("_, [%box], 512;", "_, [%box], 520;", &[Deadlock]),
    ("\t@%p mbarrier.arrive", "\tmbarrier.arrive", UNORDERED),
    ("\t@!%q bra wait;\n", "", &[UndefinedRead]),
    ("[%box], 0;\n\t@!%q", "[%box], 1;\n\t@!%q", &[UndefinedRead]),
    ("\tmapa.shared::cluster.u32 %to, %to, %next;\n", "\tmapa.shared::cluster.u32 %to, %at, %next;\n", &[ClusterRace]),
    ("\trem.u32 %next, %next, %size;\n", "", &[OutOfBounds]),
    (SEND, "\tst.shared.b32 [slots+16], %rank;\n\tst.async.weak", &[SharedRace, ClusterRace]),
    ("wait:\n", "\tsetp.eq.u32 %q, %rank, 2;\n\t@%q exit;\nwait:\n", &[ClusterRace]),
    ("[%x];\nwait:", "[%to];\nwait:", &[ClusterRace]),
];

#[test]
fn a_defect_around_a_send_is_found() {
    for (before, after, kinds) in DEFECTS {
        assert!(TEXT.contains(before), "{before}");
        for options in orders() {
            let fault = run(&TEXT.replacen(before, after, 1), SIZE, &options).err();
            let kind = fault.as_ref().map(|fault| fault.kind);
            assert!(kind.is_some_and(|kind| kinds.contains(&kind)), "{before} -> {after}, {options:?}: {fault:?}");
        }
    }
}

#[test]
fn clusters_that_do_not_fit_the_grid_are_refused() {
    for cluster in [0, 3, 16] {
        let kind = run(TEXT, cluster, &Options::default()).err().map(|fault| fault.kind);
        assert_eq!(kind, Some(BadLaunch), "{cluster}");
    }
}

#[test]
fn other_forms_are_refused_with_their_line() {
    for (line, text) in [
        "mapa.u64 %out, %out, 1;",
        "ld.shared::cluster.b32 %x, [%to];",
        "mbarrier.test_wait.shared.b64 %q, [%box], %out;",
    ]
    .iter()
    .map(|form| (form, TEXT.replacen(SEND, &format!("\t{form}\n{SEND}"), 1)))
    {
        let fault = run(&text, SIZE, &Options::default()).expect_err("beyond this machine");
        assert_eq!(fault.kind, UnknownInstruction, "{line}");
    }
    let error = Module::parse(&TEXT.replacen("v2.b32 [%to]", "v2.b16 [%to]", 1)).err();
    let line = TEXT.lines().position(|line| line.starts_with(SEND)).map(|at| at as u32 + 1);
    assert_eq!(error.map(|error| error.line), line);
}
