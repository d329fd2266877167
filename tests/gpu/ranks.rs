//! GPUs that hold a model together: golden logits, the same bits every time, ranks that fail or stand still, and what a sum takes.
use std::time::{Duration, Instant};

use bytes::Bytes;
use gpu_kernels::{Act, Element, GEMV_MAX_ROWS, Ptr};
use nemotron::device::cuda::{self, Collectives, Cuda, Options};
use nemotron::device::{
    AllGather, AllReduce, BufferId, BufferKind, Buffers, Device, Format, Inputs, Output, Plan, PlanId, Ranks, Step,
    Ticket, Weight, WeightPart,
};
use nemotron::error::{Category, Error};
use nemotron::session::expected::Expected;
use nemotron::session::verify::verify;
use nemotron::session::{LoadOptions, Model, RankChoice};

use crate::models::{file, options};
use crate::several::{Several, connected, numbers_of, on_several, reach_each_other};
use crate::{Row, ensure, text};

pub const ROWS: &[Row] = &[
    ("ranks: sums and columns, to the bit", || on_several(sums_and_columns)),
    ("ranks: golden logits are within their bounds", || on_several(golden)),
    ("ranks: the same logits to the bit every time", || on_several(same_bits)),
    ("ranks: one that fails ends the run", || on_several(|several| ended(several, Fault::Fails))),
    ("ranks: one that dies ends the run", || on_several(|several| ended(several, Fault::Dies))),
    ("ranks: one that does not come ends the run", || on_several(|several| ended(several, Fault::Stays))),
    ("ranks: one with another plan ends the run", || on_several(|several| ended(several, Fault::Differs))),
    ("ranks: one without memory ends the load", || on_several(without_memory)),
    ("ranks: what a sum takes", || on_several(time_sums)),
];

/// The sets that two ranks can hold, with what each kind of block has.
const SETS: [&str; 12] = [
    "nemotron",
    "llama",
    "mistral",
    "tied_head",
    "nemotron_fp8",
    "llama_nvfp4",
    "llama_int4_awq",
    "nemotron_h",
    "nemotron_h_wide_state",
    "nemotron_h_moe",
    "nemotron_h_latent",
    "nemotron_h_latent_mixed",
];

/// Of these, those whose bits are compared.
const SETS_OF_BITS: [&str; 2] = ["nemotron", "nemotron_h_latent_mixed"];

fn load(set: &str, Several { ranks, collectives }: Several) -> Result<Model, Error> {
    let options = options(&format!("tests/golden/{set}")).expect("the sets are here");
    let ranks = RankChoice::Gpus(numbers_of(ranks)?);
    let options = LoadOptions { ranks, collectives, context: Some(384), ..options };
    Model::load(&options, &mut |_| {}, |_| Ok(()))
}

pub fn golden(several: Several) -> Result<String, String> {
    let mut lines = Vec::new();
    for set in SETS {
        let model = match load(set, several) {
            Err(error) if several.ranks > 2 && error.message().contains("cannot be cut") => continue,
            model => model.map_err(text)?,
        };
        let expected = file(&format!("tests/golden/{set}/expected.safetensors"))?;
        let reports = verify(&model, &Expected::read(&expected).map_err(text)?).map_err(text)?;
        ensure(reports.iter().all(|report| report.passed), || format!("{set}: {reports:?}"))?;
        let worst = reports.iter().map(|report| report.error / report.reference_bf16_error).fold(0.0, f64::max);
        lines.push(format!("{set} {worst:.2}"));
    }
    Ok(format!("of the reference's error: {}", lines.join(", ")))
}

fn same_bits(several: Several) -> Result<String, String> {
    for set in SETS_OF_BITS {
        let first = bits(set, &load(set, several).map_err(text)?)?;
        let model = load(set, several).map_err(text)?;
        for run in 0..20 {
            ensure(bits(set, &model)? == first, || format!("{set}: other bits in run {run}"))?;
        }
    }
    Ok("2 models, 20 runs".into())
}

/// Whether ranks that meet in the host's memory have the bits of those that meet in each other's.
pub fn bits_of_peers(several: Several) -> Result<String, String> {
    if !reach_each_other()? {
        return Ok("left out: they do not reach each other's memory".into());
    }
    let peers = Several { collectives: Collectives::Peers, ..several };
    for set in SETS_OF_BITS {
        let [here, there] = [several, peers].map(|several| load(set, several).map_err(text));
        ensure(bits(set, &here?)? == bits(set, &there?)?, || format!("{set}: other bits than in each other's memory"))?;
    }
    Ok(format!("{} models", SETS_OF_BITS.len()))
}

