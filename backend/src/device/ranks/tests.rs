//! Tests of `Ranks`, with ranks of the CPU.
use std::time::Instant;

use bytes::Bytes;
use gpu_kernels::all_reduce::meeting::Outbox;
use gpu_kernels::argmax::{NONE_FINITE, NOT_A_NUMBER};
use gpu_kernels::{Act, Argmax, Element};
use half::bf16;

use super::*;
use crate::cpu::Cpu;
use crate::device::{AllGather, AllReduce, BufferId, BufferKind, Format, Output, Weight, WeightPart};

/// Words that each rank has for itself, one vector per rank.
fn of_ranks(format: Format, words: &[Vec<u32>]) -> BufferKind {
    let part = |words: &Vec<u32>| {
        let bytes = Bytes::from(bytemuck::pod_collect_to_vec::<u32, u8>(words));
        Weight::new(vec![WeightPart::in_place(format, bytes, words.len(), 0..1, 0..words.len())])
    };
    BufferKind::Weight(Weight::of_ranks(words.iter().map(part).collect()))
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Whether `plan` of that step gives `want` in `y`, on every one of 20 runs.
fn check(buffers: Buffers, plan: &Plan, y: BufferId, want: &[f32]) {
    let mut device = Cpu::<f32>::ranks(3).expect("threads");
    device.allocate(buffers).expect("memory for a few numbers");
    let plan = device.prepare(plan.clone()).expect("a plan that fits");
    for _ in 0..20 {
        device.enqueue(plan, &[]).expect("a run");
        let all = device.all(move |_, device| device.read_f32(y.ptr(), 4)).expect("the result");
        assert!(all.iter().all(|of_rank| bits(of_rank) == bits(want)), "{all:?}, {want:?}");
    }
}

/// In another order these sums have other bits.
#[test]
fn sums_are_in_the_order_of_the_ranks_and_the_same_on_each() {
    let parts = [[1.0, 1e8, 0.1, -3.0], [3e-8, -1e8, 0.7, 0.3], [3e-8, 1.0, 1e-9, 2.7]];
    let residual = [0.5, -0.25, 8.0, 1e-3];
    let mut buffers = Buffers::default();
    let x = of_ranks(Format::F32, &parts.map(|part| bits(&part)));
    let x = Output::F32(buffers.add("x", Element::F32, 4, x).ptr());
    let residual_at = buffers.add("residual", Element::Act, 4, BufferKind::Constant(residual.to_vec())).ptr();
    let column = Bytes::from(bytemuck::pod_collect_to_vec::<bf16, u8>(&[bf16::from_f32(0.5), bf16::from_f32(-2.0)]));
    let bias = Weight::new(vec![WeightPart::new(column, 1, 0..2, 0..1)]);
    let bias = buffers.add_weight("bias", bias).ptr();
    let y = buffers.add("y", Element::Act, 4, BufferKind::Scratch);
    let mut plan = Plan::default();
    plan.all_reduce(AllReduce { x, bias, residual: residual_at, y: y.ptr::<Act>(), rows: 2, n: 2 });
    let want = [0, 1, 2, 3].map(|i| {
        let sum: f32 = parts[0][i] + parts[1][i] + parts[2][i] + [0.5, -2.0][i % 2];
        residual[i] + sum
    });
    check(buffers, &plan, y, &want);
}

#[test]
fn columns_stand_side_by_side() {
    let mut buffers = Buffers::default();
    let x = of_ranks(Format::F32, &[1.0, 2.0, 3.0].map(|rank| bits(&[rank, 10.0 * rank])));
    let x = Output::F32(buffers.add("x", Element::F32, 2, x).ptr());
    let y = buffers.add("y", Element::F32, 6, BufferKind::Scratch);
    let mut plan = Plan::default();
    plan.all_gather(AllGather { x, y: Output::F32(y.ptr()), rows: 2, n: 1 });
    check(buffers, &plan, y, &[1.0, 2.0, 3.0, 10.0]);
}

/// Rows with ties within a rank and between two, the best on the last, a NaN, and nothing that is finite.
#[test]
fn the_best_of_all_columns_is_chosen() {
    const NONE: f32 = f32::NEG_INFINITY;
    let parts = [
        [[1.0, 1.0], [0.0, 2.0], [-1.0, -2.0], [9.0, 1.0], [NONE, NONE]],
        [[1.0, 1.0], [2.0, 2.0], [-3.0, -2.0], [f32::NAN, 1.0], [NONE, NONE]],
        [[0.0, 1.0], [2.0, 1.0], [-3.0, -0.5], [9.0, 1.0], [NONE, NONE]],
    ];
    let mut buffers = Buffers::default();
    let logits = of_ranks(Format::F32, &parts.map(|part| bits(part.as_flattened())));
    let logits = buffers.add("logits", Element::F32, 10, logits).ptr();
    let slots = of_ranks(Format::I32, &[0; 3].map(|_| vec![4, 0, 3, 1, 2]));
    let slots = buffers.add("slots", Element::I32, 5, slots).ptr();
    let sampled = buffers.add("sampled", Element::I32, 10, BufferKind::Sampled { slots: 5 }).ptr::<i32>();
    let (faults, shared, counters, outbox) = (sampled.offset(5), Ptr::NULL, Ptr::NULL, Outbox::NONE);
    let mut plan = Plan::default();
    plan.all_argmax(Argmax { logits, slots, sampled, faults, shared, counters, outbox, rows: 5, vocab: 2 });
    let mut device = Cpu::<f32>::ranks(3).expect("threads");
    device.allocate(buffers).expect("memory for a few numbers");
    let plan = device.prepare(plan).expect("a plan that fits");
    let ticket = device.run(plan, &[]).expect("a run");
    assert_eq!(device.sampled(ticket), Ok(vec![1, 0, 0, 5, 0, 0, NOT_A_NUMBER, NONE_FINITE, 0, 0]));
}

/// A plan whose kernel writes to a slot that each rank has for itself, and then meets the others.
fn meeting_behind(slots: [u32; 2]) -> (Ranks, PlanId) {
    let mut buffers = Buffers::default();
    let logits = buffers.add("logits", Element::F32, 2, BufferKind::Constant(vec![1.0, 2.0])).ptr();
    let slots = of_ranks(Format::I32, &slots.map(|slot| vec![slot]));
    let slots = buffers.add("slots", Element::I32, 1, slots).ptr();
    let sampled = buffers.add("sampled", Element::I32, 4, BufferKind::Sampled { slots: 2 }).ptr::<i32>();
    let y = buffers.add("y", Element::Act, 2, BufferKind::Scratch).ptr();
    let mut plan = Plan::default();
    let (faults, shared, counters) = (sampled.offset(2), Ptr::NULL, Ptr::NULL);
    plan.launch(Argmax { logits, slots, sampled, faults, shared, counters, outbox: Outbox::NONE, rows: 1, vocab: 2 });
    let (bias, residual) = (Ptr::NULL, Ptr::NULL);
    plan.all_reduce(AllReduce { x: Output::F32(logits), bias, residual, y, rows: 1, n: 2 });
    let mut device = Cpu::<f32>::ranks(2).expect("threads");
    device.allocate(buffers).expect("memory for a few numbers");
    let plan = device.prepare(plan).expect("a plan that fits");
    (device, plan)
}

#[test]
fn a_rank_that_dies_ends_the_run_with_what_it_says() {
    let (mut device, plan) = meeting_behind([0, 99]);
    let start = Instant::now();
    let error = device.run(plan, &[]).expect_err("rank 1 has no such slot");
    assert!(start.elapsed() < Duration::from_secs(5), "nobody waits for it");
    assert_eq!(error.message(), "A rank has died");
    assert!(error.details_text().starts_with("rank 1: ") && error.details_text().contains("99"), "{error}");
    assert_eq!(device.run(plan, &[]).expect_err("it stays dead"), error);
}

#[test]
fn ranks_that_choose_different_tokens_are_noticed() {
    let (mut device, plan) = meeting_behind([0, 0]);
    let ticket = device.run(plan, &[]).expect("a run");
    assert_eq!(device.is_done(), Ok(true));
    assert_eq!(device.sampled(ticket), Ok(vec![1, 0, 0, 0]));
    let (mut device, plan) = meeting_behind([0, 1]);
    let ticket = device.run(plan, &[]).expect("a run");
    assert_eq!(device.sampled(ticket).expect_err("they differ").message(), "The ranks differ");
}

#[test]
fn a_device_by_itself_refuses_a_plan_of_several() {
    let mut buffers = Buffers::default();
    let x = Output::F32(buffers.add("x", Element::F32, 2, BufferKind::Scratch).ptr());
    let mut plan = Plan::default();
    plan.all_gather(AllGather { x, y: x, rows: 1, n: 1 });
    let mut device = Cpu::<f32>::new();
    device.allocate(buffers).expect("memory for a few numbers");
    let error = device.prepare(plan).expect_err("nobody to meet");
    assert_eq!(error.message(), "A plan of several ranks has one device");
}
