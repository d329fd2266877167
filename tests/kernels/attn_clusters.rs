//! Both joins of `attn_decode`, in clusters and through memory, give the same bits.
use gpu_kernels::{AttnDecode, SPLIT_TOKENS};
use nemotron_backend::device::PlannedKernel;

use crate::attn_decode::{rows, written};
use crate::emulator::{DEVICES, Emulator};
use crate::oracle::Row;
use crate::target::Target;

#[test]
fn clusters_join_to_the_bits_of_blocks_that_join_through_memory() {
    let [blocks, clusters] = [DEVICES[0], DEVICES[2]];
    let mut joined = [0; 9];
    for Row { name, kernel, data } in rows().into_iter().chain(rows().into_iter().map(without_dead_splits)) {
        let splits = PlannedKernel::launch(&kernel, &clusters).cluster as usize;
        if splits == 1 {
            continue;
        }
        let of = |device| {
            let mut emulator = Emulator::new();
            emulator.device = device;
            written(&kernel, &emulator.run(&kernel, &data).unwrap_or_else(|fault| panic!("{name}: {fault}")))
        };
        // NaN equals NaN here.
        let bits = |values: [Vec<Option<f64>>; 3]| {
            values.map(|values| values.into_iter().map(|v| v.map(f64::to_bits)).collect::<Vec<_>>())
        };
        assert!(bits(of(blocks)) == bits(of(clusters)), "{name}, {splits} splits");
        joined[splits] += 1;
    }
    assert!(joined.iter().sum::<u32>() > 100 && [2, 3, 4, 7, 8].iter().all(|splits| joined[*splits] > 0), "{joined:?}");
}

/// The row with no more splits than its longest sequence has: a model's length may leave any number of them.
fn without_dead_splits(row: Row<AttnDecode>) -> Row<AttnDecode> {
    let longest = row.data.i32s(row.kernel.lengths).iter().max().expect("a sequence").cast_unsigned();
    let splits = longest.div_ceil(SPLIT_TOKENS);
    Row { kernel: AttnDecode { splits: splits.max(1), ..row.kernel }, ..row }
}
