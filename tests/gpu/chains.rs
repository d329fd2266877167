//! Products that send, sums over ranks and norms, one behind the other: launches that are one give the bits of those one by one, also
//! where a rank comes late.
use std::time::{Duration, Instant};

use bytes::Bytes;
use gpu_kernels::{Act, Element, LayerNorm1p, Ptr, Relu2, RmsNorm, SkinnyGemm, rms_norm};
use nemotron::device::cuda::{Cuda, Options};
use nemotron::device::{
    AllReduce, BufferId, BufferKind, Buffers, Device, Inputs, Output, Plan, PlanId, Ranks, Ticket, Weight, WeightPart,
};
use nemotron::error::Result as Done;

use crate::several::{Several, connected, on_several};
use crate::{Row, ensure, text};

pub const ROWS: &[Row] = &[("ranks: products that send, sums and norms, one rank late", || on_several(chains))];

/// Columns of the residual stream, and of a rank's share of what is multiplied.
const N: u32 = 1024;
const LAYERS: u32 = 6;
const RUNS: usize = 5;

/// How much slower a rank is than the others.
const SLOWER: u32 = 100;

pub fn chains(several: Several) -> Result<String, String> {
    let mut longest = Duration::ZERO;
    for rows in [9, 20, 64, 128] {
        let (alone, took) = bits(several, rows, true, Duration::ZERO)?;
        let nap = took * SLOWER;
        longest = longest.max(nap);
        for nap in [Duration::ZERO, nap] {
            let (together, _) = bits(several, rows, false, nap)?;
            let differs = (0..alone.len()).find(|run| alone[*run] != together[*run]);
            ensure(differs.is_none(), || format!("{rows} rows, a rank {nap:?} late: other bits in run {differs:?}"))?;
        }
        ensure(alone.iter().all(|run| *run == alone[0]), || format!("{rows} rows: runs differ"))?;
    }
    Ok(format!(
        "{LAYERS} layers of 9 to 128 rows, {RUNS} runs, one rank {SLOWER} times slower: up to {longest:.0?} late"
    ))
}

/// A GPU that is given its work late.
struct Late {
    device: Cuda,
    nap: Duration,
}

impl Device for Late {
    fn description(&self) -> Vec<String> {
        self.device.description()
    }
    fn runs_ahead(&self) -> bool {
        true
    }
    fn allocate(&mut self, buffers: Buffers) -> Done<()> {
        self.device.allocate(buffers)
    }
    fn prepare(&mut self, plan: Plan) -> Done<PlanId> {
        self.device.prepare(plan)
    }
    fn release(&mut self, plan: PlanId) -> Done<()> {
        self.device.release(plan)
    }
    fn run(&mut self, plan: PlanId, inputs: &Inputs) -> Done<Ticket> {
        self.device.run(plan, inputs)
    }
    fn enqueue(&mut self, plan: PlanId, inputs: &Inputs) -> Done<()> {
        std::thread::sleep(self.nap);
        self.device.enqueue(plan, inputs)
    }
    fn sampled(&mut self, ticket: Ticket) -> Done<Vec<i32>> {
        self.device.sampled(ticket)
    }
    fn read_f32(&mut self, source: Ptr<f32>, count: usize) -> Done<Vec<f32>> {
        self.device.read_f32(source, count)
    }
    fn read_i32(&mut self, source: Ptr<i32>, count: usize) -> Done<Vec<i32>> {
        self.device.read_i32(source, count)
    }
    fn give_up(&mut self) {
        self.device.give_up();
    }
}

/// The residual stream and its last norm behind each run, where the last rank is late by `nap`, and steps are `apart` or may be one; and
/// the shortest time of a run.
fn bits(several: Several, rows: u32, apart: bool, nap: Duration) -> Result<(Vec<Vec<i32>>, Duration), String> {
    let ranks = several.ranks;
    let (mut buffers, mut plan) = (Buffers::default(), Plan { decode: true, ..Plan::default() });
    let [stream, normed] = chain(&mut buffers, &mut plan, (ranks, rows), apart);
    let mut all: Vec<Box<dyn Device>> = Vec::new();
    for device in connected(several, Options::default())? {
        let is_last = all.len() + 1 == ranks as usize;
        all.push(if is_last { Box::new(Late { device, nap }) } else { Box::new(device) });
    }
    let mut device = Ranks::new(all).map_err(text)?;
    device.allocate(buffers).map_err(text)?;
    let plan = device.prepare(plan).map_err(text)?;
    let (mut found, mut took) = (Vec::new(), Duration::MAX);
    for _ in 0..RUNS {
        let start = Instant::now();
        device.enqueue(plan, &[]).map_err(text)?;
        let mut read = |from: BufferId| device.read_i32(from.ptr(), (rows * N / 2) as usize).map_err(text);
        found.push([read(stream)?, read(normed)?].concat());
        took = took.min(start.elapsed());
    }
    Ok((found, took))
}

