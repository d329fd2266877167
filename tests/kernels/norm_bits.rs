//! One token row has the bits that it has among others: where a kernel normalises it on the way, those of a norm in front, and where
//! `quant_gemv` or `moe_quant_gemv` copies it, those of several rows.
use gpu_kernels::{GatedNorm, Gemv, LayerNorm1p, MoeQuantGemv, MoeRoute, Ptr, QuantGemv, RmsNorm, Role};
use nemotron_backend::device::PlannedKernel;

use crate::data::{Data, Values};
use crate::emulator::{DEVICES, Emulator};
use crate::oracle::Row;
use crate::target::{Outcome, Target};
use crate::{gemv, moe_quant_gemv, moe_route, quant_gemv};

/// A GPU with much shared memory, and one with little.
const SIZES: [usize; 2] = [0, 1];

#[test]
fn gemv_behind_a_norm() {
    let alone = |of: &Gemv| Gemv { norm_weight: Ptr::NULL, norm_bias: Ptr::NULL, gate: Ptr::NULL, ..*of };
    behind_a_norm(gemv::rows(), 20, |of| *of, alone);
}

#[test]
fn quant_gemv_behind_a_norm() {
    let alone = |of: &QuantGemv| QuantGemv { norm_weight: Ptr::NULL, norm_bias: Ptr::NULL, gate: Ptr::NULL, ..*of };
    behind_a_norm(quant_gemv::rows(), 50, QuantGemv::around, alone);
}

/// Of products that have a norm, more than `least`: `around` is what stands around one, and `alone` the product without its norm.
fn behind_a_norm<K: PlannedKernel>(
    rows: Vec<Row<K>>,
    least: usize,
    around: impl Fn(&K) -> Gemv,
    alone: impl Fn(&K) -> K,
) {
    let normed: Vec<_> = rows.into_iter().filter(|row| !around(&row.kernel).norm_weight.is_null()).collect();
    assert!(normed.len() > least);
    for Row { name, kernel, data } in normed {
        let Gemv { y, y_f32, .. } = around(&kernel);
        let behind = behind_norm(&around(&kernel), &data);
        compare(&name, (&kernel, &data), (&alone(&kernel), &behind), &[buffer(y), buffer(y_f32)]);
    }
}

#[test]
fn moe_route_behind_rms_norm() {
    let normed: Vec<_> = moe_route::rows().into_iter().filter(|row| !row.kernel.norm_weight.is_null()).collect();
    assert!(normed.len() > 20);
    for row in normed {
        let MoeRoute { x, norm_weight, normed, hidden, eps, roundings, .. } = row.kernel;
        let norm = RmsNorm { x, weight: norm_weight, y: normed, rows: 1, hidden, eps, roundings };
        let behind = run(&norm, &row.data, 0);
        let own = buffer(normed).expect("the router keeps the row");
        assert_eq!(run(&row.kernel, &row.data, 0)[own], behind[own], "{}", row.name);
        let data = with_x(&row.data, x, &behind[own]);
        let plain = MoeRoute { norm_weight: Ptr::NULL, normed: Ptr::NULL, ..row.kernel };
        let results = [buffer(row.kernel.logits), buffer(row.kernel.ids), buffer(row.kernel.weights)];
        compare(&row.name, (&row.kernel, &row.data), (&plain, &data), &results);
    }
}

#[test]
fn moe_quant_gemv_of_one_row_and_of_two() {
    let few = |kernel: &MoeQuantGemv| kernel.rows == 1 && kernel.n < 1000;
    let alone: Vec<_> = moe_quant_gemv::rows().into_iter().filter(|row| few(&row.kernel)).collect();
    assert!(alone.len() > 10);
    for row in alone {
        let MoeQuantGemv { x, ids, y, .. } = row.kernel;
        let two = MoeQuantGemv { rows: 2, ..row.kernel };
        compare_with_two(&row, &two, [buffer(x), buffer(ids), buffer(y)], buffer(y), 0);
    }
}

