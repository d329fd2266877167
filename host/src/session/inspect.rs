//! `Inspection`: what a checkpoint is and what memory it takes, without a device and without its weights being read.
use std::collections::BTreeSet;

use gpu_kernels::PAGE_TOKENS;

use super::{Collectives, DeviceChoice, KvChoice, RankChoice};
use crate::checkpoint::Checkpoint;
use crate::cpu::processor_name;
use crate::device::cuda::{self, Gpu};
use crate::device::host_memory;
use crate::engine::EngineConfig;
use crate::error::Result;
use crate::forward::{Layout, MemorySizes};
use crate::models;
use crate::models::spec::{Attention, Block, ModelSpec};
use crate::weights::Weights;

/// What a checkpoint is.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// The model.
    pub spec: ModelSpec,
    /// Its tensors by what they are for and how they are kept, in the order of a pass; no tensor is in two groups.
    pub groups: Vec<Group>,
    /// What was ignored, which defaults were taken, and what is doubtful.
    pub notes: Vec<String>,
    /// Names of tensors that the model does not ask for.
    pub unused: Vec<String>,
    /// Bytes of all tensors on disk.
    pub disk_bytes: u64,
    /// Sizes that the memory is for.
    pub config: EngineConfig,
    /// On a GPU: bf16 activations and cache.
    pub gpu: Need,
    /// On the CPU: f32 activations and cache.
    pub cpu: Need,
    /// KV bytes of a token on a GPU.
    pub kv_bytes_per_token: u64,
    /// Bytes that a sequence has in its slot on a GPU, whatever its length.
    pub slot_bytes_per_sequence: u64,
    /// How many ranks hold the model together; all bytes of memory are those of one of them.
    pub ranks: usize,
    /// Bytes of what ranks send each other on GPUs: in the memory of each, or once in the host's.
    pub packets: u64,
    /// Whether that is the host's; where `auto` decides, the GPU's is counted.
    pub packets_on_host: bool,
}

/// Tensors that are for the same thing, in one format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What they are for.
    pub name: &'static str,
    /// How a device keeps them.
    pub format: &'static str,
    /// How many there are.
    pub tensors: usize,
    /// Elements of all of them.
    pub parameters: u64,
    /// Bytes in a device's memory.
    pub bytes: u64,
}

/// Bytes that a device needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Weights. The CPU reads those that are BF16 on disk where they are.
    pub weights: u64,
    /// KV pages of all sequences.
    pub kv: u64,
    /// Slots of all sequences.
    pub slots: u64,
    /// Activations, tables and inputs.
    pub workspace: u64,
}

impl Group {
    /// Bits that a device keeps for each element, with its scales.
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.bytes as f64 / self.parameters as f64
    }
}

impl Need {
    /// All of it.
    pub fn total(&self) -> u64 {
        [self.weights, self.kv, self.slots, self.workspace].into_iter().fold(0, u64::saturating_add)
    }
}

impl Inspection {
    /// Looks at a checkpoint: a directory, or `org/name` of Hugging Face's cache. `context` is by default the smaller of
    /// the model's length and 4096; `batch` sequences of that length run at the same time,
    /// whose keys and values are kept as `kv_cache` says; `ranks` ranks hold the model together, and meet where
    /// `collectives` says.
    ///
    /// # Errors
    /// The checkpoint cannot be used, `context` is out of range, or the model cannot be cut into so many ranks.
    pub fn new(
        model: &str,
        context: Option<usize>,
        batch: usize,
        kv_cache: KvChoice,
        (ranks, collectives): (usize, Collectives),
    ) -> Result<Inspection> {
        let checkpoint = Checkpoint::open(model)?;
        let models::Reading { mut spec, notes, warnings, cache_fault } = models::read_checkpoint(&checkpoint)?;
        models::keep_cache(&mut spec, kv_cache.format(), cache_fault)?;
        let mut config = EngineConfig::for_model(&spec, context)?;
        config.max_sequences = batch;
        let weights = Weights::new(checkpoint);
        weights.check_all(&spec)?;
        let groups = groups(&spec);
        let (share, whole) = spec.shard(ranks)?;
        let limits = config.limits();
        let (_, memory) = Layout::new(&share, limits);
        let (gpu, cpu) = (memory.sizes(2), memory.sizes(4));
        // Ranks have other shares of a table as embedding than as head.
        let weight_bytes = if ranks == 1 { groups.iter().map(|group| group.bytes).sum() } else { gpu.weights };
        let packets = if ranks == 1 { 0 } else { cuda::packet_bytes(ranks) };
        let packets_on_host = ranks > 1 && collectives == Collectives::Host;
        let beside = cuda::WORKSPACE_BYTES + if packets_on_host { 0 } else { packets };
        Ok(Inspection {
            ranks,
            packets,
            packets_on_host,
            notes: warnings.into_iter().chain(notes).chain(whole).collect(),
            unused: weights.unused(&spec).into_iter().map(str::to_owned).collect(),
            disk_bytes: weights.checkpoint().bytes(),
            gpu: need(&gpu, weight_bytes, beside),
            cpu: need(&cpu, weight_bytes, 0),
            kv_bytes_per_token: gpu.kv / (limits.pages as u64 * u64::from(PAGE_TOKENS)),
            slot_bytes_per_sequence: gpu.slots / (limits.sequences as u64 + 1),
            groups,
            config,
            spec,
        })
    }