/// Logits of the longest prompt.
fn bits(set: &str, model: &Model) -> Result<Vec<u32>, String> {
    let expected = Expected::read(&file(&format!("tests/golden/{set}/expected.safetensors"))?).map_err(text)?;
    let prompt = expected.prompts.iter().max_by_key(|prompt| prompt.ids.len()).ok_or("no prompt")?;
    let logits = model.engine().logits(&prompt.ids, prompt.rows).map_err(text)?;
    Ok(logits.into_iter().map(f32::to_bits).collect())
}

/// What each rank has for itself: activations where it is so `rounded`, else f32.
fn of_ranks(buffers: &mut Buffers, values: &[Vec<f32>], rounded: bool) -> Output {
    let (format, element) = if rounded { (Format::Bf16, Element::Weight) } else { (Format::F32, Element::F32) };
    let part = |values: &Vec<f32>| {
        let bytes = match rounded {
            true => bytemuck::pod_collect_to_vec::<u16, u8>(&codes(values)),
            false => bytemuck::pod_collect_to_vec::<f32, u8>(values),
        };
        Weight::new(vec![WeightPart::in_place(format, Bytes::from(bytes), values.len(), 0..1, 0..values.len())])
    };
    let weight = BufferKind::Weight(Weight::of_ranks(values.iter().map(part).collect()));
    let x = buffers.add("x", element, values[0].len() as u64, weight);
    if rounded { Output::Act(x.ptr()) } else { Output::F32(x.ptr()) }
}

fn codes(values: &[f32]) -> Vec<u16> {
    values.iter().map(|value| half::bf16::from_f32(*value).to_bits()).collect()
}

/// Numbers with all bits of an f32, so that each order of a sum has its own.
fn numbers(count: usize, rank: u32) -> Vec<f32> {
    let number = |i: usize| (i as u32).wrapping_mul(2_654_435_761).wrapping_add(rank.wrapping_mul(0x9e37_79b9));
    (0..count).map(|i| f64::from(number(i) as i32 >> 4) as f32 / 3e6).collect()
}

fn device(several: Several, options: Options) -> Result<Ranks, String> {
    let all = connected(several, options)?.into_iter().map(|device| Box::new(device) as Box<dyn Device>);
    Ranks::new(all.collect()).map_err(text)
}

/// What ranks bring to one step.
struct Met {
    own: Vec<Vec<f32>>,
    sums: BufferId,
    columns: BufferId,
}

/// Sums and columns, one by one and as a graph: sums in one shot and in two, columns in several launches too. Neighbours differ: what
/// a rank brought to an earlier meeting would be noticed.
pub fn sums_and_columns(several: Several) -> Result<String, String> {
    let ranks = several.ranks;
    let shapes =
        [(1, 4096, false), (3, 1000, false), (2, 8, false), (20, 1000, true), (700, 4096, true), (131, 8200, true)];
    for (rows, n, rounded) in shapes {
        let (mut buffers, mut steps) = (Buffers::default(), Vec::new());
        let mut plan = Plan { decode: true, ..Plan::default() };
        for step in 0..3 {
            let numbers = |rank| numbers((rows * n) as usize, step * ranks + rank);
            steps.push(append((0..ranks).map(numbers).collect(), &mut buffers, &mut plan, ([rows, n], rounded)));
        }
        let mut device = device(several, Options::default())?;
        device.allocate(buffers).map_err(text)?;
        let plan = device.prepare(plan).map_err(text)?;
        for run in 0..5 {
            device.enqueue(plan, &[]).map_err(text)?;
            for step in &steps {
                check_step(&mut device, step, [rows, n], rounded).map_err(|fault| format!("{fault}, run {run}"))?;
            }
        }
    }
    Ok(format!("{} shapes, 5 runs", shapes.len()))
}

/// Appends a sum and a gathering of what ranks own.
fn append(
    mut own: Vec<Vec<f32>>,
    buffers: &mut Buffers,
    plan: &mut Plan,
    ([rows, n], rounded): ([u32; 2], bool),
) -> Met {
    let x = of_ranks(buffers, &own, rounded);
    if rounded {
        own.iter_mut().flatten().for_each(|value| *value = half::bf16::from_f32(*value).to_f32());
    }
    let (count, ranks) = (u64::from(rows * n), own.len() as u64);
    let sums = buffers.add("y", Element::Act, count, BufferKind::Scratch);
    let element = if rounded { Element::Act } else { Element::F32 };
    let columns = buffers.add("columns", element, count * ranks, BufferKind::Scratch);
    let (bias, residual) = (Ptr::NULL, Ptr::NULL);
    plan.all_reduce(AllReduce { x, bias, residual, y: sums.ptr::<Act>(), rows, n });
    let y = if rounded { Output::Act(columns.ptr()) } else { Output::F32(columns.ptr()) };
    // Columns that do not divide by 4.
    plan.all_gather(AllGather { x, y, rows, n: if rows == 1 { n - 1 } else { n } });
    Met { own, sums, columns }
}

