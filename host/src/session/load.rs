//! `Model::load`: a checkpoint's files and a device become an engine.
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gpu_kernels::PAGE_TOKENS;
use serde_json::{Map, Value};

use super::choice::{self, ActivationChoice, Activations, DeviceChoice, KvChoice, Opened, Progress};
use super::fp8::{keep_cache, quantize_inputs};
use super::memory::{self, Bound};
use super::note::Note;
use super::rank_choice::RankChoice;
use super::stages::{StageTime, Stages};
use super::{sampling, stop};
use crate::checkpoint::Checkpoint;
use crate::device::cuda::Collectives;
use crate::engine::{CPU_CHUNK, Engine, EngineConfig, EngineHandle};
use crate::error::{Category, Error, Result, size};
use crate::models::{self, spec::ModelSpec};
use crate::quantized::Recipe;
use crate::sample::Sampling;
use crate::weights::Weights;

/// A context that is not halved any further where memory is short, tokens.
const LEAST_CONTEXT: usize = 4096;

/// What to load, and where.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// A directory, or `org/name` of a model in Hugging Face's cache.
    pub model: String,
    /// Which device runs the model.
    pub device: DeviceChoice,
    /// Whether several do together, and which.
    pub ranks: RankChoice,
    /// In whose memory the GPUs of several meet.
    pub collectives: Collectives,
    /// By default f32 on the CPU and bf16 on a GPU.
    pub activations: Option<ActivationChoice>,
    /// Tokens that a sequence may have; by default the smaller of the model's length and 4096.
    pub context: Option<usize>,
    /// Without `context`: the model's own length, halved until the memory for keys and values holds one such context.
    pub longest_context: bool,
    /// Sequences that run at the same time.
    pub max_sequences: usize,
    /// Token rows of one step, which bound how long running sequences wait for the prompts of others; longer prompts are
    /// computed in several.
    pub step_tokens: Option<usize>,
    /// Most bytes of keys and values on the CPU; sequences wait where theirs have no room.
    pub cache_bytes: u64,
    /// Share of a GPU's memory that may be in use, other programs' included: above 0, up to 1; by default 0.9. What is
    /// left beside the weights bounds the keys and values.
    pub gpu_memory_utilization: Option<f64>,
    /// Most bytes of states of cached prefixes, where a model keeps a state; by default an eighth of what is left beside the
    /// weights, and at most four for each sequence.
    pub prefix_cache_bytes: Option<u64>,
    /// Makes and records the plans of all steps in which each sequence adds one token and no mask forbids any, where a device
    /// runs ahead: none of them is held up later.
    pub prepare_decodes: bool,
    /// Makes codes of the weights of all products but the head, where they are BF16.
    pub quantize: Option<Recipe>,
    /// Makes codes of the head too.
    pub quantize_lm_head: bool,
    /// How keys and values are kept.
    pub kv_cache: KvChoice,
    /// Told how far the copy of the weights to a GPU is.
    pub progress: Option<Progress>,
    /// A Jinja file with the chat template, instead of the checkpoint's own.
    pub chat_template: Option<PathBuf>,
    /// What the chat template is told beside the conversation, by name.
    pub chat_template_kwargs: Map<String, Value>,
    /// Turns reasoning on or off; without, the template decides.
    pub thinking: Option<bool>,
    /// Whether no token and no turn's end of the model's ends an answer.
    pub ignore_eos: bool,
    /// Biases that will be asked for: checked against the vocabulary before the weights load.
    pub logit_bias: Vec<(u32, f32)>,
}

impl LoadOptions {
    /// The type of the activations, where one was chosen.
    pub(super) fn activation_type(&self) -> Option<Activations> {
        match self.activations {
            Some(ActivationChoice::One(activations)) => Some(activations),
            Some(ActivationChoice::Fp8) | None => None,
        }
    }

    /// Opens the device that these choose.
    pub(super) fn open(&self) -> Result<Opened> {
        let ranks = (&self.ranks, self.collectives);
        choice::open(self.device, ranks, self.activation_type(), self.progress)
    }

