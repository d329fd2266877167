//! The model's products by themselves, for any number of rows, by `gemv` and by the device's matrix library.
use std::collections::BTreeMap;

use gpu_kernels::{GEMV_MAX_ROWS, Kernel, StepShape};

use super::{Bench, Cost, Times, kernels};
use crate::device::{BufferId, Device, Plan};
use crate::error::{Category, Error, Result};

/// Products in a row, at least: of every layer in turn, so that no cache holds the next weight.
const IN_A_ROW: usize = 32;

/// What one product takes.
#[derive(Clone, Debug, PartialEq)]
pub struct ProductTime {
    /// What the weight is for: `qkv`, `head`.
    pub weight: String,
    /// Token rows.
    pub rows: u32,
    /// Rows of the weight.
    pub n: u32,
    /// Columns of the weight.
    pub k: u32,
    /// By `gemv`, as far as it has rows.
    pub gemv: Option<Times>,
    /// By the matrix library.
    pub gemm: Times,
    /// What it costs.
    pub cost: Cost,
}

impl ProductTime {
    /// The faster of both.
    pub fn best(&self) -> &Times {
        self.gemv.as_ref().filter(|gemv| gemv.median <= self.gemm.median).unwrap_or(&self.gemm)
    }

    /// Share of the walls, in percent.
    pub fn percent_of_wall(&self) -> f64 {
        100.0 * self.cost.least / self.best().median
    }
}

/// Times every product of the model that has room for `rows` token rows, the largest weights last.
///
/// # Errors
/// The device failed, or no product has room for so many rows.
pub fn time(bench: &mut Bench, rows: u32) -> Result<Vec<ProductTime>> {
    let walls = bench.walls;
    let weights = weights(bench);
    let most = |shape: [u32; 2]| bench.wall_buffers.most_rows(shape);
    let most_of_all = weights.keys().map(|(shape, _)| most(*shape)).max().unwrap_or(0);
    if rows == 0 || rows > most_of_all {
        return Err(Error::new(Category::Input, "Products of so many rows can not be timed")
            .details(format!("found {rows}, expected 1 to {most_of_all}"))
            .hint("choose another --batch"));
    }
    let roomy: Vec<_> = weights.into_iter().filter(|((shape, _), _)| rows <= most(*shape)).collect();
    let mut times = Vec::new();
    for (([n, k], weight), buffers) in roomy {
        let (device, made) = (bench.device.as_mut(), &bench.wall_buffers);
        let turns = IN_A_ROW.div_ceil(buffers.len());
        let row = |add: &dyn Fn(&mut Plan, BufferId)| {
            let mut plan = Plan { decode: true, ..Plan::default() };
            (0..turns).for_each(|_| buffers.iter().for_each(|w| add(&mut plan, *w)));
            plan
        };
        let gemm = timed(row(&|plan, w| plan.gemm(made.gemm(w, [rows, n, k]))), device)?;
        let gemv = (rows <= GEMV_MAX_ROWS)
            .then(|| timed(row(&|plan, w| plan.launch(made.gemv(w, [rows, n, k]))), device))
            .transpose()?;
        let one = made.gemv(buffers[0], [rows, n, k]);
        let shape = StepShape { sequences: &[], experts: None };
        let mut cost = Cost::default();
        cost.add(one.bytes_moved(&shape), one.flops(&shape), &walls);
        times.push(ProductTime { weight, rows, n, k, gemv, gemm, cost });
    }
    Ok(times)
}

/// Every shape of weight and what it is for, with the buffers of all layers.
fn weights(bench: &Bench) -> BTreeMap<([u32; 2], String), Vec<BufferId>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (index, buffer) in bench.names.iter().enumerate() {
        let is_product = buffer.name.starts_with("blocks.") || buffer.name == "head";
        if let Some([n, k]) = buffer.weight.filter(|[_, columns]| is_product && *columns > 1) {
            let key = ([n as u32, k as u32], kernels::role(&buffer.name).to_owned());
            found.entry(key).or_default().push(BufferId(index as u32));
        }
    }
    found
}

/// Seconds of one of the plan's equal steps.
fn timed(plan: Plan, device: &mut dyn Device) -> Result<Times> {
    let steps = plan.steps.len();
    let plan = device.prepare(plan)?;
    Times::of(steps, || device.time(&[(plan, &[])]))
}
