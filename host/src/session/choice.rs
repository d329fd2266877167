//! What a user may choose about the device: which one, and the CPU's activation type.
use std::fmt;
use std::str::FromStr;

use gpu_kernels::KvFormat;
use half::bf16;

use super::memory::GpuMemory;
use super::rank_choice::RankChoice;
use crate::cpu::Cpu;
use crate::device::cuda::{self, Collectives, Cuda};
use crate::device::{Device, Ranks};
use crate::error::{Category, Error, Result};

/// Which device runs the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of this number.
    Gpu(u32),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<DeviceChoice, String> {
        match text {
            "auto" => Ok(DeviceChoice::Auto),
            "cpu" => Ok(DeviceChoice::Cpu),
            number => number.parse().map(DeviceChoice::Gpu).map_err(|_| "expected a GPU's number, cpu or auto".into()),
        }
    }
}

/// The type of the activations, and so the rounding points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activations {
    /// No rounding between kernels: the oracle. On the CPU only.
    F32,
    /// As a GPU rounds.
    Bf16,
}

impl FromStr for Activations {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Activations, String> {
        match text {
            "f32" => Ok(Activations::F32),
            "bf16" => Ok(Activations::Bf16),
            _ => Err("expected f32 or bf16".into()),
        }
    }
}

impl fmt::Display for Activations {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(if *self == Activations::F32 { "f32" } else { "bf16" })
    }
}

/// The type of the activations as a user chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActivationChoice {
    /// One type for all.
    One(Activations),
    /// As the device has them, but many rows are rounded to e4m3 in front of a product with FP8 weights, by a scale for each.
    Fp8,
}

impl FromStr for ActivationChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<ActivationChoice, String> {
        if text == "fp8" {
            return Ok(ActivationChoice::Fp8);
        }
        text.parse().map(ActivationChoice::One).map_err(|_| "expected f32, bf16 or fp8".into())
    }
}

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvChoice {
    /// As the activations are, whatever the checkpoint wants.
    #[default]
    Auto,
    /// The same, said by the user.
    Bf16,
    /// As codes of e4m3, with the scales that the checkpoint has.
    Fp8,
}

impl KvChoice {
    /// The format of the pools.
    pub fn format(self) -> KvFormat {
        match self {
            KvChoice::Auto | KvChoice::Bf16 => KvFormat::Act,
            KvChoice::Fp8 => KvFormat::Fp8,
        }
    }
}

impl FromStr for KvChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<KvChoice, String> {
        match text {
            "auto" => Ok(KvChoice::Auto),
            "bf16" => Ok(KvChoice::Bf16),
            "fp8" => Ok(KvChoice::Fp8),
            _ => Err("expected auto, bf16 or fp8".into()),
        }
    }
}

/// Told while weights are copied to a GPU: bytes on their way, and bytes in all.
pub type Progress = fn(u64, u64);

/// A device that was opened, not yet laid out.
pub(crate) struct Opened {
    pub device: Box<dyn Device>,
    /// `CPU`, `CUDA` or, of a caller's, `Own`.
    pub kind: &'static str,
    pub activations: Activations,
    /// Its memory, if it is a GPU.
    pub memory: Option<GpuMemory>,
    /// Why it is not the device that `auto` looks for first.
    pub fallback: Option<Error>,
}

impl Opened {
    /// A device that the caller made.
    pub fn own(device: Box<dyn Device>, activations: Option<Activations>) -> Opened {
        let activations = activations.unwrap_or(Activations::F32);
        Opened { device, kind: "Own", activations, memory: None, fallback: None }
    }
}

/// Opens the device that was chosen; `auto` is the only choice that may end at another.
pub(crate) fn open(
    choice: DeviceChoice,
    (ranks, collectives): (&RankChoice, Collectives),
    activations: Option<Activations>,
    progress: Option<Progress>,
) -> Result<Opened> {
    match ranks {
        RankChoice::One | RankChoice::Count(0 | 1) => open_one(choice, activations, progress),
        RankChoice::Cpu(0 | 1) => Ok(cpu(activations, None)),
        RankChoice::Gpus(numbers) if numbers.len() == 1 => gpu(numbers[0], activations, progress),
        RankChoice::Cpu(ranks) => cpu_ranks(*ranks, activations, None),
        RankChoice::Gpus(numbers) => gpu_ranks((numbers, collectives), activations, progress),
        RankChoice::Count(ranks) => {
            let from = |first: u32| (first..).take(*ranks).collect::<Vec<u32>>();
            match choice {
                DeviceChoice::Cpu => cpu_ranks(*ranks, activations, None),
                DeviceChoice::Auto if activations == Some(Activations::F32) => cpu_ranks(*ranks, activations, None),
                DeviceChoice::Gpu(first) => gpu_ranks((&from(first), collectives), activations, progress),
                DeviceChoice::Auto => match cuda::count() {
                    Ok(_) => gpu_ranks((&from(0), collectives), activations, progress),
                    Err(error) => cpu_ranks(*ranks, activations, Some(error)),
                },
            }
        }
    }
}

