//! Rows of `moe_route` that come many at once go through another entry than few; it gives each of them the same bits.
use gpu_kernels::MoeRoute;

use crate::data::Values;
use crate::emulator::Emulator;
use crate::moe_route;
use crate::target::Target;

#[test]
fn rows_alone_and_among_many_have_the_same_bits() {
    let many = moe_route::rows().into_iter().max_by_key(|row| row.kernel.rows).expect("there are rows");
    let MoeRoute { rows, hidden, experts, top_k, .. } = many.kernel;
    let (hidden, experts, top_k) = (hidden as usize, experts as usize, top_k as usize);
    let mut emulator = Emulator::new();
    let among_many = emulator.run(&many.kernel, &many.data).expect("many rows run");
    let x = many.data.f64s(many.kernel.x);
    for row in [0, 1, 15, 16, 31, 32, 63, 64, rows as usize - 1] {
        let mut data = many.data.clone();
        data.0[0].values = Values::Reals(x[row * hidden..][..hidden].iter().map(|x| *x as f32).collect());
        let alone = emulator.run(&MoeRoute { rows: 1, ..many.kernel }, &data).expect("a row runs");
        for (buffer, width) in [(3, experts), (5, top_k), (6, top_k)] {
            let among = &among_many[buffer][row * width..][..width];
            assert!(among.iter().all(Option::is_some), "row {row} is written");
            assert_eq!(alone[buffer][..width], *among, "row {row}, {}", data.0[buffer].name);
        }
    }
}
