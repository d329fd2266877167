//! The device of NVIDIA GPUs: the kernels' PTX through `cust`, products through cuBLASLt, decode plans as graphs.
//!
//! * `driver`: libcuda, opened at run time
//! * `gpu`: which GPUs there are; `open`: one of them; `module`: its compiled kernels
//! * `arena`, `upload`, `pinned`, `interleaver`, `staging`: device memory, and what goes in and out
//! * `program`, `joins`, `launch`, `gemm`, `graph`: a plan, ready to run; `lane`: where; `library`: that of cuBLASLt
//! * `communicator`, `rank`, `collective`, `shots`: GPUs that hold a model together; `reach`, `met_words`: in whose memory they meet
#![expect(unsafe_code, reason = "the driver's interface is C")]
mod arena;
mod collective;
mod communicator;
mod driver;
mod extended;
mod failure;
mod gemm;
mod gpu;
mod graph;
mod host_words;
mod interleaver;
mod joins;
mod lane;
mod launch;
mod library;
mod met_words;
mod module;
mod open;
mod pinned;
mod probe;
mod profile;
mod program;
mod ptx;
mod rank;
mod reach;
mod shots;
mod staging;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use cust::context::{Context, CurrentContext};
use cust::stream::Stream;
use gpu_kernels::{Element, Ptr, skinny_gemm};

use crate::device::{Buffers, Device, Inputs, Plan, PlanId, Run, Ticket};
use crate::error::{Result, size};
use arena::Arena;
use extended::Extended;
use failure::{Answer, lost};
use gemm::CublasLt;
use interleaver::Interleaver;
use lane::Lane;
use module::Kernels;
use open::{Opening, timed};
use profile::Stopwatch;
use program::{PrepareContext, Program};
use rank::Rank;
use staging::{InputStaging, TokenRing};

pub use communicator::packet_bytes;
pub use gemm::WORKSPACE_BYTES;
pub use gpu::{Gpu, all, count};
pub use profile::StepTime;
pub use ptx::{Ptx, embedded_ptx, shipped_ptx};
pub use reach::Collectives;
pub use upload::{Progress, Uploaded};

/// How a GPU is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Record decode plans as graphs.
    pub graphs: bool,
    /// Let kernels that can start before the one in front has ended, where the GPU and its driver know how.
    pub overlap: bool,
    /// Let blocks join in clusters what they have summed, where the GPU knows how.
    pub clusters: bool,
    /// Guard every buffer, make scratch undefined before each run, and wait behind each step so that a fault has a name.
    pub check: bool,
    /// How long a rank may stand still while another waits for it.
    pub rank_timeout: Duration,
    /// In whose memory ranks meet.
    pub collectives: Collectives,
}

impl Options {
    /// The default, changed by `NEMOTRON_CUDA_GRAPHS=0`, `NEMOTRON_CUDA_OVERLAP=0`, `NEMOTRON_CUDA_CLUSTERS=0`,
    /// `NEMOTRON_CUDA_CHECK=1`, and `NEMOTRON_RANK_TIMEOUT` in seconds.
    pub fn from_environment() -> Options {
        let is = |name, value| std::env::var_os(name).is_some_and(|found| found == value);
        let [graphs, overlap, clusters] =
            ["NEMOTRON_CUDA_GRAPHS", "NEMOTRON_CUDA_OVERLAP", "NEMOTRON_CUDA_CLUSTERS"].map(|name| !is(name, "0"));
        let timeout = std::env::var(failure::RANK_TIMEOUT).ok().and_then(|text| text.parse().ok());
        let rank_timeout = timeout.map_or(Options::default().rank_timeout, Duration::from_secs);
        Options { graphs, overlap, clusters, check: is(failure::CHECK, "1"), rank_timeout, ..Options::default() }
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            graphs: true,
            overlap: true,
            clusters: true,
            check: false,
            rank_timeout: Duration::from_secs(4),
            collectives: Collectives::Auto,
        }
    }
}

const ALLOCATED: &str = "`allocate` comes first";
const RELEASED: &str = "a plan that is named was not released";

/// A GPU with a model on it. All work is enqueued in one stream.
///
/// Fields are dropped in this order: what belongs to the context before the context.
pub struct Cuda {
    programs: Vec<Option<Program>>,
    model: Option<Model>,
    cublas: CublasLt,
    kernels: Kernels,
    extended: Option<Extended>,
    overlap: bool,
    stream: Stream,
    options: Options,
    progress: Option<Progress>,
    uploaded: Uploaded,
    /// How long cuBLASLt was warmed beside the upload.
    warmed: Option<Duration>,
    opening: Opening,
    gpu: Gpu,
    /// Which of several ranks it is, if it is one. Others' contexts may be entered when it is dropped.
    rank: Option<Rank>,
    context: Context,
}

// SAFETY: what the driver and cuBLASLt name by pointers belongs to the context, not to a thread, and this is its only owner. Every
// method that asks the driver for something makes the context current on the thread that calls it, the drop of the fields
// included, and `&mut` or a single owner sees to it that two threads never do so at once.
unsafe impl Send for Cuda {}