fn open_one(choice: DeviceChoice, activations: Option<Activations>, progress: Option<Progress>) -> Result<Opened> {
    match choice {
        DeviceChoice::Cpu => Ok(cpu(activations, None)),
        DeviceChoice::Gpu(number) => gpu(number, activations, progress),
        // Activations that only the CPU has are a choice of the CPU.
        DeviceChoice::Auto if activations == Some(Activations::F32) => Ok(cpu(activations, None)),
        DeviceChoice::Auto => Ok(gpu(0, activations, progress).unwrap_or_else(|error| cpu(activations, Some(error)))),
    }
}

fn cpu(activations: Option<Activations>, fallback: Option<Error>) -> Opened {
    let activations = activations.unwrap_or(Activations::F32);
    let device: Box<dyn Device> = match activations {
        Activations::F32 => Box::new(Cpu::<f32>::new()),
        Activations::Bf16 => Box::new(Cpu::<bf16>::new()),
    };
    Opened { device, kind: "CPU", activations, memory: None, fallback }
}

/// The CPU as several ranks.
fn cpu_ranks(ranks: usize, activations: Option<Activations>, fallback: Option<Error>) -> Result<Opened> {
    let activations = activations.unwrap_or(Activations::F32);
    let device = match activations {
        Activations::F32 => Cpu::<f32>::ranks(ranks)?,
        Activations::Bf16 => Cpu::<bf16>::ranks(ranks)?,
    };
    Ok(Opened { device: Box::new(device), kind: "CPU", activations, memory: None, fallback })
}

/// GPUs as the ranks of one model. What is told of the memory holds for each; progress is told of the first, for shares are equal.
fn gpu_ranks(
    (numbers, collectives): (&[u32], Collectives),
    activations: Option<Activations>,
    progress: Option<Progress>,
) -> Result<Opened> {
    check_activations(numbers[0], activations, "--devices cpu:N")?;
    let options = cuda::Options { collectives, ..cuda::Options::from_environment() };
    let mut all = Cuda::open_ranks(numbers, options)?;
    let ranks = all.len() as u64;
    if let Some(progress) = progress {
        all[0].on_progress(Box::new(move |done, total| progress(ranks * done, ranks * total)));
    }
    let memory = all.iter().map(Cuda::memory).collect::<Result<Vec<_>>>()?;
    let memory = memory.into_iter().min().map(|(free, total)| GpuMemory { free, total });
    let device = Ranks::new(all.into_iter().map(|device| Box::new(device) as Box<dyn Device>).collect())?;
    Ok(Opened { device: Box::new(device), kind: "CUDA", activations: Activations::Bf16, memory, fallback: None })
}

/// Whether a GPU has such activations; `instead` has the CPU take the model.
fn check_activations(number: u32, activations: Option<Activations>, instead: &str) -> Result<()> {
    if activations != Some(Activations::F32) {
        return Ok(());
    }
    Err(Error::new(Category::Device, "A GPU has no f32 activations")
        .details(format!("device {number} keeps activations in bf16"))
        .hint(format_args!("use --activations bf16, or {instead}")))
}

fn gpu(number: u32, activations: Option<Activations>, progress: Option<Progress>) -> Result<Opened> {
    check_activations(number, activations, "--device cpu")?;
    let mut cuda = Cuda::open(number, cuda::Options::from_environment())?;
    if let Some(progress) = progress {
        cuda.on_progress(Box::new(progress));
    }
    let (free, total) = cuda.memory()?;
    let memory = Some(GpuMemory { free, total });
    Ok(Opened { device: Box::new(cuda), kind: "CUDA", activations: Activations::Bf16, memory, fallback: None })
}
