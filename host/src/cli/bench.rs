//! `nemotron bench`: how fast a model runs here, against the peaks of the device.
use std::io::{Write, stdout};
use std::num::NonZeroUsize;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};

use super::bench_report::{self as report, Head, Timed};
use super::bench_serve;
use super::console::Verbosity;
use super::failure::Failure;
use super::model::RankArguments;
use super::numbers::{self, CONTEXT, LAYERS, SEQUENCES, THREADS};
use crate::bench::{Bench, Formats, KERNEL_STEPS, KernelTimes, Lists, Source, Subject, Wanted};
use crate::models;
use crate::session::{DeviceChoice, KvChoice, Note, quantize_inputs};
use crate::synthetic::Preset;

/// Tokens of the prompt and of the cache whose kernels are timed unless others are asked for.
const KERNEL_PROMPT: usize = 512;
const KERNEL_DEPTH: usize = 128;

/// Time prompts, decode steps and single kernels against the fastest reads and products of the device
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, disable_help_subcommand = true)]
pub struct Arguments {
    #[command(subcommand)]
    of: Option<Of>,

    /// What to time
    #[arg(value_name = "WHAT", value_enum, default_value = "all")]
    what: What,

    #[command(flatten)]
    source: SourceArguments,

    /// What BF16 weights become: bf16, themselves; fp8 to nvfp4, codes in all products but the head, as --quantize makes them;
    /// mixed, NVFP4 in experts, feed-forwards and head, FP8 in Mamba
    #[arg(long, value_name = "FORMAT", default_value = "bf16", value_parser = formats())]
    format: Formats,

    /// How keys and values are kept: bf16, as the activations are, which auto is too; or fp8
    #[arg(long, value_name = "auto|bf16|fp8", default_value = "auto")]
    kv_cache: KvChoice,

    /// fp8: inputs of products with FP8 weights are rounded to FP8, where they have more than 64 rows
    #[arg(long, value_name = "bf16|fp8", value_parser = ["bf16", "fp8"])]
    activations: Option<String>,

    /// Layers of the preset, instead of the model's own number
    #[arg(long, value_name = "N", requires = "preset", conflicts_with = "model", value_parser = numbers::count(LAYERS))]
    layers: Option<NonZeroUsize>,

    /// A GPU's number, cpu, or auto: the first GPU, else the CPU
    #[arg(long, env = "NEMOTRON_DEVICE", value_name = "N|cpu|auto", default_value = "auto")]
    device: DeviceChoice,

    #[command(flatten)]
    ranks: RankArguments,

    /// Lengths of prompts [default: 128,512,2048, as far as the model goes; 512 for kernels]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = numbers::whole(CONTEXT))]
    prompt: Option<Vec<usize>>,

    /// Decode steps that are timed together
    #[arg(long, value_name = "N", default_value = "64", value_parser = numbers::count(CONTEXT))]
    generate: NonZeroUsize,

    /// Tokens in the cache before a decode [default: 0,128,3968, as far as the model goes; 128 for kernels]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = numbers::whole(0..=*CONTEXT.end()))]
    depth: Option<Vec<usize>>,

    /// Sequences that decode together [default: 1,8,32; 1 for kernels], or rows of products
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = numbers::whole(SEQUENCES))]
    batch: Option<Vec<usize>>,

    /// Threads of the CPU [default: one for each core that this process may use]
    #[arg(long, short, value_name = "N", value_parser = numbers::count(THREADS))]
    pub threads: Option<NonZeroUsize>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What else can be measured.
#[derive(Subcommand, Debug)]
enum Of {
    Serve(bench_serve::Arguments),
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct SourceArguments {
    /// Model directory, or org/name or org/name@revision of a model in Hugging Face's cache
    #[arg(long, short, env = "NEMOTRON_MODEL", value_name = "DIR")]
    model: Option<String>,

    /// A published model's shape with random weights, made without a file
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(Preset::names()))]
    preset: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Prompts and decode steps
    All,
    /// Prompts alone
    Prefill,
    /// Decode steps alone
    Decode,
    /// The kernels of a prompt and of a decode step
    Kernels,
    /// The model's products for as many rows as --batch lists, by gemv and by what takes many rows
    Products,
}

/// Rows of the products unless others are asked for.
const PRODUCT_ROWS: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 512];

