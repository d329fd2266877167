//! What the engine asks of a device: buffers, plans, runs and tokens by ticket. It does not grow with the kernels.
mod activation;
mod buffers;
mod collective;
pub mod cuda;
mod e2m1_words;
mod elements;
mod encode;
mod exchange;
mod file_range;
pub mod host_memory;
mod memory;
mod nvfp4_rows;
mod plan;
mod ranks;
mod unpack;
mod weight;
mod weight_part;

pub use activation::Activation;
pub use buffers::{BufferId, BufferKind, BufferSpec, Buffers};
pub use collective::{AllGather, AllReduce};
pub use e2m1_words::{e2m1_codes, e2m1_word};
pub use elements::{Check, Converted, RowSource};
pub use encode::{e2m1_code, e4m3_code};
pub use exchange::Seat;
pub use file_range::FileRange;
pub use gpu_kernels::Format;
pub use memory::{Memory, Storage, Stored};
pub use nvfp4_rows::{nvfp4_apart, nvfp4_rows};
pub use plan::{Gemm, GemmOperands, Output, Plan, PlannedKernel, Reference, ScaledCodes, Step};
pub use ranks::Ranks;
pub use unpack::{e2m1, e4m3, unpack};
pub use weight::Weight;
pub use weight_part::WeightPart;

use std::time::{Duration, Instant};

use gpu_kernels::Ptr;

use crate::error::Result;

/// A plan that a device has prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlanId(pub usize);

/// A run whose tokens can be asked for; tickets of a device count up from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Values for device inputs, written before the plan they come with runs.
pub type Inputs<'a> = [(Ptr<i32>, &'a [i32])];

/// A plan, and the inputs that are written before it runs.
pub type Run<'a> = (PlanId, &'a Inputs<'a>);

/// A device that holds a model and runs plans in the order in which they are given.
///
/// Nothing is allocated after [`Device::allocate`] but what [`Device::prepare`] needs for a new plan, until [`Device::release`].
pub trait Device: Send {
    /// Lines that tell the user what this device is; the first is its name. After [`Device::allocate`] further lines
    /// may tell what that took.
    fn description(&self) -> Vec<String>;

    /// Whether a step may be given before the tokens of the step before it are known, and gains by it.
    fn runs_ahead(&self) -> bool;

    /// Most token rows of a product with a large weight that `skinny_gemm` multiplies here faster than the matrix library; 0
    /// where it never does.
    fn skinny_rows(&self) -> u32 {
        0
    }

    /// Opens what runs [`Step::Gemm`].
    ///
    /// # Errors
    /// There is no such library, or it cannot be opened: no plan may hold a GEMM.
    fn matrix_library(&self) -> Result<()> {
        Ok(())
    }

    /// Whether [`Step::Gemm`] takes operands in FP8.
    ///
    /// # Errors
    /// It does not, and why.
    fn fp8_products(&self) -> Result<()> {
        Ok(())
    }

    /// Makes every buffer, the weights included. Called once.
    ///
    /// # Errors
    /// The device's memory does not hold them.
    fn allocate(&mut self, buffers: Buffers) -> Result<()>;

    /// Turns a plan into what this device runs.
    ///
    /// # Errors
    /// A step's requirements are not met, or the device has no such kernel.
    fn prepare(&mut self, plan: Plan) -> Result<PlanId>;

    /// Gives up a plan and what was prepared for it, behind the runs so far; its number names no plan any more.
    ///
    /// # Errors
    /// The device failed.
    fn release(&mut self, plan: PlanId) -> Result<()>;

    /// Writes `inputs`, then runs the plan; returns without waiting where the device can.
    ///
    /// # Errors
    /// The device failed; which step is said where the device knows it.
    fn run(&mut self, plan: PlanId, inputs: &Inputs) -> Result<Ticket>;

    /// As [`Device::run`], for a plan that chooses no tokens: it has no ticket, and earlier ones are kept.
    ///
    /// # Errors
    /// As [`Device::run`].
    fn enqueue(&mut self, plan: PlanId, inputs: &Inputs) -> Result<()>;

    /// Whether all runs so far have ended; does not wait. On a device that runs nothing ahead they always have.
    ///
    /// # Errors
    /// The device failed.
    fn is_done(&mut self) -> Result<bool> {
        Ok(true)
    }

    /// What that run's plan publishes of the [`BufferKind::Sampled`] buffer, as it was after the run. Only the last two tickets
    /// are kept.
    ///
    /// # Errors
    /// The device failed.
    fn sampled(&mut self, ticket: Ticket) -> Result<Vec<i32>>;

    /// `count` numbers from `source` on, after all runs so far.
    ///
    /// # Errors
    /// The device failed.
    fn read_f32(&mut self, source: Ptr<f32>, count: usize) -> Result<Vec<f32>>;

    /// `count` integers from `source` on, after all runs so far.
    ///
    /// # Errors
    /// The device failed.
    fn read_i32(&mut self, source: Ptr<i32>, count: usize) -> Result<Vec<i32>>;

    /// How long `runs` take one behind the other, by the device's own clock where it has one.
    ///
    /// # Errors
    /// The device failed.
    fn time(&mut self, runs: &[Run]) -> Result<Duration> {
        let started = Instant::now();
        let mut last = None;
        for (plan, inputs) in runs {
            last = Some(self.run(*plan, inputs)?);
        }
        last.map_or(Ok(Vec::new()), |ticket| self.sampled(ticket))?;
        Ok(started.elapsed())
    }

    /// How long each step of a run takes by itself, in the order of the plan; nothing where the device can not tell.
    ///
    /// # Errors
    /// The device failed.
    fn time_steps(&mut self, plan: PlanId, inputs: &Inputs) -> Result<Vec<Duration>> {
        self.run(plan, inputs)?;
        Ok(Vec::new())
    }

    /// Tells the ranks that wait for this one that it has failed, where it is one of [`Ranks`].
    fn give_up(&mut self) {}
}