    /// Bits that a device keeps for each element, with its scales.
    pub fn bits_per_weight(&self) -> f64 {
        let bytes: u64 = self.groups.iter().map(|group| group.bytes).sum();
        8.0 * bytes as f64 / self.parameters() as f64
    }

    /// Elements of all tensors, tied ones once.
    pub fn parameters(&self) -> u64 {
        self.groups.iter().map(|group| group.parameters).sum()
    }

    /// The attention blocks.
    pub fn attentions(&self) -> impl Iterator<Item = &Attention> {
        self.spec.blocks.iter().filter_map(|block| match block {
            Block::Attention(attention) => Some(attention),
            _ => None,
        })
    }
}

/// What is here to run a model.
#[derive(Clone, Debug)]
pub struct Present {
    /// `cpu`, or the number of the GPU.
    pub device: String,
    /// Its name.
    pub name: String,
    /// Its memory in bytes; none where the system does not say.
    pub memory: Option<u64>,
    /// Whether it is a GPU.
    pub is_gpu: bool,
}

impl Present {
    /// The device of that choice; `auto` is the first GPU, else the CPU.
    ///
    /// # Errors
    /// There is no such GPU.
    pub fn find(choice: DeviceChoice) -> Result<Present> {
        let gpu = |number| {
            let gpu = Gpu::new(number)?;
            Ok(Present { device: number.to_string(), name: gpu.name, memory: Some(gpu.memory), is_gpu: true })
        };
        let memory = host_memory::total();
        let cpu = || Present { device: "cpu".into(), name: processor_name(), memory, is_gpu: false };
        match choice {
            DeviceChoice::Gpu(number) => gpu(number),
            DeviceChoice::Cpu => Ok(cpu()),
            DeviceChoice::Auto => Ok(gpu(0).unwrap_or_else(|_| cpu())),
        }
    }

    /// The device of those `ranks` that has the least memory; `choice` says of which kind they are where they do not.
    ///
    /// # Errors
    /// There is no such GPU.
    pub fn of(ranks: &RankChoice, choice: DeviceChoice) -> Result<Present> {
        let all = match ranks {
            RankChoice::Cpu(_) => vec![DeviceChoice::Cpu],
            RankChoice::Gpus(numbers) => numbers.iter().map(|number| DeviceChoice::Gpu(*number)).collect(),
            RankChoice::One | RankChoice::Count(_) => vec![choice],
        };
        let all: Vec<Present> = all.into_iter().map(Present::find).collect::<Result<_>>()?;
        let least = all.into_iter().min_by_key(|present| present.memory);
        least.map_or_else(|| Present::find(choice), Ok)
    }

    /// What `inspection` needs here.
    pub fn need(&self, inspection: &Inspection) -> Need {
        if self.is_gpu { inspection.gpu } else { inspection.cpu }
    }

    /// Whether that fits, on the CPU that of all ranks; none where the memory is not known.
    pub fn holds(&self, inspection: &Inspection) -> Option<bool> {
        let here = if self.is_gpu { 1 } else { inspection.ranks as u64 };
        self.memory.map(|memory| self.need(inspection).total().saturating_mul(here) <= memory)
    }
}

/// In the order of a pass, but for the norms, which stand in front of the head.
fn groups(spec: &ModelSpec) -> Vec<Group> {
    let mut seen = BTreeSet::new();
    let mut groups: Vec<Group> = Vec::new();
    for used in spec.uses().into_iter().filter(|used| seen.insert(used.tensor.name.as_str())) {
        let (name, format) = (used.group, used.tensor.format.name());
        let index = groups.iter().position(|group| (group.name, group.format) == (name, format)).unwrap_or_else(|| {
            groups.push(Group { name, format, tensors: 0, parameters: 0, bytes: 0 });
            groups.len() - 1
        });
        let (group, parameters) = (&mut groups[index], used.tensor.elements());
        group.tensors += 1;
        group.parameters += parameters;
        group.bytes += used.tensor.bytes();
    }
    groups.sort_by_key(|group| {
        ["norms", "head"].iter().position(|last| *last == group.name).map_or(0, |place| place + 1)
    });
    groups
}

fn need(sizes: &MemorySizes, weights: u64, beside: u64) -> Need {
    Need { weights, kv: sizes.kv, slots: sizes.slots, workspace: sizes.workspace + beside }
}