/// On a GPU whose blocks have more than one tile each, so that other warps have the steps that are left over.
#[test]
fn quant_gemv_of_one_row_and_of_two() {
    let plain = |QuantGemv { rows, n, k, norm_weight, outbox, x_settled, .. }: &QuantGemv| {
        let is_plain = norm_weight.is_null() && !outbox.sends() && *x_settled == 0;
        is_plain && *rows == 1 && *n > 32 && *k <= 4096
    };
    let alone = quant_gemv::rows().into_iter().filter(|row| plain(&row.kernel));
    for row in alone.chain(quant_gemv::tiles_of_odd_steps()) {
        let QuantGemv { x, residual, y, y_f32, .. } = row.kernel;
        let two = QuantGemv { rows: 2, ..row.kernel };
        let own = buffer(y).or(buffer(y_f32));
        compare_with_two(&row, &two, [buffer(x), buffer(residual), own], own, 3);
    }
}

/// The results of one row beside those of the same row twice, with these buffers twice as long.
fn compare_with_two<K: PlannedKernel>(
    row: &Row<K>,
    two: &K,
    longer: [Option<usize>; 3],
    own: Option<usize>,
    device: usize,
) {
    let mut twice = row.data.clone();
    for (at, of) in longer.into_iter().enumerate() {
        let Some(of) = of.filter(|_| !longer[..at].contains(&of)) else { continue };
        match &mut twice.0[of].values {
            Values::Reals(reals) => reals.extend_from_within(..),
            Values::Integers(integers) => integers.extend_from_within(..),
            Values::Undefined(count) => *count *= 2,
            Values::Codes(..) => unreachable!("tokens are no codes"),
        }
    }
    let own = own.expect("it has results");
    let (one, two) = (run(&row.kernel, &row.data, device), run(two, &twice, device));
    assert_eq!([&one[own][..], &one[own][..]].concat(), two[own], "{}", row.name);
}

/// The data with the row behind the product's norm.
fn behind_norm(gemv: &Gemv, data: &Data) -> Data {
    let Gemv { x, gate, norm_weight: weight, norm_bias: bias, norm_groups: groups, k, eps, roundings, .. } = *gemv;
    let mut with_room = data.clone();
    let y = with_room.undefined("normed", k as usize);
    let behind = if !gate.is_null() {
        let norm = GatedNorm { y: x, z: gate, weight, out: y, rows: 1, width: k, groups, z_stride: k, eps };
        run(&norm, &with_room, 0)
    } else if bias.is_null() {
        run(&RmsNorm { x, weight, y, rows: 1, hidden: k, eps, roundings }, &with_room, 0)
    } else {
        run(&LayerNorm1p { x, weight, bias, y, rows: 1, hidden: k, eps }, &with_room, 0)
    };
    with_x(data, x, &behind[buffer(y).expect("a norm has an output")])
}

/// The data with other values of `x`.
fn with_x<R: Role>(data: &Data, x: Ptr<R>, values: &[Option<f64>]) -> Data {
    let values = values.iter().map(|value| value.expect("a norm writes its row") as f32).collect();
    let mut data = data.clone();
    data.0[buffer(x).expect("there is a row")].values = Values::Reals(values);
    data
}

fn buffer<R: Role>(of: Ptr<R>) -> Option<usize> {
    of.target().map(|(buffer, _)| buffer as usize)
}

fn run(kernel: &dyn PlannedKernel, data: &Data, device: usize) -> Outcome {
    let mut emulator = Emulator::new();
    emulator.device = DEVICES[device];
    emulator.run(kernel, data).expect("it runs")
}

fn compare(
    name: &str,
    (fused, data): (&dyn PlannedKernel, &Data),
    (plain, behind): (&dyn PlannedKernel, &Data),
    results: &[Option<usize>],
) {
    for device in SIZES {
        let (fused, plain) = (run(fused, data, device), run(plain, behind, device));
        for buffer in results.iter().flatten() {
            assert_eq!(fused[*buffer], plain[*buffer], "{name}, device {device}");
        }
    }
}
