//! `Inspection`: what a checkpoint is and what memory it takes, without a device and without its weights being read.
use std::collections::BTreeSet;

use bytes::Bytes;
use gpu_kernels::{Element, PAGE_TOKENS};

use crate::checkpoint::Checkpoint;
use crate::device::cuda::{self, Gpu};
use crate::device::{BufferKind, Buffers, WeightPart, WeightParts};
use crate::engine::EngineConfig;
use crate::error::Result;
use crate::forward::{Layout, Limits};
use crate::models;
use crate::models::spec::{Attention, Block, ModelSpec, Tensor};
use crate::weights::Weights;

/// What a checkpoint is.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// The model.
    pub spec: ModelSpec,
    /// Its tensors by what they are for, in the order of a pass; no tensor is in two groups.
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
}

/// Tensors that are for the same thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What they are for.
    pub name: &'static str,
    /// How many there are.
    pub tensors: usize,
    /// Elements of all of them.
    pub parameters: u64,
}

impl Group {
    /// Bytes in memory, as bf16.
    pub fn bytes(&self) -> u64 {
        2 * self.parameters
    }
}

/// Bytes that a device needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Weights as bf16. The CPU reads those that are BF16 on disk where they are.
    pub weights: u64,
    /// KV pages of all sequences.
    pub kv: u64,
    /// Activations, tables and inputs.
    pub workspace: u64,
}

impl Need {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.kv + self.workspace
    }
}

impl Inspection {
    /// Looks at a checkpoint: a directory, or `org/name` of Hugging Face's cache. `context` is by default the smaller of
    /// the model's length and 4096; `batch` sequences of that length run at the same time.
    ///
    /// # Errors
    /// The checkpoint cannot be used, or `context` is out of range.
    pub fn new(model: &str, context: Option<usize>, batch: usize) -> Result<Inspection> {
        let checkpoint = Checkpoint::open(model)?;
        let models::Reading { spec, notes, warnings } = models::read_checkpoint(&checkpoint)?;
        let mut config = EngineConfig::for_model(&spec, context)?;
        config.max_sequences = batch;
        let weights = Weights::new(checkpoint);
        weights.check_all(&spec)?;
        let groups = groups(&spec);
        let weight_bytes = groups.iter().map(Group::bytes).sum();
        let limits = Limits::new(config.context, config.max_sequences, config.chunk);
        let (_, buffers) = Layout::new(&spec, limits, &|_| Ok(placeholder()))?;
        Ok(Inspection {
            notes: warnings.into_iter().chain(notes).collect(),
            unused: weights.unused(&spec).into_iter().map(str::to_owned).collect(),
            disk_bytes: weights.checkpoint().bytes(),
            gpu: need(&buffers, weight_bytes, 2, cuda::WORKSPACE_BYTES),
            cpu: need(&buffers, weight_bytes, 4, 0),
            kv_bytes_per_token: kv_bytes(&buffers, 2) / (limits.pages as u64 * u64::from(PAGE_TOKENS)),
            groups,
            config,
            spec,
        })
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
    /// The device that `auto` chooses: the first GPU, else the CPU.
    pub fn find() -> Present {
        match cuda::count().and_then(|_| Gpu::new(0)) {
            Ok(gpu) => Present { device: "0".into(), name: gpu.name, memory: Some(gpu.memory), is_gpu: true },
            Err(_) => Present { device: "cpu".into(), name: "CPU".into(), memory: system_memory(), is_gpu: false },
        }
    }

    /// What `inspection` needs here.
    pub fn need(&self, inspection: &Inspection) -> Need {
        if self.is_gpu { inspection.gpu } else { inspection.cpu }
    }

    /// Whether that fits; none where the memory is not known.
    pub fn holds(&self, inspection: &Inspection) -> Option<bool> {
        self.memory.map(|memory| self.need(inspection).total() <= memory)
    }
}

/// `MemTotal` of Linux, in bytes.
fn system_memory() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes << 10)
}

fn groups(spec: &ModelSpec) -> Vec<Group> {
    let mut seen = BTreeSet::new();
    let mut group = |name, tensors: Vec<&Tensor>| {
        let own: Vec<_> = tensors.into_iter().filter(|tensor| seen.insert(tensor.name.clone())).collect();
        let parameters = own.iter().map(|tensor| tensor.shape.iter().product::<usize>() as u64).sum();
        Group { name, tensors: own.len(), parameters }
    };
    let products = |wanted: fn(&Block) -> bool| -> Vec<&Tensor> {
        let blocks = spec.blocks.iter().filter(|block| wanted(block));
        blocks.flat_map(|block| block.products().into_iter().flat_map(|product| product.tensors())).collect()
    };
    let norms = spec.blocks.iter().map(Block::norm).chain([&spec.final_norm]);
    let groups = [
        group("embedding", vec![&spec.embedding]),
        group("attention", products(|block| matches!(block, Block::Attention(_)))),
        group("mlp", products(|block| matches!(block, Block::Mlp(_)))),
        group("linear", products(|block| matches!(block, Block::Linear(_)))),
        group("norms", norms.flat_map(|norm| norm.tensors()).collect()),
        group("head", spec.head.tensors().collect()),
    ];
    groups.into_iter().filter(|group| group.tensors > 0).collect()
}

/// The layout asks for every weight; its size is known from the model already.
fn placeholder() -> WeightParts {
    WeightParts::new(vec![WeightPart::new(Bytes::from_owner(vec![0u8; 2]), 1, 0..1, 0..1)])
}

fn need(buffers: &Buffers, weights: u64, act_bytes: u64, products: u64) -> Need {
    let kv = kv_bytes(buffers, act_bytes);
    let rest =
        buffers.bytes(act_bytes, |spec| !matches!(spec.kind, BufferKind::Weight(_)) && spec.element != Element::Kv);
    Need { weights, kv, workspace: rest + products }
}

fn kv_bytes(buffers: &Buffers, act_bytes: u64) -> u64 {
    buffers.bytes(act_bytes, |spec| spec.element == Element::Kv)
}