    /// `model` for one sequence at a time, on the first GPU or else the CPU.
    pub fn new(model: impl Into<String>) -> LoadOptions {
        LoadOptions {
            model: model.into(),
            device: DeviceChoice::Auto,
            ranks: RankChoice::One,
            collectives: Collectives::Auto,
            activations: None,
            context: None,
            longest_context: false,
            max_sequences: 1,
            step_tokens: None,
            cache_bytes: u64::MAX,
            gpu_memory_utilization: None,
            prefix_cache_bytes: None,
            prepare_decodes: false,
            quantize: None,
            quantize_lm_head: false,
            kv_cache: KvChoice::Auto,
            progress: None,
            chat_template: None,
            chat_template_kwargs: Map::new(),
            thinking: None,
            ignore_eos: false,
            logit_bias: Vec::new(),
        }
    }
}

/// A model on a device.
pub struct Model {
    pub(super) engine: EngineHandle,
    pub(super) spec: ModelSpec,
    sampling: Sampling,
    max_tokens: Option<usize>,
    /// Texts that end every answer, of generation_config.json.
    pub(super) stop_strings: Vec<String>,
    activations: Activations,
    /// Whether inputs of products are quantized.
    pub(super) fp8_inputs: bool,
    stages: Vec<StageTime>,
    load_time: Duration,
}

impl Model {
    /// Loads a model without a tokenizer; `note` is told what happens.
    ///
    /// `meanwhile` reads what else is in the checkpoint's directory, beside the opening of the device: a fault there shows
    /// before the weights load.
    ///
    /// # Errors
    /// The checkpoint or the device; each says which file, what was expected and what was found. Those of `meanwhile`.
    pub fn load(
        options: &LoadOptions,
        note: &mut dyn FnMut(Note),
        meanwhile: impl FnOnce(&Path) -> Result<()> + Send,
    ) -> Result<Model> {
        Model::load_on(options, || options.open(), note, meanwhile)
    }

    /// As [`Model::load`], on what `device` opens.
    pub(super) fn load_on(
        options: &LoadOptions,
        device: impl FnOnce() -> Result<Opened>,
        note: &mut dyn FnMut(Note),
        meanwhile: impl FnOnce(&Path) -> Result<()> + Send,
    ) -> Result<Model> {
        let start = Instant::now();
        note(Note::Info(format!("Loading model from: {}", options.model)));
        let mut stages = Stages::new();
        let checkpoint = Checkpoint::open(&options.model)?;
        let models::Reading { mut spec, notes, warnings, cache_fault } = models::read_checkpoint(&checkpoint)?;
        warnings.into_iter().for_each(|text| note(Note::Warning(text)));
        notes.into_iter().for_each(|text| note(Note::Info(format!("  {text}"))));
        if options.ignore_eos {
            spec.eos.clear();
        }
        quantize(&mut spec, options, note)?;
        put_in_fp8(&mut spec, options, cache_fault, note)?;
        Sampling { logit_bias: options.logit_bias.clone(), ..Sampling::default() }.check(spec.vocab)?;
        let mut config = EngineConfig::for_model(&spec, options.context)?;
        let defaults = sampling::defaults(checkpoint.generation_config(), &spec.eos, spec.vocab)?;
        let stop_strings = stop::of_checkpoint(checkpoint.generation_config())?;
        let (share, whole) = spec.shard(options.ranks.count())?;
        stages.end("checkpoint");
        let opened = open(device, || meanwhile(checkpoint.directory()), &mut stages)?;
        let described = describe(&opened, note);
        defaults.notes.into_iter().for_each(&mut *note);
        note_ignored(&spec, &opened, options, note);
        whole.into_iter().for_each(|text| note(Note::Info(format!("  {text}"))));
        let weights = Weights::new(checkpoint);
        weights.check_all(&spec)?;
        config.max_sequences = options.max_sequences.max(1);
        config.pages = Some(pages(&share, &mut config, &opened, options)?);
        let mut engine = Engine::new(opened.device, &share, &|tensors| weights.parts(tensors), config)?;
        stages.end("weights");
        engine.warm_up()?;
        stages.end("warm-up");
        prepare_decodes(&mut engine, options, &mut stages, note)?;
        if let Some(error) = engine.no_library() {
            let cost =
                "products of many rows run in dense_gemm, so long prompts take longer, on an H200 1.4 times as long";
            note(Note::Warning(format!("{}: {cost} ({})", error.message(), error.details_text())));
        }
        note(Note::Info(format!("Model weights loaded: {}", size(weight_bytes(&spec)))));
        note(Note::Detail(format!("KV cache: {} pages of {PAGE_TOKENS} tokens", engine.free_pages())));
        engine.description().into_iter().skip(described).for_each(|line| note(Note::Detail(line)));
        report(&weights, &spec, note);
        Ok(Model {
            engine: EngineHandle::new(engine)?,
            spec,
            sampling: defaults.sampling,
            max_tokens: defaults.max_tokens,
            stop_strings,
            activations: opened.activations,
            fp8_inputs: options.activations == Some(ActivationChoice::Fp8),
            stages: stages.done,
            load_time: start.elapsed(),
        })
    }

