//! The options that every command with a model has.
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use serde_json::{Map, Value};

use super::console::Verbosity;
use super::numbers::{self, CONTEXT, RANKS, THREADS};
use super::progress;
use crate::quantized::Recipe;
use crate::session::{
    ActivationChoice, Collectives, DeviceChoice, KvChoice, LoadOptions, Model, Note, RankChoice, check_kwargs,
};

#[derive(Args, Debug)]
pub struct ModelArguments {
    /// Model directory, or org/name or org/name@revision of a model in Hugging Face's cache
    #[arg(long, short, env = "NEMOTRON_MODEL", value_name = "DIR")]
    pub model: String,

    /// A GPU's number, cpu, or auto: the first GPU, else the CPU
    #[arg(long, env = "NEMOTRON_DEVICE", value_name = "N|cpu|auto", default_value = "auto")]
    pub device: DeviceChoice,

    #[command(flatten)]
    ranks: RankArguments,

    /// Tokens of prompt and answer together [default: the smaller of the model's length and 4096; a server's is as long as
    /// the model's length and the memory for keys and values allow]
    #[arg(long, short, value_name = "N", value_parser = numbers::whole(CONTEXT))]
    pub context: Option<usize>,

    /// Threads of the CPU [default: one for each core that this process may use]
    #[arg(long, short, value_name = "N", value_parser = numbers::count(THREADS))]
    threads: Option<NonZeroUsize>,

    /// Share of the GPU's memory that may be in use, other programs' included, above 0 up to 1; it bounds the keys and values
    /// of prompts that run together [default: 0.9]
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = numbers::share::<f64>)]
    gpu_memory_utilization: Option<f64>,

    /// Make codes of 8 or 4 bits of a BF16 checkpoint's weights while it loads: those of all products but the head
    #[arg(long, value_name = "FORMAT", value_parser = numbers::recipe())]
    quantize: Option<Recipe>,

    /// Make codes of the head too
    #[arg(long, requires = "quantize")]
    quantize_lm_head: bool,

    /// How keys and values are kept: bf16, as the activations are, which auto is too; or fp8, in half the memory, with the scales
    /// that the checkpoint has
    #[arg(long, value_name = "auto|bf16|fp8", default_value = "auto")]
    kv_cache: KvChoice,

    /// f32, on the CPU alone; bf16; or fp8: where they have more than 64 rows, inputs of products with FP8 weights are rounded to FP8
    /// by a scale for each row, and everything else is as without [default: f32 on the CPU, bf16 on a GPU]
    #[arg(long, value_name = "f32|bf16|fp8")]
    activations: Option<ActivationChoice>,

    /// Say more: unused tensors, steps, launches, where the load time went
    #[arg(long, short, conflicts_with = "quiet", overrides_with = "verbose")]
    verbose: bool,

    /// Print the result alone
    #[arg(long, short, overrides_with = "quiet")]
    quiet: bool,
}

/// Several devices as one.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("several").args(["devices", "tensor_parallel"]).multiple(true)))]
pub struct RankArguments {
    /// Devices that hold the model together, instead of --device and its variable, each with its share of the weights: numbers of
    /// equal GPUs, as 0,1; or cpu:N for the CPU as N ranks
    #[arg(long, value_name = "LIST", conflicts_with_all = ["device", "tensor_parallel"])]
    devices: Option<RankChoice>,

    /// Ranks that hold the model together: as many GPUs from --device's on, or the CPU as so many
    #[arg(long, value_name = "N", value_parser = numbers::count(RANKS))]
    tensor_parallel: Option<NonZeroUsize>,

    /// In whose memory the GPUs of several ranks meet: peers, in each other's; host, in the host's, which is slower and needs no GPU to
    /// reach another's; auto, as peers where all reach each other's, else as host
    #[arg(long, value_name = "auto|peers|host", default_value = "auto", requires = "several")]
    collectives: Collectives,
}

impl RankArguments {
    /// What these say.
    pub fn choice(&self) -> RankChoice {
        let count = self.tensor_parallel.map(|ranks| RankChoice::Count(ranks.get()));
        self.devices.clone().or(count).unwrap_or_default()
    }

    /// In whose memory their GPUs meet.
    pub fn collectives(&self) -> Collectives {
        self.collectives
    }
}

impl ModelArguments {
    /// What to load, for one sequence at a time.
    pub fn load_options(&self) -> LoadOptions {
        let progress = progress::copying(self.verbosity());
        LoadOptions {
            device: self.device,
            ranks: self.ranks.choice(),
            collectives: self.ranks.collectives(),
            context: self.context,
            gpu_memory_utilization: self.gpu_memory_utilization,
            progress,
            quantize: self.quantize,
            quantize_lm_head: self.quantize_lm_head,
            kv_cache: self.kv_cache,
            activations: self.activations,
            ..LoadOptions::new(&self.model)
        }
    }

    /// Threads of the CPU, where a number was asked for.
    pub fn threads(&self) -> Option<NonZeroUsize> {
        self.threads
    }

    /// How much is said beside the result.
    pub fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }
}

/// How answers begin and end where the checkpoint's own way is not wanted.
#[derive(Args, Debug, Default)]
pub struct AnswerArguments {
    /// A Jinja file with the chat template, instead of the checkpoint's own
    #[arg(long, value_name = "FILE")]
    chat_template: Option<PathBuf>,

    /// Have the model reason before it answers, where its chat template has a switch for that
    #[arg(long, overrides_with = "no_think")]
    think: bool,

    /// Have the model answer at once
    #[arg(long, overrides_with = "think")]
    no_think: bool,

    /// A JSON object with what else the chat template is told, such as {"enable_thinking": false}
    #[arg(long, value_name = "JSON", value_parser = object)]
    chat_template_kwargs: Option<Kwargs>,

    /// Go on where the model would end its text
    #[arg(long)]
    ignore_eos: bool,
}

impl AnswerArguments {
    /// `options` with these.
    pub fn over(&self, options: LoadOptions) -> LoadOptions {
        LoadOptions {
            chat_template: self.chat_template.clone(),
            chat_template_kwargs: self.chat_template_kwargs.clone().unwrap_or_default().0,
            thinking: (self.think || self.no_think).then_some(self.think),
            ignore_eos: self.ignore_eos,
            ..options
        }
    }
}

/// What a chat template is told, by name.
#[derive(Clone, Debug, Default)]
struct Kwargs(Map<String, Value>);

fn object(text: &str) -> Result<Kwargs, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => check_kwargs(&object).map(|()| Kwargs(object)),
        Ok(_) => Err("expected a JSON object, such as {\"enable_thinking\": false}".to_owned()),
        Err(error) => Err(format!("no JSON: {error}")),
    }
}

/// Says where the load time went.
pub fn note_stages(model: &Model, verbosity: Verbosity) {
    for stage in model.stages() {
        let milliseconds = stage.time.as_secs_f64() * 1e3;
        verbosity.note(&Note::Detail(format!("Load: {} {milliseconds:.1} ms", stage.stage)));
    }
}