/// The steps; returns the residual stream and its norm.
fn chain(buffers: &mut Buffers, plan: &mut Plan, (ranks, rows): (u32, u32), apart: bool) -> [BufferId; 2] {
    let count = rows * N;
    let mut scratch = |name: &str, element, count: u64| buffers.add(name, element, count, BufferKind::Scratch);
    let [stream, normed, part] = ["stream", "normed", "part"].map(|name| scratch(name, Element::Act, count.into()));
    let idle = scratch("idle", Element::Act, 16);
    let product = SkinnyGemm::new(normed.ptr(), Ptr::NULL, [rows.min(64), N, N / 2]);
    let partial = scratch("partial", Element::F32, product.partials() as u64);
    let first = buffers.add("first", Element::Act, count.into(), BufferKind::Constant(numbers(count, 0, 64.0)));
    let ones = buffers.add_weight("ones", weight(numbers(N, 1, 1.0), 1));
    let pause = |plan: &mut Plan| {
        if apart {
            plan.launch(Relu2 { x: first.ptr(), y: idle.ptr(), count: 16 });
        }
    };
    plan.launch(Relu2 { x: first.ptr(), y: stream.ptr(), count });
    norm(plan, 0, [stream, normed, ones], rows);
    for layer in 0..LAYERS {
        let of_rank = |rank| weight(numbers(N * N / 2, 2 + layer * ranks + rank, 0.25), N as usize);
        let w = Weight::of_ranks((0..ranks).map(of_rank).collect());
        let w = buffers.add("w", Element::Weight, u64::from(N * N / 2), BufferKind::Weight(w));
        for row in (0..rows).step_by(64) {
            let (x, y) = (normed.ptr().offset((row * N / 2).into()), part.ptr().offset((row * N).into()));
            let product = SkinnyGemm { y, ..SkinnyGemm::new(x, w.ptr(), [(rows - row).min(64), N, N / 2]) };
            let (product, join) = product.launches(partial.ptr());
            plan.launch(product);
            plan.launch(join.expect("blocks share its columns"));
        }
        pause(plan);
        let (x, y) = (Output::Act(part.ptr()), stream.ptr::<Act>());
        plan.all_reduce(AllReduce { x, bias: Ptr::NULL, residual: y, y, rows, n: N });
        pause(plan);
        norm(plan, layer, [stream, normed, ones], rows);
    }
    [stream, normed]
}

/// Norms of both kinds in turn.
fn norm(plan: &mut Plan, layer: u32, [stream, normed, ones]: [BufferId; 3], rows: u32) {
    let (x, y, weight, hidden, eps) = (stream.ptr(), normed.ptr(), ones.ptr(), N, 1e-5);
    match layer % 2 {
        0 => plan.launch(RmsNorm { x, weight, y, rows, hidden, eps, roundings: rms_norm::ONCE }),
        _ => plan.launch(LayerNorm1p { x, weight, bias: weight, y, rows, hidden, eps }),
    }
}

fn weight(values: Vec<f32>, rows: usize) -> Weight {
    let codes: Vec<u16> = values.iter().map(|value| half::bf16::from_f32(*value).to_bits()).collect();
    let (bytes, columns) = (Bytes::from(bytemuck::pod_collect_to_vec::<u16, u8>(&codes)), values.len() / rows);
    Weight::new(vec![WeightPart::new(bytes, columns, 0..rows, 0..columns)])
}

/// Numbers between −`scale` and `scale`.
fn numbers(count: u32, seed: u32, scale: f32) -> Vec<f32> {
    let number = |i: u32| i.wrapping_mul(2_654_435_761).wrapping_add(seed.wrapping_mul(0x9e37_79b9)) as i32 >> 8;
    (0..count).map(|i| number(i) as f32 / (1 << 23) as f32 * scale).collect()
}
