//! Whole models on the GPU: golden logits, the demo model's texts, and that batches and graphs change nothing.
use std::path::PathBuf;

use gpu_kernels::gemv::SMALL_WEIGHT;
use nemotron::checkpoint::Checkpoint;
use nemotron::device::cuda::Options;
use nemotron::engine::{Engine, EngineConfig, Request};
use nemotron::session::expected::Expected;
use nemotron::session::verify::verify;
use nemotron::session::{DeviceChoice, GenerateOptions, KvChoice, LoadOptions, Model, Session};
use nemotron::weights::Weights;
use serde::Deserialize;

use crate::{Row, ensure, open, text};

pub const ROWS: &[Row] = &[
    ("models: golden logits are within their bounds", golden),
    ("models: keys and values in FP8 are within the reference's own error", cached),
    ("models: the demo's texts to the character", texts),
    ("models: graphs and check mode change no token", ways_to_run),
    ("models: the same logits to the bit every time", same_bits),
    ("models: a batch agrees with each alone", batch),
];

/// All products of many rows by cuBLASLt, and none of those of small models.
pub const PRODUCTS: [u64; 2] = [0, SMALL_WEIGHT];
const FAMILIES: [&str; 7] =
    ["nemotron", "llama", "mistral", "nemotron_h", "nemotron_h_wide_state", "nemotron_h_moe", "nemotron_h_latent"];
/// With scales of keys and values, and figures of what FP8 changes.
const SCALED: [&str; 2] = ["llama_fp8_kv", "nemotron_h_latent_mixed"];
/// Models that are run in several ways.
const MODELS: [&str; 6] = [
    STORYTELLER,
    "tests/golden/nemotron",
    "tests/golden/llama",
    "tests/golden/mistral",
    "tests/golden/nemotron_h",
    "tests/golden/nemotron_h_moe",
];
const STORYTELLER: &str = "models/storyteller";

/// A prompt of the demo model and its text.
#[derive(Deserialize)]
struct Story {
    prompt: String,
    text: String,
}

fn stories() -> Vec<Story> {
    serde_json::from_str(include_str!("../cli/texts.json")).expect("the texts are JSON")
}

/// A file of the project, or of a folder that holds its models: the working directory, or the one above.
pub fn file(path: &str) -> Result<PathBuf, String> {
    let places = [PathBuf::from(path), PathBuf::from("..").join(path)];
    places.into_iter().find(|place| place.exists()).ok_or_else(|| format!("{path} is not here; run where it is"))
}

pub fn options(model: &str) -> Result<LoadOptions, String> {
    let model = file(model)?.display().to_string();
    Ok(LoadOptions { device: DeviceChoice::Gpu(0), max_sequences: 8, ..LoadOptions::new(model) })
}

fn golden() -> Result<String, String> {
    let mut lines = Vec::new();
    for family in FAMILIES {
        let folder = format!("tests/golden/{family}");
        let model = Model::load(&options(&folder)?, &mut |_| {}, |_| Ok(())).map_err(text)?;
        let expected = Expected::read(&file(&format!("{folder}/expected.safetensors"))?).map_err(text)?;
        let reports = verify(&model, &expected).map_err(text)?;
        ensure(reports.iter().all(|report| report.passed), || format!("{family}: {reports:?}"))?;
        let worst = reports.iter().map(|report| report.error / report.reference_bf16_error).fold(0.0, f64::max);
        let sum =
            |count: fn(&nemotron::session::verify::PromptReport) -> usize| reports.iter().map(count).sum::<usize>();
        let (agreeing, tokens) = (sum(|report| report.greedy_agreeing), sum(|report| report.greedy_expected));
        lines.push(format!("{family} {worst:.2} of the reference's error, greedy {agreeing}/{tokens}"));
    }
    Ok(lines.join("; "))
}

fn cached() -> Result<String, String> {
    let mut lines = Vec::new();
    for family in SCALED {
        let folder = format!("tests/golden/{family}");
        let options = LoadOptions { kv_cache: KvChoice::Fp8, ..options(&folder)? };
        let model = Model::load(&options, &mut |_| {}, |_| Ok(())).map_err(text)?;
        let expected = Expected::read(&file(&format!("{folder}/expected.safetensors"))?).map_err(text)?;
        let reports = verify(&model, &expected).map_err(text)?;
        ensure(reports.iter().all(|report| report.passed), || format!("{family}: {reports:?}"))?;
        let worst = reports.iter().map(|report| report.error / report.bound).fold(0.0, f64::max);
        lines.push(format!("{family} {worst:.2} of the bound"));
    }
    Ok(lines.join("; "))
}

fn texts() -> Result<String, String> {
    let mut session = Session::load(&options(STORYTELLER)?, &mut |_| {}).map_err(text)?;
    let options = GenerateOptions { max_tokens: 200, ..GenerateOptions::default() };
    let (mut tokens, mut seconds) = (0, 0.0);
    for story in stories() {
        let generation = session.generate(&story.prompt, &options, |_| {}).map_err(text)?;
        ensure(generation.text == story.text, || format!("{:?} became {:?}", story.prompt, generation.text))?;
        tokens += generation.ids.len();
        seconds += generation.generation_time.as_secs_f64();
    }
    Ok(format!("{} texts, {:.0} tokens/s", stories().len(), f64::from(tokens as u32) / seconds))
}