/// Whether all sums and columns of a step are there, to the bit.
fn check_step(device: &mut Ranks, step: &Met, [rows, n]: [u32; 2], rounded: bool) -> Result<(), String> {
    let (own, rows, n) = (&step.own, rows as usize, n as usize);
    let width = if rows == 1 { n - 1 } else { n };
    let row = |row: usize| own.iter().flat_map(move |own| own[row * width..][..width].iter().copied());
    let want: Vec<f32> = (0..rows).flat_map(row).collect();
    let same = match rounded {
        true => read_codes(device, step.columns, want.len())? == codes(&want),
        false => {
            let got = device.read_f32(step.columns.ptr(), want.len()).map_err(text)?;
            got.iter().map(|value| value.to_bits()).eq(want.iter().map(|value| value.to_bits()))
        }
    };
    ensure(same, || format!("columns of {rows} x {n} differ"))?;
    let sum = |i: usize| own[1..].iter().fold(own[0][i], |sum, own| sum + own[i]);
    let want = codes(&(0..rows * n).map(sum).collect::<Vec<_>>());
    let got = read_codes(device, step.sums, want.len())?;
    let differs = (0..want.len()).find(|i| got[*i] != want[*i]);
    ensure(differs.is_none(), || format!("sums of {rows} x {n} differ at {differs:?}"))
}

/// Activations of rank 0.
fn read_codes(device: &mut Ranks, buffer: BufferId, count: usize) -> Result<Vec<u16>, String> {
    let words = device.read_i32(buffer.ptr(), count / 2).map_err(text)?;
    Ok(bytemuck::cast_slice(&words).to_vec())
}

/// What a rank does wrong.
#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    /// It says so.
    Fails,
    /// Its thread panics.
    Dies,
    /// It says that it has run, and has not.
    Stays,
    /// It runs a plan of fewer columns, from the first run on.
    Differs,
}

/// A GPU that runs some times, and then no more.
struct Faulty {
    device: Cuda,
    runs: u32,
    fault: Fault,
}

impl Device for Faulty {
    fn description(&self) -> Vec<String> {
        self.device.description()
    }
    fn runs_ahead(&self) -> bool {
        true
    }
    fn allocate(&mut self, buffers: Buffers) -> nemotron::error::Result<()> {
        self.device.allocate(buffers)
    }
    fn prepare(&mut self, mut plan: Plan) -> nemotron::error::Result<PlanId> {
        let sums = plan.steps.iter_mut().filter(|_| self.fault == Fault::Differs && self.runs < u32::MAX);
        sums.for_each(|step| match step {
            Step::AllReduce(sum) => sum.n /= 2,
            _ => unreachable!("the plan has sums alone"),
        });
        self.device.prepare(plan)
    }
    fn release(&mut self, plan: PlanId) -> nemotron::error::Result<()> {
        self.device.release(plan)
    }
    fn run(&mut self, plan: PlanId, inputs: &Inputs) -> nemotron::error::Result<Ticket> {
        self.device.run(plan, inputs)
    }
    fn enqueue(&mut self, plan: PlanId, inputs: &Inputs) -> nemotron::error::Result<()> {
        if self.runs > 0 {
            self.runs -= 1;
            return self.device.enqueue(plan, inputs);
        }
        match self.fault {
            Fault::Fails => Err(Error::new(Category::Device, "A planted fault")),
            Fault::Dies => panic!("a planted panic"),
            Fault::Stays => Ok(()),
            Fault::Differs => self.device.enqueue(plan, inputs),
        }
    }
    fn sampled(&mut self, ticket: Ticket) -> nemotron::error::Result<Vec<i32>> {
        self.device.sampled(ticket)
    }
    fn read_f32(&mut self, source: Ptr<f32>, count: usize) -> nemotron::error::Result<Vec<f32>> {
        self.device.read_f32(source, count)
    }
    fn read_i32(&mut self, source: Ptr<i32>, count: usize) -> nemotron::error::Result<Vec<i32>> {
        self.device.read_i32(source, count)
    }
    fn give_up(&mut self) {
        self.device.give_up();
    }
}

