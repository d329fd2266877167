//! Single kernels of a pass, equal ones together: in their place in the pass, and many of them in a row.
use std::time::Duration;

use gpu_kernels::StepShape;

use super::lists::KERNEL_STEPS;
use super::met::Met;
use super::pass;
use super::steps::{self, KeptInputs, borrowed};
use super::{Bench, BufferName, Cost, Peaks, Times, Work};
use crate::device::{Plan, PlanId, Step};
use crate::error::{Category, Error, Result};
use crate::forward::{self, Bucket, Span};

/// Runs of the whole plan, step by step, behind one to warm up.
const RUNS: usize = 9;

/// Launches of one kernel in a row, at least, but for those that would take longer than this together.
const IN_A_ROW: usize = 32;
const LONGEST_ROW: Duration = Duration::from_millis(100);

/// What equal launches of one kernel take.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelTime {
    /// Kernel name, or `gemm`.
    pub name: &'static str,
    /// Which weight, and its rows and columns; empty for a kernel without a matrix.
    pub shape: String,
    /// Launches in one pass.
    pub launches: usize,
    /// Seconds of one launch in its place in the pass, between two events; about 1 µs of it is the event's.
    pub in_place: f64,
    /// Seconds of one launch among others like it, the start of a launch included; on a GPU as a graph. Weights come from
    /// memory, small activations and short caches may not.
    pub in_a_row: Times,
    /// What one launch costs.
    pub cost: Cost,
}

impl KernelTime {
    /// Seconds of all launches of a pass, at the speed of a row.
    pub fn total(&self) -> f64 {
        self.in_a_row.median * self.launches as f64
    }

    /// Share of the peaks, in percent.
    pub fn percent_of_peak(&self) -> f64 {
        100.0 * self.cost.least / self.in_a_row.median
    }
}

/// The kernels of a pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KernelTimes {
    /// One by one; those that take longest first.
    pub each: Vec<KernelTime>,
    /// Of a layer's experts together: a launch is a layer's share.
    pub together: Vec<KernelTime>,
}

/// Steps of a plan that are equal but for the addresses, or the same part of each layer.
struct Group {
    name: &'static str,
    shape: String,
    steps: Vec<usize>,
    /// Launches that are one.
    together: usize,
}

/// Times the kernels of `work`.
///
/// # Errors
/// The device failed, or the prompt takes several steps.
pub fn time(bench: &mut Bench, work: Work) -> Result<KernelTimes> {
    let steps = work.steps(KERNEL_STEPS, &bench.layout);
    if matches!(work, Work::Prefill { .. }) && steps.len() > 1 {
        return Err(Error::new(Category::Input, "The kernels of a prompt of several steps are not timed")
            .details(format!("{} tokens, a step has {}", work.tokens(), bench.layout.limits().rows))
            .hint("choose a shorter --prompt"));
    }
    let (spans, deepest) = (&steps[0], &steps[steps.len() - 1]);
    // A kernel that advances the sequences runs in a row too: the bucket has room for that.
    let bucket = Bucket::of(deepest, bench.layout.limits());
    let inputs = steps::inputs(spans, &bucket, &bench.layout);
    let plan = forward::plan(&bench.layout, &bucket);
    let (groups, layers) = (groups(&plan, spans, &bench.names), together(&plan));
    let met = Met::count(forward::plan(&bench.layout, &bucket), spans, &inputs, bench.device.as_mut())?;
    let costs = costs(&plan, spans, &met, &bench.peaks);
    let whole = bench.device.prepare(plan)?;
    let in_place = in_place(bench, whole, &inputs)?;
    let mut timed =
        |group| time_group(bench, group, &Whole { bucket, plan: whole, inputs: &inputs, in_place: &in_place }, &costs);
    let mut each: Vec<KernelTime> = groups.into_iter().map(&mut timed).collect::<Result<_>>()?;
    each.sort_by(|a, b| b.total().total_cmp(&a.total()));
    Ok(KernelTimes { each, together: layers.into_iter().map(timed).collect::<Result<_>>()? })
}

