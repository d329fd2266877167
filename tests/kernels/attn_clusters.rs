//! All ways in which `attn_decode` shares splits out give the same bits: a block for each that joins through memory, clusters,
//! blocks that work through two, and blocks whose values take the keys' place.
use std::collections::BTreeSet;

use gpu_kernels::{AttnDecode, DeviceInfo, HEAD_DIMS, KvFormat, SPLIT_TOKENS};
use nemotron_backend::device::PlannedKernel;

use crate::attn_decode::{rows, written};
use crate::data::Data;
use crate::emulator::{DEVICES, Emulator};
use crate::oracle::Row;
use crate::target::Target;

#[test]
fn clusters_join_to_the_bits_of_blocks_that_join_through_memory() {
    let [blocks, clusters] = [DEVICES[0], DEVICES[2]];
    let mut joined = [0; 9];
    for Row { name, kernel, data } in all_rows() {
        let splits = PlannedKernel::launch(&kernel, &clusters).cluster as usize;
        if splits == 1 {
            continue;
        }
        assert!(bits(&kernel, &data, blocks) == bits(&kernel, &data, clusters), "{name}, {splits} splits");
        joined[splits] += 1;
    }
    assert!(joined.iter().sum::<u32>() > 100 && [2, 3, 4, 7, 8].iter().all(|splits| joined[*splits] > 0), "{joined:?}");
}

#[test]
fn crowded_launches_give_the_bits_of_others() {
    let [many, one] = [DEVICES[0], DEVICES[3]];
    let mut forms = BTreeSet::new();
    for Row { name, kernel, data } in all_rows() {
        let [crowded, other] = [one, many].map(|device| PlannedKernel::launch(&kernel, &device));
        if (crowded.grid, crowded.symbol) != (other.grid, other.symbol) {
            assert!(bits(&kernel, &data, many) == bits(&kernel, &data, one), "{name}");
            forms.insert((crowded.symbol, turns(&kernel, one), turns(&kernel, one) < kernel.splits));
        }
    }
    // Entry, turns, and whether blocks leave sums to join in memory.
    for form in [
        ("attn_decode_64", 2, true),
        ("attn_decode_128", 2, false),
        ("attn_decode_compact_128", 1, false),
        ("attn_decode_compact_128", 1, true),
        ("attn_decode_compact_128", 2, false),
        ("attn_decode_compact_128", 2, true),
        ("attn_decode_192", 2, true),
        ("attn_decode_fp8_128", 2, true),
        ("attn_decode_few_fp8_128", 2, false),
        ("attn_decode_few_fp8_128", 2, true),
        ("attn_decode_compact_fp8_128", 2, false),
        ("attn_decode_compact_fp8_128", 2, true),
    ] {
        assert!(forms.contains(&form), "{form:?} is not among {forms:?}");
    }
}

#[test]
fn two_turns_with_values_apart_in_bf16_are_of_two_splits() {
    let Row { kernel, .. } = rows().swap_remove(0);
    let shapes = (1..=80).flat_map(|splits| (1..=200).map(move |sequences| (splits, sequences)));
    let mut found = 0;
    for ((splits, sequences), heads) in shapes.flat_map(|shape| [1, 4, 8, 16].map(|heads| (shape, heads))) {
        let kernel = AttnDecode { head_dim: 128, heads, kv_heads: 1, splits, sequences, ..kernel };
        for device in DEVICES {
            let is_apart = PlannedKernel::launch(&kernel, &device).symbol == "attn_decode_128";
            if is_apart && turns(&kernel, device) == 2 {
                assert_eq!(splits, 2, "{kernel:?}, {device:?}");
                found += 1;
            }
        }
    }
    assert!(found > 0);
}

#[test]
fn every_launch_finds_room() {
    let Row { kernel, .. } = rows().swap_remove(0);
    let heads = || HEAD_DIMS.into_iter().flat_map(|dim| (1..=64).map(move |heads| (dim, heads)));
    let kinds = || [KvFormat::Act, KvFormat::Fp8].into_iter().flat_map(|kv| [1, 2, 8, 64].map(|splits| (kv, splits)));
    for device in DEVICES {
        for ((head_dim, heads), (kv, splits)) in heads().flat_map(|heads| kinds().map(move |kind| (heads, kind))) {
            let kernel = AttnDecode { head_dim, heads, kv_heads: 1, kv, splits, sequences: 64, ..kernel };
            let bytes = PlannedKernel::launch(&kernel, &device).shared_bytes;
            assert!(bytes <= device.shared_bytes_per_block, "{bytes} bytes: {kernel:?}, {device:?}");
        }
    }
}

/// The rows, and the same without splits that hold no key.
fn all_rows() -> impl Iterator<Item = Row<AttnDecode>> {
    rows().into_iter().chain(rows().into_iter().map(without_dead_splits))
}

/// Splits that a block works through on a device.
fn turns(kernel: &AttnDecode, device: DeviceInfo) -> u32 {
    kernel.splits.div_ceil(PlannedKernel::launch(kernel, &device).grid[0])
}

/// The bits that are written on a device; NaN equals NaN here.
fn bits(kernel: &AttnDecode, data: &Data, device: DeviceInfo) -> [Vec<Option<u64>>; 3] {
    let mut emulator = Emulator::new();
    emulator.device = device;
    let outcome = emulator.run(kernel, data).unwrap_or_else(|fault| panic!("{kernel:?}: {fault}"));
    written(kernel, &outcome).map(|values| values.into_iter().map(|value| value.map(f64::to_bits)).collect())
}

/// The row with no more splits than its longest sequence has: a model's length may leave any number of them.
fn without_dead_splits(row: Row<AttnDecode>) -> Row<AttnDecode> {
    let longest = row.data.i32s(row.kernel.lengths).iter().max().expect("a sequence").cast_unsigned();
    let splits = longest.div_ceil(SPLIT_TOKENS);
    Row { kernel: AttnDecode { splits: splits.max(1), ..row.kernel }, ..row }
}
