//! A prepared plan: functions, launch shapes and argument bytes with addresses, or a recorded graph of them.
use gpu_kernels::{DeviceInfo, Element, Ptr, Role};

use super::arena::Arena;
use super::collective;
use super::extended::Extended;
use super::failure::Answer;
use super::gemm::{CublasLt, Operands, PreparedGemm};
use super::graph::Graph;
use super::joins;
use super::lane::Lane;
use super::launch::KernelLaunch;
use super::module::Kernels;
use super::rank::Rank;
use crate::device::{Gemm, GemmOperands, Output, Plan, PlannedKernel, Step};
use crate::error::Result;

/// What a step of a plan needs of the device to be prepared.
pub struct PrepareContext<'a> {
    pub kernels: &'a mut Kernels,
    pub cublas: &'a mut CublasLt,
    pub arena: &'a Arena,
    pub info: &'a DeviceInfo,
    /// How a kernel is launched with attributes, where the driver can.
    pub extended: Option<Extended>,
    /// Whether a kernel may start before the one in front has ended.
    pub overlap: bool,
    /// Which of several ranks the device is, if it is one.
    pub rank: Option<&'a Rank>,
}

/// Runs of a plan with prompts before it is recorded: to record costs a few of them, and most such plans never return. One at
/// least, for any plan: the driver and cuBLASLt load what they must not load while recording.
const PROMPTS_SINGLY: u32 = 3;

/// How many things may come behind a plan in turn.
pub const TURNS: usize = 2;

/// What comes behind the steps of a run: it writes tokens to the host.
pub struct Publishing {
    /// One for each turn, which has a place of its own; none where there are no tokens.
    pub steps: Vec<Prepared>,
    /// Words that are written.
    pub words: usize,
}

/// A plan ready to run.
pub struct Program {
    /// The steps in their order.
    pub steps: Vec<Prepared>,
    /// As of [`Plan`].
    pub continues: bool,
    publishing: Publishing,
    /// How often the steps run one by one before they are recorded.
    singly: u32,
    /// One for each turn of what comes behind the steps.
    graphs: [Option<Graph>; TURNS],
}

/// A step ready to run.
pub struct Prepared {
    /// Kernel name, `gemm`, or that of a step in which ranks meet.
    pub name: &'static str,
    /// Nothing where the step in front does it.
    work: Vec<Enqueued>,
}

/// What is enqueued.
pub enum Enqueued {
    Launch(KernelLaunch),
    Product(PreparedGemm),
    /// The launch of a step in which ranks meet.
    Meeting(KernelLaunch),
}

impl Program {
    /// Prepares every step.
    ///
    /// # Errors
    /// A step's requirements are not met, or the device has no such kernel.
    pub fn new(plan: &Plan, publishing: Publishing, context: &mut PrepareContext) -> Result<Program> {
        let mut steps = Vec::with_capacity(plan.steps.len());
        // What is one launch has as many entries as it stands for: step by step they are those of the plan.
        while let Some((step, rest)) = plan.steps[steps.len()..].split_first() {
            let together = match collective::together(step, rest, context)? {
                None => joins::together(step, rest, context)?,
                together => together,
            };
            steps.extend(together.map_or_else(|| prepare(step, context).map(|step| vec![step]), Ok)?);
        }
        Ok(Program {
            steps,
            continues: plan.continues,
            publishing,
            singly: if plan.decode { 1 } else { PROMPTS_SINGLY },
            graphs: [const { None }; TURNS],
        })
    }

    /// Words that a run writes to the host.
    pub fn published(&self) -> usize {
        self.publishing.words
    }

    /// Enqueues the steps and what comes behind them in `turn`, nothing in none: one by one at first, and from then on as a graph where `graphs`
    /// allows it. Ranks meet on the host in front of each step in which their GPUs meet, and of a graph that is new: what
    /// is loaded or made for the first time may not be while another waits.
    ///
    /// # Errors
    /// A step does not start; the error names it.
    pub fn enqueue(&mut self, turn: Option<usize>, graphs: bool, lane: Lane) -> Result<()> {
        let behind = turn.and_then(|turn| self.publishing.steps.get(turn));
        let mut steps = self.steps.iter().chain(behind);
        let graph = &mut self.graphs[turn.unwrap_or(0)];
        if graph.is_none() && graphs && self.singly == 0 {
            *graph = Some(Graph::record(lane.stream, || steps.clone().try_for_each(|step| step.enqueue(lane)))?);
            lane.meet_on_host()?;
        }
        match graph {
            Some(graph) => graph.launch(lane.stream),
            None => {
                steps.try_for_each(|step| step.enqueue_with_others(lane))?;
                self.singly = self.singly.saturating_sub(1);
                Ok(())
            }
        }
    }

