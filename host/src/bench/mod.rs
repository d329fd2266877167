//! Times of a model on a device against the peaks that are measured in the same run: whole passes, and single kernels.
//!
//! * `subject`: whose weights; `lists`: which passes
//! * `peaks`: the fastest stream of bytes and the fastest product that this device gives
//! * `pass`: a prefill or some decode steps, ready to be timed; `kernels`: their single steps; `gap`: between two of them
//! * `met`: how many experts each layer's choices meet
//! * `products`: the model's products for any number of rows
mod gap;
mod kernels;
mod lists;
mod met;
mod pass;
mod peaks;
mod products;
mod steps;
mod subject;
mod times;

use crate::device::{BufferKind, Buffers, Device, Format, host_memory};
use crate::engine::{EngineConfig, lay_out};
use crate::error::Result;
use crate::forward::{Layout, table_bytes};
use crate::session::{Collectives, DeviceChoice, Note, RankChoice, choice};
use crate::synthetic::RandomWeights;
use gap::GapBuffers;
use pass::Pass;
use peaks::PeakBuffers;

pub use kernels::{KernelTime, KernelTimes};
pub use lists::{KERNEL_STEPS, Lists, Wanted};
pub use pass::{Cost, PassTime, Work};
pub use peaks::Peaks;
pub use products::ProductTime;
pub use subject::{Formats, Source, Subject};
pub use times::Times;

/// A model on a device, ready to be timed.
pub struct Bench {
    device: Box<dyn Device>,
    layout: Layout,
    /// What is known of each buffer, by number.
    names: Vec<BufferName>,
    peak_buffers: PeakBuffers,
    gap_buffers: GapBuffers,
    peaks: Peaks,
    description: Vec<String>,
}

/// Name of a buffer, and format, rows and columns where it is a weight.
struct BufferName {
    name: String,
    weight: Option<(Format, [usize; 2])>,
}

impl Bench {
    /// Puts the model on the device, for passes as large as `lists` has them, and measures the peaks. Of several ranks, each has its
    /// share of it, and what is measured is a rank's.
    ///
    /// # Errors
    /// The checkpoint or the device; its memory does not hold the model; or it can not be cut into so many ranks.
    pub fn open(
        mut subject: Subject,
        (device, ranks, collectives): (DeviceChoice, &RankChoice, Collectives),
        lists: &Lists,
        note: &mut dyn FnMut(Note),
    ) -> Result<Bench> {
        let (share, whole) = subject.spec.shard(ranks.count())?;
        subject.spec = share;
        let mut config = EngineConfig::for_model(&subject.spec, Some(lists.tokens()))?;
        config.max_sequences = lists.sequences();
        let opened = choice::open(device, (ranks, collectives), None, None)?;
        let (mut device, is_gpu) = (opened.device, opened.kind == "CUDA");
        note(Note::Info(format!("{} Device: {}", opened.kind, device.description().join(", "))));
        if let Some(error) = &opened.fallback {
            note(Note::Info(format!("  No GPU is used: {}", error.message())));
        }
        whole.into_iter().for_each(|text| note(Note::Info(format!("  {text}"))));
        check_memory(&subject, config.context, is_gpu)?;
        let random = if is_gpu { RandomWeights::cut(&subject.spec) } else { RandomWeights::own(&subject.spec) };
        let (layout, memory, no_library) = lay_out(&subject.spec, config.limits(), device.as_ref())?;
        if let Some(error) = no_library {
            note(Note::Info(format!("  Products of many rows by dense_gemm: {}", error.message())));
        }
        let in_fp8 = memory.expects_fp8_gemms();
        let mut buffers = memory.load(&|tensors| subject.parts(tensors, &random))?;
        let peak_buffers = PeakBuffers::add(&mut buffers, &random, is_gpu, in_fp8);
        let gap_buffers = GapBuffers::add(&mut buffers, lists.generate());
        let names = names(&buffers);
        device.allocate(buffers)?;
        let description = device.description();
        let peaks = peak_buffers.measure(device.as_mut())?;
        Ok(Bench { device, layout, names, peak_buffers, gap_buffers, peaks, description })
    }

    /// What the device is, its name first.
    pub fn description(&self) -> &[String] {
        &self.description
    }

    /// The peaks.
    pub fn peaks(&self) -> &Peaks {
        &self.peaks
    }

    /// Times `work`; a decode in blocks of `steps` steps.
    ///
    /// # Errors
    /// The device failed.
    pub fn pass(&mut self, work: Work, steps: usize) -> Result<PassTime> {
        let (gaps, device) = (&self.gap_buffers, self.device.as_mut());
        let pass = Pass::new(work, steps, (&self.layout, gaps, &self.peaks), device)?;
        pass.time(gaps, device)
    }

    /// Times the kernels of `work` by themselves, those that take longest first, and those of its experts together.
    ///
    /// # Errors
    /// The device failed, or the prompt takes several steps.
    pub fn kernels(&mut self, work: Work) -> Result<KernelTimes> {
        kernels::time(self, work)
    }

    /// Times the model's products that have room for `rows` token rows, by `gemv` and by what the device has for many rows.
    ///
    /// # Errors
    /// The device failed, or no product has room for so many rows.
    pub fn products(&mut self, rows: u32) -> Result<Vec<ProductTime>> {
        products::time(self, rows)
    }
}

/// Whether the host's memory holds what is made before the device has the buffers.
fn check_memory(subject: &Subject, context: usize, is_gpu: bool) -> Result<()> {
    let weights = if is_gpu { 0 } else { subject.random_bytes() };
    host_memory::check(&[("random weights", weights), ("rotary tables", table_bytes(&subject.spec, context))])
}

fn names(buffers: &Buffers) -> Vec<BufferName> {
    let shape = |kind: &BufferKind| match kind {
        BufferKind::Weight(parts) => Some((parts.format(), [parts.rows(), parts.columns()])),
        _ => None,
    };
    buffers.iter().map(|(_, spec)| BufferName { name: spec.name.clone(), weight: shape(&spec.kind) }).collect()
}
