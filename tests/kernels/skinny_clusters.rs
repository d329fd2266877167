//! Products whose splits are clusters give the bits of those whose sums `skinny_join` adds.
use gpu_kernels::all_reduce::meeting::Outbox;
use gpu_kernels::{Act, Format, Ptr, QuantGemm, SkinnyGemm, SkinnyJoin};
use nemotron_backend::device::PlannedKernel;

use crate::data::{Data, Values};
use crate::emulator::{DEVICES, Emulator};
use crate::oracle::Row;
use crate::target::Target;
use crate::{quant_gemm, skinny_gemm};

/// What a kernel leaves in the buffers of a product.
fn outputs(kernel: &dyn PlannedKernel, data: &Data, [y, y_f32]: [Option<(u32, u64)>; 2]) -> Vec<Option<u64>> {
    let mut emulator = Emulator::new();
    emulator.device = DEVICES[2];
    let outcome = emulator.run(kernel, data).unwrap_or_else(|fault| panic!("{fault}"));
    let (buffer, _) = y.or(y_f32).expect("an output");
    outcome[buffer as usize].iter().map(|value| value.map(f64::to_bits)).collect()
}

/// Asserts that a product in clusters gives what the same gives apart; says how many splits it has.
fn compare(name: &str, joined: &dyn PlannedKernel, apart: &dyn PlannedKernel, join: SkinnyJoin, data: &Data) -> usize {
    let targets = [join.y.target(), join.y_f32.target()];
    let sums = outputs(apart, data, [None, join.partial.target()]);
    let mut behind = data.clone();
    let (partial, _) = join.partial.target().expect("the sums");
    let sums = sums.into_iter().map(|sum| f64::from_bits(sum.expect("every sum is written")) as f32);
    behind.0[partial as usize].values = Values::Reals(sums.collect());
    assert!(outputs(joined, data, targets) == outputs(&join, &behind, targets), "{name}");
    PlannedKernel::launch(joined, &DEVICES[2]).cluster as usize
}

#[test]
fn clusters_give_the_bits_of_a_join() {
    let mut seen = [0; 9];
    for Row { name, kernel, mut data } in skinny_gemm::rows() {
        if PlannedKernel::launch(&kernel, &DEVICES[2]).cluster > 1 {
            let (product, join) = kernel.launches(data.undefined("partial", kernel.partials()));
            let join = join.expect("there are splits");
            let joined = product.with_join(&join, &DEVICES[2]).expect("the join is its own");
            seen[compare(&name, &joined, &product, join, &data)] += 1;
        }
    }
    for Row { name, kernel, mut data } in quant_gemm::rows() {
        if PlannedKernel::launch(&kernel, &DEVICES[2]).cluster > 1 {
            let (product, join) = kernel.launches(data.undefined("partial", kernel.partials()));
            let join = join.expect("there are splits");
            let joined = product.with_join(&join, &DEVICES[2]).expect("the join is its own");
            seen[compare(&name, &joined, &product, join, &data)] += 1;
        }
    }
    assert!(seen[2..].iter().all(|rows| *rows > 0), "{seen:?}");
}

/// A product and its join, of `[rows, n, k]`.
fn plain([rows, n, k]: [u32; 3]) -> (SkinnyGemm, SkinnyJoin) {
    let y: Ptr<Act> = Ptr::new(2, 0);
    let product = SkinnyGemm { y, ..SkinnyGemm::new(Ptr::new(0, 0), Ptr::new(1, 0), [rows, n, k]) };
    let (product, join) = product.launches(Ptr::new(3, 0));
    (product, join.expect("there are splits"))
}

