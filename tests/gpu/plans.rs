//! Plans on the GPU against the same plans on the CPU device: launches, graphs, inputs, tickets, profiles.
use bytes::Bytes;
use gpu_kernels::all_reduce::meeting::Outbox;
use gpu_kernels::{Act, Advance, Argmax, Element, Embed, GatherRows, Ptr, Relu2, RmsNorm, rms_norm};
use half::bf16;
use nemotron::cpu::Cpu;
use nemotron::device::cuda::Options;
use nemotron::device::{BufferId, BufferKind, Buffers, Device, Gemm, Output, Plan, PlanId, Run, Weight, WeightPart};

use crate::{Row, ensure, open, text};

pub const ROWS: &[Row] = &[
    ("plan: the same tokens and logits as the CPU", same_as_the_cpu),
    ("plan: check mode finds nothing", check_mode_finds_nothing),
    ("plan: graphs change no bit", graphs_change_no_bit),
    ("plan: two runs ahead of the host", two_runs_ahead),
    ("plan: inputs in any order, whole and in part", inputs_in_any_order),
    ("plan: profile", profile),
    ("plan: time of runs and of steps", times),
];

const ROWS_OF_X: u32 = 11;
const SLOTS: u64 = 16;
const HIDDEN: u32 = 256;
const VOCAB: u32 = 1000;

/// A model of one product: embed, norm, relu2, gather, head, argmax; the next step's ids are the tokens of this one.
struct Tiny {
    fresh: BufferId,
    ids: BufferId,
    index: BufferId,
    slots: BufferId,
    positions: BufferId,
    lengths: BufferId,
    sampled: BufferId,
    x: BufferId,
    normed: BufferId,
    gathered: BufferId,
    logits: BufferId,
    table: BufferId,
    norm: BufferId,
    head: BufferId,
}

impl Tiny {
    fn new() -> (Tiny, Buffers) {
        let mut b = Buffers::default();
        let mut input = |name: &str, elements| b.add(name, Element::I32, elements, BufferKind::Input);
        let rows = u64::from(ROWS_OF_X);
        let [ids, index, slots, positions, lengths] =
            ["ids", "index", "slots", "positions", "lengths"].map(|name| input(name, rows));
        let fresh = input("fresh", 1);
        let mut scratch = |name: &str, element, elements| b.add(name, element, elements, BufferKind::Scratch);
        let [x, normed, gathered] =
            ["x", "normed", "gathered"].map(|name| scratch(name, Element::Act, rows * u64::from(HIDDEN)));
        let logits = scratch("logits", Element::F32, rows * u64::from(VOCAB));
        let sampled = b.add("sampled", Element::I32, 2 * SLOTS, BufferKind::Sampled { slots: SLOTS as usize });
        let [table, head] = [1, 2].map(|seed| b.add_weight("table", weight(VOCAB, HIDDEN, seed)));
        let norm = b.add_weight("norm", weight(1, HIDDEN, 3));
        let tiny = Tiny {
            fresh,
            ids,
            index,
            slots,
            positions,
            lengths,
            sampled,
            x,
            normed,
            gathered,
            logits,
            table,
            norm,
            head,
        };
        (tiny, b)
    }

    fn plan(&self) -> Plan {
        let (rows, hidden, vocab) = (ROWS_OF_X, HIDDEN, VOCAB);
        let mut plan = Plan { decode: true, ..Plan::default() };
        plan.launch(Advance {
            fresh: self.fresh.ptr(),
            positions: self.positions.ptr(),
            lengths: self.lengths.ptr(),
            sequences: rows,
        });
        let (ids, table, x) = (self.ids.ptr(), self.table.ptr(), self.x.ptr());
        let tables = Embed::alone(table);
        plan.launch(Embed { ids, sampled: self.sampled.ptr(), tables, out: x, rows, hidden, vocab, ranks: 1 });
        let (weight, y) = (self.norm.ptr(), self.normed.ptr::<Act>());
        plan.launch(RmsNorm { x, weight, y, rows, hidden, eps: 1e-5, roundings: rms_norm::TWICE });
        plan.launch(Relu2 { x: y, y, count: rows * hidden });
        plan.launch(GatherRows { x: y, index: self.index.ptr(), out: self.gathered.ptr(), rows, hidden });
        let (x, w, out) = (self.gathered.ptr(), self.head.ptr(), Output::F32(self.logits.ptr()));
        plan.gemm(Gemm::new(x, w, out, [rows, vocab, hidden]));
        let (logits, slots) = (self.logits.ptr(), self.slots.ptr());
        let (sampled, shared, counters) = (self.sampled.ptr::<i32>(), Ptr::NULL, Ptr::NULL);
        let faults = sampled.offset(SLOTS);
        plan.launch(Argmax { logits, slots, sampled, faults, shared, counters, outbox: Outbox::NONE, rows, vocab });
        plan
    }