    /// What the model is.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// How the model's owner wants tokens chosen.
    pub fn sampling(&self) -> &Sampling {
        &self.sampling
    }

    /// Most tokens of an answer, if the model's owner says.
    pub fn max_tokens(&self) -> Option<usize> {
        self.max_tokens
    }

    /// The engine's thread, for those who watch it.
    pub fn engine(&self) -> &EngineHandle {
        &self.engine
    }

    /// The type of the activations.
    pub fn activations(&self) -> Activations {
        self.activations
    }

    /// Where the load time went.
    pub fn stages(&self) -> &[StageTime] {
        &self.stages
    }

    /// From the first look at the files until the model could be used.
    pub fn load_time(&self) -> Duration {
        self.load_time
    }
}

/// Opens the device while another thread runs `meanwhile`, whose error comes first.
fn open(
    device: impl FnOnce() -> Result<Opened>,
    meanwhile: impl FnOnce() -> Result<()> + Send,
    stages: &mut Stages,
) -> Result<Opened> {
    let timed = || {
        let start = Instant::now();
        meanwhile().map(|()| StageTime { stage: "tokenizer", time: start.elapsed() })
    };
    let (opened, read) = std::thread::scope(|scope| {
        let reader = scope.spawn(timed);
        let opened = device();
        stages.end("device");
        (opened, reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    stages.done.push(read?);
    stages.since = Instant::now();
    opened
}

/// Prepares all decode steps where that is asked for and of use, and tells so at the begin and the end.
fn prepare_decodes(
    engine: &mut Engine,
    options: &LoadOptions,
    stages: &mut Stages,
    note: &mut dyn FnMut(Note),
) -> Result<()> {
    if !options.prepare_decodes || !engine.runs_ahead() {
        return Ok(());
    }
    engine.prepare_decodes(&mut |done, all| {
        if done == 0 || done == all {
            note(Note::Info(format!("Decode plans prepared: {done} of {all}")));
        }
    })?;
    stages.end("decode plans");
    Ok(())
}

/// Makes codes of the weights where that is asked for.
fn quantize(spec: &mut ModelSpec, options: &LoadOptions, note: &mut dyn FnMut(Note)) -> Result<()> {
    let Some(recipe) = options.quantize else { return Ok(()) };
    let models::QuantizeReport { matrices, bytes, left } = models::quantize(spec, recipe, options.quantize_lm_head);
    if matrices == 0 {
        return Err(Error::new(Category::Model, "No weight can be quantized")
            .details(format_args!("{}: no product's weight is BF16 with columns that {recipe} divides", options.model))
            .hint("leave --quantize out: the checkpoint is quantized already, or its widths are not those of a published model"));
    }
    let [before, after] = bytes.map(size);
    let rest = if left == 0 { String::new() } else { format!("; {left} stay, since its groups do not divide them") };
    note(Note::Info(format!("  {matrices} matrices become {recipe}: {before} become {after}{rest}")));
    Ok(())
}

/// Keys, values and inputs of products become FP8 where that is asked for.
fn put_in_fp8(
    spec: &mut ModelSpec,
    options: &LoadOptions,
    cache_fault: Option<Error>,
    note: &mut dyn FnMut(Note),
) -> Result<()> {
    keep_cache(spec, options.kv_cache, cache_fault, note)?;
    if options.activations == Some(ActivationChoice::Fp8) { quantize_inputs(spec, note) } else { Ok(()) }
}

/// The KV pages that fit on the device, or on each of its ranks, which have a share of `spec`; settles the context and the rows of a step in `config`.
fn pages(spec: &ModelSpec, config: &mut EngineConfig, opened: &Opened, options: &LoadOptions) -> Result<usize> {
    let utilization = options.gpu_memory_utilization.unwrap_or(memory::GPU_MEMORY_UTILIZATION);
    let bound = match opened.memory {
        Some(memory) => Bound::Gpu(memory, utilization),
        None => Bound::Cache(options.cache_bytes, options.ranks.count() as u64),
    };
    let act_bytes = if opened.activations == Activations::F32 { 4 } else { 2 };
    if options.longest_context && options.context.is_none() {
        config.context = spec.context_length;
        while config.context > LEAST_CONTEXT && !memory::holds_context(spec, config, act_bytes, bound) {
            config.context = (config.context / 2).max(LEAST_CONTEXT);
        }
    }
    config.chunk = options.step_tokens.unwrap_or(config.chunk).clamp(1, config.context);
    if opened.kind == "CPU" {
        config.chunk = config.chunk.min(CPU_CHUNK);
    }
    config.spare_slots = memory::spare_slots(spec, config, act_bytes, bound, options.prefix_cache_bytes);
    memory::pages(spec, config, act_bytes, bound)
}

/// Says which options are of no use here.
fn note_ignored(spec: &ModelSpec, opened: &Opened, options: &LoadOptions, note: &mut dyn FnMut(Note)) {
    if opened.memory.is_none() && options.gpu_memory_utilization.is_some() {
        note(Note::Info("  --gpu-memory-utilization is ignored: no GPU is used".to_owned()));
    }
    if options.collectives != Collectives::Auto && (opened.kind != "CUDA" || options.ranks.count() == 1) {
        note(Note::Info("  --collectives is ignored: not several GPUs are used".to_owned()));
    }
    if options.prefix_cache_bytes.is_some() && !spec.keeps_state() {
        note(Note::Info("  --prefix-cache-bytes is ignored: the model keeps no state".to_owned()));
    }
}

/// Says what was opened; returns how many lines the device had.
fn describe(opened: &Opened, note: &mut dyn FnMut(Note)) -> usize {
    let lines = opened.device.description();
    let count = lines.len();
    let mut lines = lines.into_iter();
    if let Some(name) = lines.next() {
        note(Note::Info(format!("{} Device: {name}", opened.kind)));
    }
    for line in lines {
        note(Note::Info(format!("  {line}")));
    }
    if let Some(error) = &opened.fallback {
        note(Note::Info(format!("  No GPU is used: {}", error.message())));
    }
    count
}

/// Says what was done to the checkpoint's tensors that its owner may not expect.
fn report(weights: &Weights, spec: &ModelSpec, note: &mut dyn FnMut(Note)) {
    for (dtype, count) in weights.narrowed(spec) {
        let tensors = if count == 1 { "tensor was" } else { "tensors were" };
        note(Note::Info(format!("  {count} {dtype} {tensors} narrowed to BF16")));
    }
    let mut formats: BTreeMap<&str, usize> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let matrices = spec.tensors().into_iter().filter(|tensor| tensor.shape.len() == 2 && seen.insert(&tensor.name));
    matrices.for_each(|tensor| *formats.entry(tensor.format.name()).or_default() += 1);
    if spec.tensors().iter().any(|tensor| tensor.format.is_packed()) {
        let formats: Vec<String> = formats.iter().map(|(format, count)| format!("{count} in {format}")).collect();
        note(Note::Info(format!("  Matrices: {}", formats.join(", "))));
    }
    for name in weights.unused(spec) {
        note(Note::Detail(format!("Unused tensor: {name}")));
    }
}

/// Bytes of the weights as a device keeps them, tied tensors counted once.
fn weight_bytes(spec: &ModelSpec) -> u64 {
    let tensors = spec.tensors();
    let bytes: BTreeMap<&str, u64> = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.bytes())).collect();
    bytes.values().sum()
}