#[test]
fn clusters_are_for_products_whose_blocks_all_run_at_once() {
    let hopper = &DEVICES[2];
    let shape = |product: SkinnyGemm, device| {
        let launch = PlannedKernel::launch(&product, device);
        (launch.grid, launch.cluster)
    };
    let (product, join) = plain([32, 4096, 14336]);
    let joined = product.with_join(&join, hopper).expect("32 tiles of 4 splits");
    assert_eq!(shape(product, hopper), ([32, 4, 1], 1));
    assert_eq!(shape(joined, hopper), ([4, 32, 1], 4));
    for device in [&DEVICES[0], &DEVICES[1], &DEVICES[3]] {
        assert!(product.with_join(&join, device).is_none());
        assert_eq!(shape(joined, device).1, 1);
    }
    // 18 times 7 blocks are less than there are multiprocessors, but of 16 in a row some would stay idle.
    let (product, join) = plain([32, 18 * 128, 14336]);
    assert!(join.splits == 7 && product.with_join(&join, hopper).is_none());
    let codes = |n, k| {
        let around = SkinnyGemm::new(Ptr::NULL, Ptr::NULL, [32, n, k]);
        QuantGemm::of(around, (Ptr::NULL, Ptr::NULL), Format::Nvfp4)
    };
    // Two to a multiprocessor; 36 times 7 are again too many.
    assert_eq!(PlannedKernel::launch(&codes(4096, 14336), hopper).cluster, 8);
    assert_eq!(codes(36 * 128, 14336).splits(), 7);
    assert_eq!(PlannedKernel::launch(&codes(36 * 128, 14336), hopper).cluster, 1);
}

/// An H200 with parts of fewer multiprocessors runs 30 clusters of eight of 256 threads with 128 registers at once, 39 of six and 47 of
/// five, and of blocks with a multiprocessor each 39 of three and 30 of four (`cuOccupancyMaxActiveClusters`).
#[test]
fn splits_leave_room_for_all_clusters_where_that_costs_few_steps() {
    let codes = |n, k, format| {
        let around = SkinnyGemm::new(Ptr::NULL, Ptr::NULL, [32, n, k]);
        QuantGemm::of(around, (Ptr::NULL, Ptr::NULL), format).splits()
    };
    let plain = |n, k| SkinnyGemm::new(Ptr::NULL, Ptr::NULL, [32, n, k]).splits();
    let fp8 = Format::Fp8 { group: 0 };
    assert_eq!([codes(4096, 4096, fp8), codes(6144, 4096, fp8), codes(5120, 3072, fp8)], [6, 4, 5]);
    assert_eq!([codes(4096, 4096, Format::Nvfp4), plain(4096, 4096), plain(3072, 3072)], [6, 3, 4]);
    // There fewer splits would be too many steps more.
    assert_eq!([codes(4096, 14336, fp8), codes(10304, 2688, fp8), plain(4096, 14336)], [8, 3, 4]);
}

/// Products of nano-8b and Nemotron-Mini-4B: with tiles of eight sixteens 112, 96, 72 and 80 of 132 multiprocessors had one.
#[test]
fn tiles_are_so_high_that_few_multiprocessors_are_idle() {
    let grid = |n, k| {
        let y: Ptr<Act> = Ptr::new(2, 0);
        let product = SkinnyGemm { y, ..SkinnyGemm::new(Ptr::new(0, 0), Ptr::new(1, 0), [32, n, k]) };
        let (product, _) = product.launches(Ptr::new(3, 0));
        PlannedKernel::launch(&product, &DEVICES[2]).grid
    };
    assert_eq!([grid(28672, 4096), grid(6144, 4096)], [[128, 1, 1], [64, 2, 1]]);
    assert_eq!([grid(9216, 3072), grid(5120, 3072)], [[116, 1, 1], [64, 2, 1]]);
    // Eight sixteens to each of as many blocks as there is room for.
    assert_eq!(grid(16384, 4096), [128, 1, 1]);
}

#[test]
fn a_join_of_something_else_stays() {
    let ((product, join), hopper) = (plain([32, 4096, 4096]), &DEVICES[2]);
    assert!(product.with_join(&join, hopper).is_some());
    let outbox = Outbox { ranks: 2, ..Outbox::NONE };
    let others = [
        SkinnyJoin { partial: Ptr::new(9, 0), ..join },
        SkinnyJoin { rows: 31, ..join },
        SkinnyJoin { n: 4104, ..join },
        SkinnyJoin { splits: 4, ..join },
        SkinnyJoin { activation: 1, ..join },
        SkinnyJoin { outbox, ..join },
    ];
    assert!(others.iter().all(|other| product.with_join(other, hopper).is_none()));
}