    /// First step: ids from the host; later ones take what the slots hold.
    fn start(&self, device: &mut dyn Device, plan: PlanId) -> Result<nemotron::device::Ticket, String> {
        let rows = 0..ROWS_OF_X as i32;
        let ids: Vec<i32> = rows.clone().map(|row| row * 37 % VOCAB as i32).collect();
        let slots: Vec<i32> = rows.clone().map(|row| (row * 3) % 16).collect();
        let positions: Vec<i32> = rows.clone().map(|row| 60 + row).collect();
        let lengths: Vec<i32> = rows.clone().map(|row| if row == 4 { 0 } else { 61 + row }).collect();
        let reversed: Vec<i32> = rows.rev().collect();
        let inputs: [(_, &[i32]); 6] = [
            (self.ids.ptr(), &ids),
            (self.slots.ptr(), &slots),
            (self.positions.ptr(), &positions),
            (self.lengths.ptr(), &lengths),
            (self.index.ptr(), &reversed),
            (self.fresh.ptr(), &[1]),
        ];
        device.run(plan, &inputs).map_err(text)
    }

    /// Ids that name the slots.
    fn chained(&self) -> Vec<i32> {
        (0..ROWS_OF_X as i32).map(|row| -1 - (row * 3) % 16).collect()
    }
}

fn weight(rows: u32, columns: u32, seed: u32) -> Weight {
    let mut state = seed;
    let numbers = (0..rows * columns).map(|_| {
        state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        bf16::from_f32((state >> 8) as f32 / (1 << 23) as f32 - 1.0)
    });
    let data = Bytes::from(bytemuck::pod_collect_to_vec::<bf16, u8>(&numbers.collect::<Vec<_>>()));
    Weight::new(vec![WeightPart::new(data, columns as usize, 0..rows as usize, 0..columns as usize)])
}

/// Tokens of each of `steps` steps, and the last logits.
fn generate(device: &mut dyn Device, steps: usize) -> Result<(Vec<Vec<i32>>, Vec<f32>), String> {
    let (tiny, buffers) = Tiny::new();
    device.allocate(buffers).map_err(text)?;
    let plan = device.prepare(tiny.plan()).map_err(text)?;
    let mut ticket = tiny.start(device, plan)?;
    let mut tokens = vec![device.sampled(ticket).map_err(text)?];
    for step in 1..steps {
        let chained = tiny.chained();
        let ids: [(_, &[i32]); 1] = [(tiny.ids.ptr(), &chained)];
        ticket = device.run(plan, if step == 1 { &ids } else { &[] }).map_err(text)?;
        tokens.push(device.sampled(ticket).map_err(text)?);
    }
    let logits = device.read_f32(tiny.logits.ptr(), (ROWS_OF_X * VOCAB) as usize).map_err(text)?;
    Ok((tokens, logits))
}

fn same_as_the_cpu() -> Result<String, String> {
    let (want_tokens, want) = generate(&mut Cpu::<bf16>::new(), 12)?;
    let (got_tokens, got) = generate(&mut open(Options::default())?, 12)?;
    ensure(got_tokens == want_tokens, || format!("tokens {got_tokens:?}, the CPU has {want_tokens:?}"))?;
    let largest = want.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let worst = got.iter().zip(&want).map(|(got, want)| (got - want).abs()).fold(0f32, f32::max) / largest;
    ensure(worst < 1e-5, || format!("logits differ by {worst:.1e} of the largest"))?;
    Ok(format!("12 steps of {ROWS_OF_X} sequences; logits within {worst:.1e}"))
}

fn check_mode_finds_nothing() -> Result<String, String> {
    let plain = generate(&mut open(Options::default())?, 6)?;
    let checked = generate(&mut open(Options { check: true, ..Options::default() })?, 6)?;
    ensure(plain == checked, || "check mode changes the result".into())?;
    Ok("the same bits".into())
}

fn graphs_change_no_bit() -> Result<String, String> {
    let with = generate(&mut open(Options::default())?, 20)?;
    let without = generate(&mut open(Options { graphs: false, ..Options::default() })?, 20)?;
    let again = generate(&mut open(Options::default())?, 20)?;
    ensure(with == without, || "a graph changes the result".into())?;
    ensure(with == again, || "a second run changes the result".into())?;
    Ok("20 steps; a second run too".into())
}