/// The last rank commits a fault after some runs; whether all know within 5 s, and give their memory back.
pub fn ended(several: Several, fault: Fault) -> Result<String, String> {
    let ranks = several.ranks;
    let free = || connected(several, Options::default())?[0].free_bytes().map_err(text);
    let before = free()?;
    let mut took = Vec::new();
    // Steps run one by one in the first run, and as a graph from the second on.
    for runs in [0, 3] {
        let mut all: Vec<Box<dyn Device>> = Vec::new();
        for device in connected(several, Options { rank_timeout: Duration::from_secs(2), ..Options::default() })? {
            let runs = if all.len() + 1 == ranks as usize { runs } else { u32::MAX };
            all.push(Box::new(Faulty { device, runs, fault }));
        }
        // Of these nothing is known on the host.
        if (runs == 0 && fault == Fault::Stays) || (runs > 0 && fault == Fault::Differs) {
            continue;
        }
        let (mut device, plan, y) = sum_of(Ranks::new(all).map_err(text)?, ranks, [1, 4096], 1)?;
        for _ in 0..runs {
            device.enqueue(plan, &[]).map_err(text)?;
        }
        let start = Instant::now();
        let ran = device.enqueue(plan, &[]).and_then(|()| device.read_i32(y.ptr(), 1));
        let error = ran.err().ok_or("nobody noticed")?;
        took.push(start.elapsed().as_secs_f64());
        let last = ranks - 1;
        let (message, details) = match fault {
            Fault::Fails => ("A planted fault", format!("rank {last}")),
            Fault::Dies => ("A rank has died", format!("rank {last}: a planted panic")),
            Fault::Stays | Fault::Differs => ("A rank waits in vain", format!("for rank {last}")),
        };
        let said = error.message() == message && error.details_text().contains(&details);
        ensure(said && start.elapsed() < Duration::from_secs(5), || format!("{error}, {took:?} s"))?;
    }
    let after = free()?;
    ensure(before.abs_diff(after) < 64 << 20, || format!("free before {before}, after {after}"))?;
    Ok(format!("known after {took:.3?} s"))
}

/// Another program has taken the memory of the last rank's GPU; whether all know within 5 s, and give theirs back.
fn without_memory(several: Several) -> Result<String, String> {
    const NEEDED: u64 = 1 << 30;
    let ranks = several.ranks;
    let free = |rank: u32| connected(several, Options::default())?[rank as usize].free_bytes().map_err(text);
    let (before, last) = (free(0)?, free(ranks - 1)?);
    let mut other =
        Cuda::open(numbers_of(ranks).map_err(text)?[ranks as usize - 1], Options::default()).map_err(text)?;
    let mut taken = Buffers::default();
    taken.add("taken", Element::F32, (last - NEEDED) / 4, BufferKind::Scratch);
    other.allocate(taken).map_err(text)?;
    let start = Instant::now();
    let mut device = device(several, Options::default())?;
    let mut buffers = Buffers::default();
    buffers.add("needed", Element::F32, NEEDED / 4, BufferKind::Scratch);
    let error = device.allocate(buffers).err().ok_or("it was allocated")?;
    let took = start.elapsed();
    // Where one GPU is all ranks, any of them may be the one that finds too little.
    let whose = if cuda::count().map_err(text)? == 1 { "rank ".into() } else { format!("rank {}: ", ranks - 1) };
    let said = error.details_text().starts_with(&whose) && took < Duration::from_secs(5);
    ensure(said, || format!("{error}, {took:?}"))?;
    drop((device, other));
    let after = free(0)?;
    ensure(before.abs_diff(after) < 64 << 20, || format!("free before {before}, after {after}"))?;
    Ok(format!("known after {:.3} s: {}", took.as_secs_f64(), error.message()))
}

/// A device with a plan of `count` sums of `rows` x `n`, of few rows in f32 as products have them.
fn sum_of(mut device: Ranks, ranks: u32, [rows, n]: [u32; 2], count: u32) -> Result<(Ranks, PlanId, BufferId), String> {
    let mut buffers = Buffers::default();
    let own: Vec<Vec<f32>> = (0..ranks).map(|rank| numbers((rows * n) as usize, rank)).collect();
    let x = of_ranks(&mut buffers, &own, rows > GEMV_MAX_ROWS);
    let sums = buffers.add("y", Element::Act, u64::from(rows * n), BufferKind::Scratch);
    let y = sums.ptr::<Act>();
    let mut plan = Plan { decode: true, ..Plan::default() };
    for _ in 0..count {
        plan.all_reduce(AllReduce { x, bias: Ptr::NULL, residual: y, y, rows, n });
    }
    device.allocate(buffers).map_err(text)?;
    let plan = device.prepare(plan).map_err(text)?;
    Ok((device, plan, sums))
}

pub fn time_sums(several: Several) -> Result<String, String> {
    const COUNT: u32 = 200;
    let mut figures = Vec::new();
    for rows in [1, 2, 8, 9, 32, 64, 128, 256, 512, 2048] {
        let (mut device, plan, _) = sum_of(device(several, Options::default())?, several.ranks, [rows, 4096], COUNT)?;
        let mut times = Vec::new();
        for _ in 0..7 {
            times.push(device.time(&[(plan, &[])]).map_err(text)?);
        }
        times.sort_unstable();
        figures.push(format!("{rows} x 4096: {:.2} µs", times[3].as_secs_f64() * 1e6 / f64::from(COUNT)));
    }
    Ok(figures.join(", "))
}