/// What `allocate` makes.
struct Model {
    inputs: InputStaging,
    tokens: TokenRing,
    arena: Arc<Arena>,
}

impl Cuda {
    /// What steps are prepared with.
    fn prepare_context(&mut self) -> PrepareContext<'_> {
        let arena = &self.model.as_ref().expect(ALLOCATED).arena;
        let (kernels, cublas) = (&mut self.kernels, &mut self.cublas);
        let (extended, overlap) = (self.extended, self.overlap);
        PrepareContext { kernels, cublas, arena, info: &self.gpu.info, extended, overlap, rank: self.rank.as_ref() }
    }

    fn lane(&self) -> Lane<'_> {
        Lane { stream: &self.stream, cublas: &self.cublas, rank: self.rank.as_ref() }
    }

    /// Has `progress` told how far the upload of [`Device::allocate`] is.
    pub fn on_progress(&mut self, progress: Progress) {
        self.progress = Some(progress);
    }

    /// What the upload took.
    pub fn uploaded(&self) -> Uploaded {
        self.uploaded
    }

    /// Free and total bytes of the GPU's memory.
    ///
    /// # Errors
    /// The driver does not say.
    pub fn memory(&self) -> Result<(u64, u64)> {
        self.make_current()?;
        let (free, total) = cust::memory::mem_get_info().or_failed("asking for the free memory")?;
        Ok((free as u64, total as u64))
    }

    fn program(&self, plan: PlanId) -> &Program {
        self.programs[plan.0].as_ref().expect(RELEASED)
    }

    fn model(&self) -> &Model {
        self.model.as_ref().expect(ALLOCATED)
    }

    /// Enqueues a plan behind its inputs, and behind it what hands its tokens on, if it `publishes`; a plan does so always or
    /// never.
    fn start(&mut self, plan: PlanId, inputs: &Inputs, publishes: bool) -> Result<()> {
        self.make_current()?;
        let Model { inputs: staging, tokens, arena } = self.model.as_mut().expect(ALLOCATED);
        let lane = Lane { stream: &self.stream, cublas: &self.cublas, rank: self.rank.as_ref() };
        staging.enqueue(inputs, arena, lane)?;
        let program = self.programs[plan.0].as_mut().expect(RELEASED);
        let turn = publishes.then(|| tokens.turn());
        if self.options.check {
            if !program.continues {
                arena.poison(&self.stream)?;
            }
            program.run_stepwise(turn, lane)?;
            arena.check_guards()?;
        } else {
            program.enqueue(turn, self.options.graphs, lane)?;
        }
        self.rank.iter().for_each(Rank::end_run);
        Ok(())
    }

    /// Fills `bytes` from `address` on, a place in the arena with room for them, after all runs so far.
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<()> {
        self.make_current()?;
        self.lane().wait()?;
        // SAFETY: callers name a range of a buffer, and the slice is as long.
        unsafe { cust_raw::cuMemcpyDtoH_v2(bytes.as_mut_ptr().cast(), address, bytes.len()) }
            .or_failed("reading results from the GPU")
    }

    /// `count` words of four bytes from element `offset` of a buffer on, after all runs so far.
    fn read_words<T: bytemuck::Pod>(&self, (buffer, offset): (u32, u64), count: usize) -> Result<Vec<T>> {
        let arena = &self.model().arena;
        let address = arena.address(buffer, offset, Element::F32);
        assert!(address + count as u64 * 4 <= arena.place(buffer).end(), "the words lie in one buffer");
        let mut words = vec![T::zeroed(); count];
        self.read(address, bytemuck::cast_slice_mut(&mut words))?;
        Ok(words)
    }

    /// The context is a thread's own setting, and the device may have been moved.
    fn make_current(&self) -> Result<()> {
        CurrentContext::set_current(&self.context).or_failed("entering the context")
    }
}

impl Device for Cuda {
    fn description(&self) -> Vec<String> {
        let mut lines = self.gpu.description();
        lines.push(format!("cuBLASLt: {}", library::version().as_deref().unwrap_or("not found")));
        lines.extend(self.rank.as_ref().map(|rank| format!("Ranks meet in: {}", rank.communicator().met())));
        if self.model.is_some() {
            lines.push(format!("Opening: {}", self.opening));
            let (uploaded, allocated) = (self.uploaded, self.model().arena.bytes());
            let (bytes, rate) = (size(uploaded.bytes), uploaded.gigabytes_per_second());
            lines.push(format!("Upload: {bytes} at {rate:.1} GB/s; GPU memory: {}", size(allocated)));
            if let Some(time) = self.warmed {
                lines.push(format!("Warm-up of cuBLASLt beside the upload: {:.1} ms", time.as_secs_f64() * 1e3));
            }
        }
        lines
    }

    fn runs_ahead(&self) -> bool {
        true
    }