fn two_runs_ahead() -> Result<String, String> {
    let mut patient = open(Options::default())?;
    let (want, _) = generate(&mut patient, 30)?;
    let mut cuda = open(Options::default())?;
    let (tiny, buffers) = Tiny::new();
    cuda.allocate(buffers).map_err(text)?;
    let plan = cuda.prepare(tiny.plan()).map_err(text)?;
    let mut behind = tiny.start(&mut cuda, plan)?;
    let mut got = Vec::new();
    for step in 1..30 {
        let chained = tiny.chained();
        let ids: [(_, &[i32]); 1] = [(tiny.ids.ptr(), &chained)];
        let ahead = cuda.run(plan, if step == 1 { &ids } else { &[] }).map_err(text)?;
        got.push(cuda.sampled(behind).map_err(text)?);
        behind = ahead;
    }
    ensure(got[..] == want[..29], || "tokens differ when they are read a step late".into())?;
    ensure(cuda.sampled(nemotron::device::Ticket(0)).is_err(), || "a ticket of 29 runs ago is answered".into())?;
    Ok("29 tickets".into())
}

fn inputs_in_any_order() -> Result<String, String> {
    for check in [false, true] {
        let mut cuda = open(Options { check, ..Options::default() })?;
        let mut buffers = Buffers::default();
        let sizes = [1u64, 64, 63, 200, 5];
        let ids: Vec<BufferId> =
            sizes.iter().map(|size| buffers.add("input", Element::I32, *size, BufferKind::Input)).collect();
        cuda.allocate(buffers).map_err(text)?;
        let nothing = cuda.prepare(Plan::default()).map_err(text)?;
        let numbers: Vec<i32> = (1..=200).collect();
        let first: [(_, &[i32]); 5] = [4, 0, 2, 3, 1].map(|i: usize| (ids[i].ptr(), &numbers[..sizes[i] as usize]));
        cuda.run(nothing, &first).map_err(text)?;
        let part: [(_, &[i32]); 3] =
            [(ids[3].ptr::<i32>().offset(100), &[-1, -2]), (ids[1].ptr(), &[-3]), (ids[2].ptr(), &[-4])];
        cuda.run(nothing, &part).map_err(text)?;
        let mut want: Vec<Vec<i32>> = sizes.iter().map(|size| numbers[..*size as usize].to_vec()).collect();
        want[3][100..102].copy_from_slice(&[-1, -2]);
        (want[1][0], want[2][0]) = (-3, -4);
        for (id, want) in ids.iter().zip(&want) {
            let found = cuda.read_bytes(*id).map_err(text)?;
            ensure(found == bytemuck::cast_slice::<i32, u8>(want), || format!("input {} differs", id.0))?;
        }
        let long = [0; 6];
        let too_long: [(_, &[i32]); 1] = [(ids[4].ptr(), &long)];
        ensure(cuda.run(nothing, &too_long).is_err(), || "six numbers went into five".into())?;
    }
    Ok("5 inputs, then 3 parts".into())
}

fn profile() -> Result<String, String> {
    let mut cuda = open(Options::default())?;
    let (tiny, buffers) = Tiny::new();
    cuda.allocate(buffers).map_err(text)?;
    let plan = cuda.prepare(tiny.plan()).map_err(text)?;
    tiny.start(&mut cuda, plan)?;
    let times = cuda.profile(plan, 20).map_err(text)?;
    ensure(times.len() == 7 && times.iter().all(|time| time.microseconds > 0.0), || format!("{times:?}"))?;
    let line = times.iter().map(|time| format!("{} {:.1}", time.name, time.microseconds));
    Ok(line.collect::<Vec<_>>().join(", ") + " µs")
}

/// The pause in front of what is timed is no part of it, and more runs take longer.
fn times() -> Result<String, String> {
    let mut cuda = open(Options::default())?;
    let (tiny, buffers) = Tiny::new();
    cuda.allocate(buffers).map_err(text)?;
    let plan = cuda.prepare(tiny.plan()).map_err(text)?;
    tiny.start(&mut cuda, plan)?;
    let mut of = |runs: usize| -> Result<f64, String> {
        let runs: Vec<Run> = vec![(plan, &[]); runs];
        cuda.time(&runs).map_err(text)?;
        Ok(cuda.time(&runs).map_err(text)?.as_secs_f64() * 1e6)
    };
    let (two, forty) = (of(2)?, of(40)?);
    ensure(two > 1.0 && two < 400.0 && forty > 2.0 * two, || format!("2 runs {two:.1} us, 40 runs {forty:.1} us"))?;
    let steps = cuda.time_steps(plan, &[]).map_err(text)?;
    ensure(steps.len() == 7 && steps.iter().all(|step| !step.is_zero()), || format!("{steps:?}"))?;
    let sum: f64 = steps.iter().map(|step| step.as_secs_f64() * 1e6).sum();
    Ok(format!("2 runs {two:.1} µs, 40 runs {forty:.1} µs, 7 steps {sum:.1} µs"))
}
