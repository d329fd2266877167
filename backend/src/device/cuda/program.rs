//! A prepared plan: functions, launch shapes and argument bytes with addresses, or a recorded graph of them.
use std::ffi::c_void;

use cust::stream::Stream;
use cust_raw::CUfunction;
use gpu_kernels::{DeviceInfo, Element, Launch, Ptr, Role};

use super::arena::Arena;
use super::failure::{Answer, failed};
use super::gemm::{CublasLt, Operands, PreparedGemm};
use super::graph::Graph;
use super::module::Kernels;
use super::overlap::Overlap;
use crate::device::{Gemm, GemmOperands, Output, Plan, PlannedKernel, Step};
use crate::error::{Category, Error, Result};

/// What a step of a plan needs of the device to be prepared.
pub struct PrepareContext<'a> {
    pub kernels: &'a mut Kernels,
    pub cublas: &'a mut CublasLt,
    pub arena: &'a Arena,
    pub info: &'a DeviceInfo,
    /// How a kernel is launched that may start before the one in front has ended; none where they wait for each other.
    pub overlap: Option<Overlap>,
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
    /// Kernel name, or `gemm`.
    pub name: &'static str,
    work: Work,
}

enum Work {
    Launch { function: CUfunction, launch: Launch, args: Vec<u8>, overlap: Option<Overlap> },
    Product(PreparedGemm),
}

/// GPUs do not meet yet.
fn no_ranks() -> Error {
    Error::new(Category::Device, "GPUs do not run as ranks of one model")
        .details("a plan has a step in which ranks meet; ranks of the CPU alone do")
        .hint("use one GPU, or --devices cpu:2")
}

impl Program {
    /// Prepares every step.
    ///
    /// # Errors
    /// A step's requirements are not met, or the device has no such kernel.
    pub fn new(plan: &Plan, publishing: Publishing, context: &mut PrepareContext) -> Result<Program> {
        let steps = plan.steps.iter().map(|step| {
            Ok(match step {
                Step::Launch(kernel) => Prepared::launch(kernel.as_ref(), context)?,
                Step::Gemm(gemm) => Prepared { name: step.name(), work: prepare_product(gemm, context)? },
                Step::AllReduce(_) | Step::AllGather(_) => return Err(no_ranks()),
            })
        });
        Ok(Program {
            steps: steps.collect::<Result<_>>()?,
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
    /// allows it.
    ///
    /// # Errors
    /// A step does not start; the error names it.
    pub fn enqueue(&mut self, turn: Option<usize>, graphs: bool, cublas: &CublasLt, stream: &Stream) -> Result<()> {
        let behind = turn.and_then(|turn| self.publishing.steps.get(turn));
        let one_by_one = || self.steps.iter().chain(behind).try_for_each(|step| step.enqueue(cublas, stream));
        let graph = &mut self.graphs[turn.unwrap_or(0)];
        if graph.is_none() && graphs && self.singly == 0 {
            *graph = Some(Graph::record(stream, one_by_one)?);
        }
        match graph {
            Some(graph) => graph.launch(stream),
            None => {
                one_by_one()?;
                self.singly = self.singly.saturating_sub(1);
                Ok(())
            }
        }
    }

    /// Runs the steps and what comes behind them in `turn`, and waits behind each.
    ///
    /// # Errors
    /// A step fails; the error names it.
    pub fn run_stepwise(&self, turn: Option<usize>, cublas: &CublasLt, stream: &Stream) -> Result<()> {
        let behind = turn.and_then(|turn| self.publishing.steps.get(turn));
        for (index, step) in self.steps.iter().chain(behind).enumerate() {
            step.enqueue(cublas, stream)?;
            stream.synchronize().or_failed(format_args!("running step {index}, `{}`", step.name))?;
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
    /// Its requirements are not met, the device has less shared memory than it needs, or no such kernel.
    pub fn launch_at(
        kernel: &dyn PlannedKernel,
        context: &mut PrepareContext,
        address: &mut dyn FnMut(u32, u64, Element) -> u64,
    ) -> Result<Prepared> {
        let name = kernel.name();
        kernel.check().map_err(|reason| failed(format_args!("checking the arguments of `{name}`"), reason))?;
        let launch = kernel.launch(context.info);
        fits(&launch, context.info)?;
        let function = context.kernels.function(&launch)?;
        let args = kernel.args(address);
        let overlap = context.overlap.filter(|_| launch.overlaps);
        Ok(Prepared { name, work: Work::Launch { function, launch, args, overlap } })
    }

    /// Enqueues this step.
    ///
    /// # Errors
    /// It does not start.
    pub fn enqueue(&self, cublas: &CublasLt, stream: &Stream) -> Result<()> {
        match &self.work {
            Work::Product(product) => cublas.enqueue(product, stream),
            Work::Launch { function, launch, args, overlap: Some(overlap) } => {
                overlap.launch(*function, launch, args, stream)
            }
            Work::Launch { function, launch, args, overlap: None } => {
                let ([x, y, z], [threads_x, threads_y, threads_z]) = (launch.grid, launch.block);
                let mut parameters = [args.as_ptr() as *mut c_void];
                // SAFETY: the kernel takes one struct by value, and `args` are the bytes of that very struct with its
                // pointers resolved from the arena; the driver copies them before it returns.
                unsafe {
                    cust_raw::cuLaunchKernel(
                        *function,
                        x,
                        y,
                        z,
                        threads_x,
                        threads_y,
                        threads_z,
                        launch.shared_bytes,
                        stream.as_inner(),
                        parameters.as_mut_ptr(),
                        std::ptr::null_mut(),
                    )
                }
                .or_failed(format_args!("launching `{}`", launch.symbol))
            }
        }
    }
}

/// Whether a block of `launch` finds the shared memory that it needs.
///
/// # Errors
/// It does not; the error names the kernel.
fn fits(launch: &Launch, device: &DeviceInfo) -> Result<()> {
    let (needed, most) = (launch.shared_bytes, device.shared_bytes_per_block);
    if needed <= most {
        return Ok(());
    }
    let (major, minor) = device.compute_capability;
    Err(Error::new(Category::Device, "A kernel needs more shared memory than this GPU has")
        .details(format_args!(
            "`{}`: {needed} bytes for a block; compute capability {major}.{minor} gives {most}",
            launch.symbol
        ))
        .hint("a GPU of compute capability 8.0 or 9.0 runs every supported model; --device cpu runs without one"))
}

fn prepare_product(gemm: &Gemm, context: &mut PrepareContext) -> Result<Work> {
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
    context.cublas.prepare(operands).map(Work::Product)
}

/// 0 for null.
fn resolve<R: Role>(arena: &Arena, pointer: Ptr<R>) -> u64 {
    pointer.target().map_or(0, |(buffer, offset)| arena.address(buffer, offset, R::ELEMENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_too_large_for_the_gpu_is_named() {
        let device = DeviceInfo { compute_capability: (8, 6), multiprocessors: 28, shared_bytes_per_block: 99 * 1024 };
        let launch = |shared_bytes| Launch { shared_bytes, ..Launch::linear("ssm_scan_narrow", 1, 256) };
        assert!(fits(&launch(99 * 1024), &device).is_ok());
        let error = fits(&launch(99 * 1024 + 1), &device).unwrap_err();
        assert_eq!(error.category(), Category::Device);
        let text = error.to_string();
        assert!(text.contains("`ssm_scan_narrow`: 101377 bytes") && text.contains("8.6 gives 101376"), "{text}");
    }
}