    fn skinny_rows(&self) -> u32 {
        if self.gpu.info.has_wgmma() { skinny_gemm::MAX_ROWS } else { 0 }
    }

    fn matrix_library(&self) -> Result<()> {
        library::find()
    }

    fn fp8_products(&self) -> Result<()> {
        library::find()?;
        library::multiplies_fp8(self.gpu.info.compute_capability)
    }

    fn allocate(&mut self, buffers: Buffers) -> Result<()> {
        self.make_current()?;
        let wanted = buffers.expects_gemms();
        if wanted {
            // Before the upload: a library that is missing is no surprise behind it.
            library::find()?;
        }
        let arena = Arc::new(Arena::new(&buffers, self.options.check)?);
        let wanted = wanted.then_some(&mut self.cublas);
        let context = &self.context;
        let interleaver = Interleaver::new(&mut self.kernels, &self.gpu.info);
        let (uploaded, warmed) = std::thread::scope(|scope| {
            let warming = wanted.map(|cublas| scope.spawn(|| timed(|| cublas.warm(context))));
            let uploaded = interleaver.and_then(|interleaver| {
                upload::upload(&buffers, &arena, &self.stream, interleaver, self.progress.take())
            });
            (uploaded, warming.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))))
        });
        self.uploaded = uploaded?;
        self.warmed = warmed.transpose()?.map(|((), time)| time);
        if let Some(rank) = &self.rank {
            rank.communicator().share(rank.number(), arena.clone())?;
        }
        self.model = Some(Model { inputs: InputStaging::new(&arena)?, tokens: TokenRing::new(&arena)?, arena });
        Ok(())
    }

    fn prepare(&mut self, plan: Plan) -> Result<PlanId> {
        self.make_current()?;
        let (kernels, cublas) = (&mut self.kernels, &mut self.cublas);
        let (extended, overlap) = (self.extended, self.overlap);
        let Model { tokens, arena, .. } = self.model.as_mut().expect(ALLOCATED);
        let rank = self.rank.as_ref();
        let context = &mut PrepareContext { kernels, cublas, arena, info: &self.gpu.info, extended, overlap, rank };
        let publishing = tokens.publishing(plan.published, context)?;
        let program = Program::new(&plan, publishing, context)?;
        self.programs.push(Some(program));
        Ok(PlanId(self.programs.len() - 1))
    }

    fn release(&mut self, plan: PlanId) -> Result<()> {
        self.make_current()?;
        // A graph that still runs must not be destroyed.
        self.lane().wait()?;
        self.programs[plan.0] = None;
        Ok(())
    }

    fn run(&mut self, plan: PlanId, inputs: &Inputs) -> Result<Ticket> {
        self.start(plan, inputs, true)?;
        let words = self.program(plan).published();
        self.model.as_mut().expect(ALLOCATED).tokens.ticket(words, &self.stream)
    }

    fn enqueue(&mut self, plan: PlanId, inputs: &Inputs) -> Result<()> {
        self.start(plan, inputs, false)
    }

    fn is_done(&mut self) -> Result<bool> {
        self.make_current()?;
        self.lane().is_done().map_err(lost)
    }

    fn sampled(&mut self, ticket: Ticket) -> Result<Vec<i32>> {
        self.make_current()?;
        self.model().tokens.read(ticket, self.rank.as_ref())
    }

    fn read_f32(&mut self, source: Ptr<f32>, count: usize) -> Result<Vec<f32>> {
        self.read_words(source.target().expect("pointer is not null"), count)
    }

    fn read_i32(&mut self, source: Ptr<i32>, count: usize) -> Result<Vec<i32>> {
        self.read_words(source.target().expect("pointer is not null"), count)
    }

    fn time(&mut self, runs: &[Run]) -> Result<Duration> {
        self.make_current()?;
        let first = runs.first().map_or(0, |(plan, _)| self.program(*plan).steps.len());
        let watch = Stopwatch::start(&self.stream, first)?;
        for (plan, inputs) in runs {
            self.run(*plan, inputs)?;
        }
        watch.stop(self.lane())
    }

    fn time_steps(&mut self, plan: PlanId, inputs: &Inputs) -> Result<Vec<Duration>> {
        self.make_current()?;
        let Model { inputs: staging, arena, .. } = self.model.as_mut().expect(ALLOCATED);
        let lane = Lane { stream: &self.stream, cublas: &self.cublas, rank: self.rank.as_ref() };
        staging.enqueue(inputs, arena, lane)?;
        let times = profile::times(&self.program(plan).steps, lane)?;
        self.rank.iter().for_each(Rank::end_run);
        Ok(times)
    }

    fn give_up(&mut self) {
        self.rank.iter().for_each(Rank::give_up);
    }
}

impl Drop for Cuda {
    /// What is enqueued still uses what is about to be freed, also after an error; where it waits for ranks that are gone, that ends.
    fn drop(&mut self) {
        self.give_up();
        let _ = self.make_current();
        let _ = self.stream.synchronize();
    }
}