    /// Runs the steps and what comes behind them in `turn`, and waits behind each.
    ///
    /// # Errors
    /// A step fails; the error names it.
    pub fn run_stepwise(&self, turn: Option<usize>, lane: Lane) -> Result<()> {
        let behind = turn.and_then(|turn| self.publishing.steps.get(turn));
        for (index, step) in self.steps.iter().chain(behind).enumerate() {
            step.enqueue_with_others(lane)?;
            if lane.rank.is_some() {
                lane.wait()?;
            }
            lane.stream.synchronize().or_failed(format_args!("running step {index}, `{}`", step.name))?;
        }
        Ok(())
    }
}

impl Prepared {
    /// Prepares a kernel on the arena's buffers.
    ///
    /// # Errors
    /// As for [`Prepared::launch_at`].
    pub fn launch(kernel: &dyn PlannedKernel, context: &mut PrepareContext) -> Result<Prepared> {
        let arena = context.arena;
        Prepared::launch_at(kernel, context, &mut |buffer, offset, element| arena.address(buffer, offset, element))
    }

    /// Prepares a kernel whose pointers are where `address(buffer, element offset, element)` says.
    ///
    /// # Errors
    /// As of [`KernelLaunch::new`].
    pub fn launch_at(
        kernel: &dyn PlannedKernel,
        context: &mut PrepareContext,
        address: &mut dyn FnMut(u32, u64, Element) -> u64,
    ) -> Result<Prepared> {
        let launch = Enqueued::Launch(KernelLaunch::new(kernel, context, address)?);
        Ok(Prepared::new(kernel.name(), vec![launch]))
    }

    /// A step of some work.
    pub fn new(name: &'static str, work: Vec<Enqueued>) -> Prepared {
        Prepared { name, work }
    }

    /// Enqueues this step, one in which GPUs meet when all ranks are about to.
    ///
    /// # Errors
    /// It does not start, or another rank has failed.
    pub fn enqueue_with_others(&self, lane: Lane) -> Result<()> {
        if self.work.iter().any(|work| matches!(work, Enqueued::Meeting(_))) {
            lane.meet_on_host()?;
        }
        self.enqueue(lane)
    }

    /// Enqueues this step.
    ///
    /// # Errors
    /// It does not start.
    pub fn enqueue(&self, lane: Lane) -> Result<()> {
        self.work.iter().try_for_each(|work| match work {
            Enqueued::Product(product) => lane.cublas.enqueue(product, lane.stream),
            Enqueued::Launch(launch) | Enqueued::Meeting(launch) => launch.enqueue(lane.stream),
        })
    }
}

fn prepare(step: &Step, context: &mut PrepareContext) -> Result<Prepared> {
    match step {
        Step::Launch(kernel) => Prepared::launch(kernel.as_ref(), context),
        Step::Gemm(gemm) => Ok(Prepared::new(step.name(), vec![prepare_product(gemm, context)?])),
        Step::AllReduce(sum) => collective::all_reduce(sum, false, context),
        Step::AllGather(gather) => collective::all_gather(gather, context),
        Step::AllArgmax(choice) => collective::all_argmax(choice, context),
    }
}

fn prepare_product(gemm: &Gemm, context: &mut PrepareContext) -> Result<Enqueued> {
    let arena = context.arena;
    let out = match gemm.out {
        Output::Act(pointer) => resolve(arena, pointer),
        Output::F32(pointer) => resolve(arena, pointer),
    };
    let (x, w, scales) = match gemm.operands {
        GemmOperands::Bf16 { x, w } => (resolve(arena, x), resolve(arena, w), None),
        GemmOperands::Fp8 { x, w } => {
            let scales = [x.scales, w.scales].map(|scales| resolve(arena, scales));
            (resolve(arena, x.codes), resolve(arena, w.codes), Some(scales))
        }
    };
    let operands = Operands {
        shape: [gemm.rows, gemm.n, gemm.k],
        stride: gemm.stride,
        x,
        w,
        scales,
        bias: resolve(arena, gemm.bias),
        residual: resolve(arena, gemm.residual),
        out,
        f32_out: matches!(gemm.out, Output::F32(_)),
    };
    context.cublas.prepare(operands).map(Enqueued::Product)
}

/// 0 for null.
fn resolve<R: Role>(arena: &Arena, pointer: Ptr<R>) -> u64 {
    pointer.target().map_or(0, |(buffer, offset)| arena.address(buffer, offset, R::ELEMENT))
}
