//! A token row has the same bits from `moe_route` in any company of 1 to 8 rows, and in any of more.
use gpu_kernels::MoeRoute;

use crate::data::Values;
use crate::emulator::Emulator;
use crate::moe_route;
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

/// Compares `few` rows from each of `firsts` on, by themselves, with the same among the most rows of a test, as far as `most`.
fn check(most: usize, few: usize, firsts: &[usize]) {
    let mut many = moe_route::rows().into_iter().max_by_key(|row| row.kernel.rows).expect("there are rows");
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
