//! A token row has the same bits from `moe_route` in any company of 1 to 8 rows, and in any of more.
use gpu_kernels::{Kernel, MoeRoute};

use crate::data::Values;
use crate::emulator::{DEVICES, Emulator};
use crate::moe_route;
use crate::oracle::Row;
use crate::target::Target;

#[test]
fn rows_of_few_have_the_same_bits() {
    check(8, 1, &[0, 1, 5, 7]);
}

#[test]
fn rows_of_many_have_the_same_bits() {
    // Small tiles among large ones, and a company that ends in the middle of one.
    check(usize::MAX, 9, &[0, 7, 15, 16, 50, 64]);
    check(usize::MAX, 65, &[3, 40]);
}

#[test]
fn every_device_has_room_for_any_number_of_experts() {
    let plain = moe_route::rows().remove(0).kernel;
    for (rows, experts) in [1, 8, 9, 64, 65, 4096].into_iter().flat_map(|rows| (1..=1024).map(move |e| (rows, e))) {
        let kernel = MoeRoute { rows, experts, top_k: 1, ..plain };
        for device in DEVICES {
            let bytes = kernel.launch(&device).shared_bytes;
            assert!(bytes <= device.shared_bytes_per_block, "{rows} rows, {experts} experts: {bytes}");
        }
    }
}

/// Compares `few` rows from each of `firsts` on, by themselves, with the same among the rows of a test, `most` of them at most: of one whose
/// columns give every warp several turns.
fn check(most: usize, few: usize, firsts: &[usize]) {
    let has_turns = |row: &Row<_>| matches!(row.kernel, MoeRoute { rows: 105.., hidden: 520.., .. });
    let mut many = moe_route::rows().into_iter().find(has_turns).expect("there is such a row");
    let MoeRoute { rows, hidden, experts, top_k, .. } = many.kernel;
    let (hidden, experts, top_k) = (hidden as usize, experts as usize, top_k as usize);
    many.kernel.rows = rows.min(most as u32);
    let mut emulator = Emulator::new();
    let among_many = emulator.run(&many.kernel, &many.data).expect("many rows run");
    let x = many.data.f64s(many.kernel.x);
    for first in firsts {
        let mut data = many.data.clone();
        let own = &x[first * hidden..][..few * hidden];
        data.0[0].values = Values::Reals(own.iter().map(|x| *x as f32).collect());
        let alone = emulator.run(&MoeRoute { rows: few as u32, ..many.kernel }, &data).expect("few rows run");
        for (buffer, width) in [(3, experts), (5, top_k), (6, top_k)] {
            let among = &among_many[buffer][first * width..][..few * width];
            assert!(among.iter().all(Option::is_some), "rows from {first} on are written");
            assert_eq!(alone[buffer][..few * width], *among, "rows from {first} on, {}", data.0[buffer].name);
        }
    }
}