/// Formats of weights, by name.
fn formats() -> impl TypedValueParser<Value = Formats> {
    PossibleValuesParser::new(Formats::names()).map(|name| name.parse().expect("the parser knows the names"))
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if let Some(Of::Serve(arguments)) = &arguments.of {
        return bench_serve::run(arguments);
    }
    let mut subject = Subject::read(&arguments.source(), arguments.format)?;
    models::keep_cache(&mut subject.spec, arguments.kv_cache.format(), None)?;
    if arguments.activations.as_deref() == Some("fp8") {
        quantize_inputs(&mut subject.spec, &mut |note| Verbosity::Normal.note(&note))?;
    }
    let lists = Lists::new(&arguments.wanted(subject.spec.context_length), subject.spec.context_length)?;
    let (name, parameters, config) = (subject.name.clone(), subject.parameters(), subject.config.clone());
    let devices = (arguments.device, &arguments.ranks.choice(), arguments.ranks.collectives());
    let mut bench = Bench::open(subject, devices, &lists, &mut |note: Note| Verbosity::Normal.note(&note))?;
    let head = Head { name: &name, parameters, config: &config };
    if arguments.what == What::Products {
        return products(arguments, &head, &mut bench);
    }
    let mut out = stdout().lock();
    if !arguments.json {
        write!(out, "{}{}", report::peaks(&head, bench.peaks()), report::pass_titles())?;
        out.flush()?;
    }
    let mut all = Vec::new();
    for work in lists.works() {
        let pass = bench.pass(work, lists.generate())?;
        let kernels = if arguments.what == What::Kernels { bench.kernels(work)? } else { KernelTimes::default() };
        let timed = Timed { pass, kernels };
        if arguments.json {
            all.push(report::json_pass(&timed));
            continue;
        }
        let text = if timed.kernels.each.is_empty() { report::pass(&timed.pass) } else { report::kernels(&timed) };
        write!(out, "{text}")?;
        out.flush()?;
    }
    if arguments.json {
        write!(out, "{}", report::json_object(&head, &bench, all))?;
    }
    Ok(out.flush()?)
}

fn products(arguments: &Arguments, head: &Head, bench: &mut Bench) -> Result<(), Failure> {
    let mut out = stdout().lock();
    if !arguments.json {
        write!(out, "{}{}", report::peaks(head, bench.peaks()), report::product_titles())?;
        out.flush()?;
    }
    let mut all = Vec::new();
    for &rows in arguments.batch.as_deref().unwrap_or(&PRODUCT_ROWS) {
        for product in bench.products(u32::try_from(rows).unwrap_or(u32::MAX))? {
            if arguments.json {
                all.push(report::json_product(&product));
                continue;
            }
            write!(out, "{}", report::product(&product))?;
            out.flush()?;
        }
    }
    if arguments.json {
        write!(out, "{}", report::json_object(head, bench, all))?;
    }
    Ok(out.flush()?)
}

impl Arguments {
    fn source(&self) -> Source {
        match (&self.source.model, &self.source.preset) {
            (Some(directory), _) => Source::Checkpoint(directory.clone()),
            (None, preset) => {
                let preset = preset.as_deref().and_then(Preset::named).expect("the command line knows the names");
                Source::Random(preset, self.layers.map(NonZeroUsize::get))
            }
        }
    }

    fn wanted(&self, context: usize) -> Wanted {
        let asked = |list: &Option<Vec<usize>>, skipped: What| {
            if self.what == skipped { Some(Vec::new()) } else { list.clone() }
        };
        let mut wanted = Wanted {
            prompts: asked(&self.prompt, What::Decode),
            depths: self.depth.clone(),
            batches: asked(&self.batch, What::Prefill),
            generate: self.generate.get(),
        };
        if self.what == What::Products {
            return Wanted { prompts: Some(vec![]), depths: Some(vec![0]), batches: Some(vec![1]), generate: 1 };
        }
        if self.what == What::Kernels {
            wanted.generate = wanted.generate.max(KERNEL_STEPS);
            let room = context.saturating_sub(wanted.generate);
            wanted.prompts.get_or_insert_with(|| vec![KERNEL_PROMPT.min(room.max(1))]);
            wanted.depths.get_or_insert_with(|| vec![KERNEL_DEPTH.min(room)]);
            wanted.batches.get_or_insert_with(|| vec![1]);
        }
        wanted
    }
}