/// The pass that the kernels are of.
struct Whole<'a> {
    bucket: Bucket,
    plan: PlanId,
    inputs: &'a KeptInputs,
    /// The time of each of its steps.
    in_place: &'a [Duration],
}

fn time_group(bench: &mut Bench, group: Group, whole: &Whole, costs: &[Cost]) -> Result<KernelTime> {
    let total: Duration = group.steps.iter().filter_map(|&step| whole.in_place.get(step)).sum();
    let row = row(bench, &whole.bucket, &group, total);
    let launches = row.steps.len() / group.together;
    let row = bench.device.prepare(row)?;
    let in_a_row = Times::of(launches, || {
        // What the row does to the activations again and again must not reach the next sample: no product is to be
        // timed on infinities.
        bench.device.run(whole.plan, &borrowed(whole.inputs))?;
        bench.device.time(&[(row, &[])])
    })?;
    let launches = group.steps.len() / group.together;
    let mut cost = Cost::default();
    group.steps.iter().for_each(|&step| cost.include(&costs[step]));
    Ok(KernelTime {
        name: group.name,
        shape: group.shape,
        launches,
        in_place: total.as_secs_f64() / launches as f64,
        in_a_row,
        cost: cost.of_each(launches),
    })
}

/// What each step costs.
fn costs(plan: &Plan, spans: &[Span], met: &Met, peaks: &Peaks) -> Vec<Cost> {
    let sequences = pass::shapes(spans);
    let cost = |(index, step): (usize, &Step)| {
        let shape = StepShape { sequences: &sequences, experts: met.at(index) };
        let mut cost = Cost::default();
        cost.add(step.bytes_moved(&shape), step.flops(&shape), step.is_fp8_gemm(), peaks);
        cost
    };
    plan.steps.iter().enumerate().map(cost).collect()
}

/// The median time of each step between its neighbours.
fn in_place(bench: &mut Bench, plan: PlanId, inputs: &KeptInputs) -> Result<Vec<Duration>> {
    bench.device.time_steps(plan, &borrowed(inputs))?;
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        runs.push(bench.device.time_steps(plan, &borrowed(inputs))?);
    }
    let median = |step: usize| {
        let mut times: Vec<Duration> = runs.iter().map(|run| run[step]).collect();
        times.sort_unstable();
        times[RUNS / 2]
    };
    Ok((0..runs[0].len()).map(median).collect())
}

/// A plan of the group's steps alone, of every layer in turn, so that no cache holds the next one's weight; `once` is how
/// long all of them take.
fn row(bench: &Bench, bucket: &Bucket, group: &Group, once: Duration) -> Plan {
    let mut row = Plan { decode: true, ..Plan::default() };
    let mut turns = 0;
    while turns == 0 || (row.steps.len() < IN_A_ROW && once * (turns + 1) < LONGEST_ROW) {
        let steps = forward::plan(&bench.layout, bucket).steps.into_iter().enumerate();
        row.steps.extend(steps.filter(|(index, _)| group.steps.contains(index)).map(|(_, step)| step));
        turns += 1;
    }
    row
}