pub fn engine(model: &str, options: Options, max_sequences: usize, small_weight: u64) -> Result<Engine, String> {
    let checkpoint = Checkpoint::open(&file(model)?.display().to_string()).map_err(text)?;
    let spec = nemotron::models::read_checkpoint(&checkpoint).map_err(text)?.spec;
    let weights = Weights::new(checkpoint);
    let config = EngineConfig { context: 256, max_sequences, chunk: 256, pages: None, spare_slots: 0, small_weight };
    Engine::new(Box::new(open(options)?), &spec, &|tensors| weights.parts(tensors), config).map_err(text)
}

/// Prompts of several lengths, of ids that every model has.
pub fn prompts() -> Vec<Vec<u32>> {
    [1, 7, 33, 64, 130].map(|length| (0..length).map(|i| 4 + (i * i * 31 + length * 17) % 300).collect()).to_vec()
}

/// Greedy continuations of all prompts at once.
fn generate(engine: &mut Engine, prompts: &[Vec<u32>], max_tokens: usize) -> Result<Vec<Vec<u32>>, String> {
    let submit =
        |prompt: &Vec<u32>| engine.submit(Request { prompt: prompt.clone(), max_tokens, ..Request::default() });
    let sequences = prompts.iter().map(submit).collect::<Result<Vec<_>, _>>().map_err(text)?;
    let mut tokens = vec![Vec::new(); prompts.len()];
    while !engine.is_idle() {
        for event in engine.step().map_err(text)? {
            let index = sequences.iter().position(|id| *id == event.sequence).ok_or("an unknown sequence")?;
            tokens[index].push(event.token.expect("numbers"));
        }
    }
    Ok(tokens)
}

fn ways_to_run() -> Result<String, String> {
    for (model, small_weight) in MODELS.iter().flat_map(|model| PRODUCTS.map(|small_weight| (model, small_weight))) {
        let run = |options| generate(&mut engine(model, options, 5, small_weight)?, &prompts(), 60);
        let graphs = run(Options::default())?;
        ensure(graphs == run(Options { graphs: false, ..Options::default() })?, || {
            format!("{model}: a graph changes a token")
        })?;
        ensure(graphs == run(Options { overlap: false, ..Options::default() })?, || {
            format!("{model}: overlapping launches change a token")
        })?;
        ensure(graphs == run(Options { clusters: false, ..Options::default() })?, || {
            format!("{model}: clusters change a token")
        })?;
        ensure(graphs == run(Options { check: true, graphs: false, ..Options::default() })?, || {
            format!("{model}: check mode changes a token")
        })?;
    }
    Ok(format!("{} models, 5 sequences of 60 tokens", MODELS.len()))
}

fn same_bits() -> Result<String, String> {
    for family in FAMILIES {
        let model = format!("tests/golden/{family}");
        let bits = |small_weight| -> Result<Vec<u32>, String> {
            let mut engine = engine(&model, Options::default(), 1, small_weight)?;
            let logits = prompts().iter().map(|prompt| engine.logits(prompt, 1)).collect::<Result<Vec<_>, _>>();
            Ok(logits.map_err(text)?.concat().iter().map(|logit| logit.to_bits()).collect())
        };
        for small_weight in PRODUCTS {
            ensure(bits(small_weight)? == bits(small_weight)?, || format!("{family}: other bits the second time"))?;
        }
    }
    Ok(format!("{} models, 5 prompts", FAMILIES.len()))
}

fn batch() -> Result<String, String> {
    let (mut tokens, mut ties) = (0, 0);
    for (model, small_weight) in MODELS.iter().flat_map(|model| PRODUCTS.map(|small_weight| (model, small_weight))) {
        let together = generate(&mut engine(model, Options::default(), 5, small_weight)?, &prompts(), 60)?;
        let mut single = engine(model, Options::default(), 1, small_weight)?;
        for (prompt, together) in prompts().into_iter().zip(together) {
            let alone = generate(&mut single, std::slice::from_ref(&prompt), 60)?.concat();
            let agreeing = alone.iter().zip(&together).take_while(|(a, b)| a == b).count();
            tokens += agreeing;
            if agreeing < alone.len() {
                ties += 1;
                let before = [&prompt[..], &alone[..agreeing]].concat();
                let logits = single.logits(&before, 1).map_err(text)?;
                ensure(is_tie(&logits), || format!("{model}: token {agreeing} of {} differs, no tie", prompt.len()))?;
            }
        }
    }
    Ok(format!("{tokens} tokens; {ties} sequences part at a tie"))
}

/// Whether the two best logits are within 2 bf16 ulps of the best.
fn is_tie(logits: &[f32]) -> bool {
    let mut sorted = logits.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let ulp = (f64::from(sorted[0].abs()).log2().floor() - 7.0).exp2();
    f64::from(sorted[0] - sorted[1]) <= 2.0 * ulp
}
