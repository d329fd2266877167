//! A row that a kernel normalises on its way has the bits of the same kernel behind a norm of its own: so one token has them in any company.
use gpu_kernels::{GatedNorm, Gemv, MoeRoute, Ptr, QuantGemv, RmsNorm, Role};
use nemotron_backend::device::PlannedKernel;

use crate::data::{Data, Values};
use crate::emulator::Emulator;
use crate::target::{Outcome, Target};
use crate::{gemv, moe_route, quant_gemv};

#[test]
fn gemv_behind_gates() {
    for row in gemv::rows().into_iter().filter(|row| !row.kernel.gate.is_null()) {
        let data = gated(&row.kernel, &row.data);
        let plain = Gemv { norm_weight: Ptr::NULL, gate: Ptr::NULL, norm_groups: 0, ..row.kernel };
        let results = [buffer(row.kernel.y), buffer(row.kernel.y_f32)];
        compare(&row.name, (&row.kernel, &row.data), (&plain, &data), &results);
    }
}

#[test]
fn quant_gemv_behind_gates() {
    for row in quant_gemv::rows().into_iter().filter(|row| !row.kernel.gate.is_null()) {
        let data = gated(&row.kernel.around(), &row.data);
        let plain = QuantGemv { norm_weight: Ptr::NULL, gate: Ptr::NULL, norm_groups: 0, ..row.kernel };
        let results = [buffer(row.kernel.y), buffer(row.kernel.y_f32)];
        compare(&row.name, (&row.kernel, &row.data), (&plain, &data), &results);
    }
}

#[test]
fn moe_route_behind_rms_norm() {
    for row in moe_route::rows().into_iter().filter(|row| !row.kernel.norm_weight.is_null()) {
        let MoeRoute { x, norm_weight, normed, hidden, eps, roundings, .. } = row.kernel;
        let norm = RmsNorm { x, weight: norm_weight, y: normed, rows: 1, hidden, eps, roundings };
        let data = with_x(&row.data, x, &run(&norm, &row.data), normed);
        let plain = MoeRoute { norm_weight: Ptr::NULL, normed: Ptr::NULL, ..row.kernel };
        let results = [buffer(row.kernel.logits), buffer(row.kernel.ids), buffer(row.kernel.weights)];
        compare(&row.name, (&row.kernel, &row.data), (&plain, &data), &results);
    }
}

/// The data with the row behind `gated_norm`.
fn gated(gemv: &Gemv, data: &Data) -> Data {
    let Gemv { x, gate, norm_weight, norm_groups, k, eps, .. } = *gemv;
    let groups = norm_groups;
    let norm = GatedNorm { y: x, z: gate, weight: norm_weight, out: x, rows: 1, width: k, groups, z_stride: k, eps };
    with_x(data, x, &run(&norm, data), x)
}

/// The data with what a run left in `from` for `x`.
fn with_x<R: Role>(data: &Data, x: Ptr<R>, outcome: &Outcome, from: Ptr<R>) -> Data {
    let own = buffer(from).expect("a norm has an output");
    let values = outcome[own].iter().map(|value| value.expect("a norm writes its row") as f32).collect();
    let mut data = data.clone();
    data.0[buffer(x).expect("there is a row")].values = Values::Reals(values);
    data
}

fn buffer<R: Role>(of: Ptr<R>) -> Option<usize> {
    of.target().map(|(buffer, _)| buffer as usize)
}

fn run(kernel: &dyn PlannedKernel, data: &Data) -> Outcome {
    Emulator::new().run(kernel, data).expect("it runs")
}

fn compare(
    name: &str,
    (fused, data): (&dyn PlannedKernel, &Data),
    (plain, behind): (&dyn PlannedKernel, &Data),
    results: &[Option<usize>],
) {
    let (fused, plain) = (run(fused, data), run(plain, behind));
    for buffer in results.iter().flatten() {
        assert_eq!(fused[*buffer], plain[*buffer], "{name}");
    }
}