fn groups(plan: &Plan, spans: &[Span], names: &[BufferName]) -> Vec<Group> {
    let sequences = pass::shapes(spans);
    // Layers whose choices meet different experts have the same kernels.
    let shape = StepShape { sequences: &sequences, experts: None };
    let mut groups: Vec<((u64, u64), Group)> = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let (cost, weight) = ((step.bytes_moved(&shape), step.flops(&shape)), weight(step, names));
        let same = |(of_group, group): &&mut ((u64, u64), Group)| {
            (group.name, *of_group) == (step.name(), cost) && group.shape == weight
        };
        match groups.iter_mut().find(same) {
            Some((_, group)) => group.steps.push(index),
            None => groups.push((cost, Group { name: step.name(), shape: weight, steps: vec![index], together: 1 })),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// The products of the chosen experts with their sum, and the whole block from its norm on, of all layers that have experts.
fn together(plan: &Plan) -> Vec<Group> {
    let named = |step: usize, names: &[&str]| plan.steps.get(step).is_some_and(|step| names.contains(&step.name()));
    let routes: Vec<usize> = (0..plan.steps.len()).filter(|&step| named(step, &["moe_route"])).collect();
    let (mut routed, mut blocks) = (Vec::new(), Vec::new());
    for (layer, &route) in routes.iter().enumerate() {
        // What follows the sum belongs to the next block.
        let next = routes.get(layer + 1).copied().unwrap_or(plan.steps.len());
        let end = (route..next).rfind(|&step| named(step, &["moe_combine"])).unwrap_or(route);
        // The router may normalise the row itself.
        let norm = route.wrapping_sub(1);
        let first = if named(norm, &["rms_norm", "layer_norm_1p"]) { norm } else { route };
        let of_experts = |step: &usize| plan.steps[*step].name().starts_with("moe_");
        routed.push((route + 1..=end).filter(of_experts).collect::<Vec<_>>());
        blocks.push((first..=end).collect::<Vec<_>>());
    }
    let group = |name, layers: Vec<Vec<usize>>| {
        let together = layers.first().map_or(0, Vec::len);
        (together > 0).then(|| Group { name, shape: String::new(), steps: layers.concat(), together })
    };
    [group("routed experts", routed), group("experts block", blocks)].into_iter().flatten().collect()
}

/// The largest matrix that a step reads, without the number of its layer.
fn weight(step: &Step, names: &[BufferName]) -> String {
    let mut buffers = Vec::new();
    match step {
        Step::Launch(kernel) => {
            kernel.args(&mut |buffer, _, _| {
                buffers.push(buffer);
                0
            });
        }
        Step::Gemm(gemm) => buffers.extend(gemm.operands.weight().map(|(buffer, _)| buffer)),
        Step::AllReduce(_) | Step::AllGather(_) | Step::AllArgmax(_) => {}
    }
    let matrix = |buffer: &u32| {
        let BufferName { name, weight } = &names[*buffer as usize];
        weight
            .map(|(_, shape)| shape)
            .filter(|[rows, columns]| *rows > 1 && *columns > 1)
            .map(|shape| (shape, name.as_str()))
    };
    let largest = buffers.iter().filter_map(matrix).max_by_key(|([rows, columns], _)| rows * columns);
    largest.map_or(String::new(), |([rows, columns], name)| format!("{} {rows}x{columns}", role(name)))
}

/// `qkv` of `blocks.3.qkv`, `embed_tokens` of `model.embed_tokens.weight`.
pub fn role(name: &str) -> &str {
    name.trim_end_matches(".weight").rsplit('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_named_without_its_layer() {
        assert_eq!((role("blocks.31.qkv"), role("head"), role("model.embed.weight")), ("qkv", "head", "embed"));
    }

    #[test]
    fn a_block_of_experts_begins_with_its_norm_or_its_router_and_ends_with_its_sum() {
        let config = include_str!("../../../tests/golden/nemotron_h_moe/config.json");
        let config = serde_json::from_str(config).expect("a config.json");
        let spec = crate::models::read(&config, None).expect("a known family");
        // One row is normalised by the router and the shared expert's product.
        for (rows, routed, block) in [(1, 3, 6), (2, 3, 7)] {
            let layout = crate::forward::Layout::new(&spec, crate::forward::Limits::new(128, rows, rows)).0;
            let plan = forward::plan(&layout, &Bucket::decode(rows, 1));
            let layers = plan.steps.iter().filter(|step| step.name() == "moe_route").count();
            let groups = together(&plan);
            let sizes: Vec<_> = groups.iter().map(|group| (group.name, group.together, group.steps.len())).collect();
            assert!(layers > 1);
            assert_eq!(
                sizes,
                [("routed experts", routed, layers * routed), ("experts block", block, layers * block)],
                "{rows} rows"
            );
        }
    }
}
