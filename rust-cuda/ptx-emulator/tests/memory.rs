//! Global memory as the host sees it.

use ptx_emulator::{FaultKind, Memory};

#[test]
fn addresses_are_aligned_and_far_apart() {
    let mut memory = Memory::new();
    let addresses: Vec<u64> = (0..10).map(|i| memory.allocate("some", 1 + 1000 * i)).collect();
    assert!(addresses.iter().all(|a| a % 256 == 0));
    assert!(addresses.windows(2).all(|pair| pair[1] - pair[0] > 1 << 20));
}

#[test]
fn bytes_come_back_at_any_alignment() {
    let mut memory = Memory::new();
    let address = memory.allocate("bytes", 100);
    for (offset, length) in [(0, 100), (1, 7), (3, 1), (5, 64), (97, 3), (50, 0)] {
        let written: Vec<u8> = (0..length).map(|i| (i * 7 + offset) as u8).collect();
        memory.write(address + offset as u64, &written).expect("inside");
        let mut read = vec![0; length];
        memory.read(address + offset as u64, &mut read).expect("defined");
        assert_eq!(read, written);
    }
}

#[test]
fn only_what_was_written_is_defined() {
    let mut memory = Memory::new();
    let address = memory.allocate("part", 100);
    memory.write(address + 30, &[1; 40]).expect("inside");
    memory.undefine(address + 40, 5);
    let defined = memory.read_any(address, &mut [0; 100]).expect("inside");
    let want: Vec<bool> = (0..100).map(|i| (30..40).contains(&i) || (45..70).contains(&i)).collect();
    assert_eq!(defined, want);
    let fault = memory.read(address + 32, &mut [0; 20]).expect_err("a hole");
    assert_eq!((fault.kind, fault.address), (FaultKind::UndefinedRead, Some(address + 40)));
    assert!(fault.message.contains("5 of 20 bytes read from `part`"), "{fault}");
}

#[test]
fn the_host_cannot_leave_an_allocation() {
    let mut memory = Memory::new();
    let address = memory.allocate("small", 10);
    assert_eq!(memory.write(address + 5, &[0; 6]).expect_err("past the end").kind, FaultKind::OutOfBounds);
    assert_eq!(memory.read(address - 1, &mut [0; 1]).expect_err("before").kind, FaultKind::OutOfBounds);
    memory.free(address);
    assert_eq!(memory.write(address, &[0; 1]).expect_err("freed").kind, FaultKind::OutOfBounds);
    assert!(memory.allocate("next", 10) > address);
}
