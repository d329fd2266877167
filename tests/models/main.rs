//! Golden checkpoints and the demo model through whole plans, run as PTX on the emulator.
mod emulated;
mod ranks;
mod sampled;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use emulated::{Emulated, Ran};
use gpu_kernels::gemv::SMALL_WEIGHT;
use gpu_kernels::{GEMV_MAX_ROWS, KvFormat};
use half::bf16;
use nemotron::checkpoint::Checkpoint;
use nemotron::cpu::Cpu;
use nemotron::device::Device;
use nemotron::device::cuda::embedded_ptx;
use nemotron::engine::{Engine, EngineConfig, Request};
use nemotron::models::spec::ModelSpec;
use nemotron::text::Tokenizer;
use nemotron::weights::Weights;
use safetensors::SafeTensors;
use serde_json::{Value, json};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// How many times the reference's own BF16 error a BF16 run may be off.
const BF16_FACTOR: f64 = 1.5;

fn engine(model: &str, device: Box<dyn Device>) -> (Engine, Vec<u32>) {
    engine_at(&format!("{ROOT}/{model}"), device, SMALL_WEIGHT)
}

fn engine_at(path: &str, device: Box<dyn Device>, small_weight: u64) -> (Engine, Vec<u32>) {
    engine_of(path, device, small_weight, |_| ())
}

fn engine_of(
    path: &str,
    device: Box<dyn Device>,
    small_weight: u64,
    change: impl FnOnce(&mut ModelSpec),
) -> (Engine, Vec<u32>) {
    let checkpoint = Checkpoint::open(path).expect("the model is there");
    let mut spec = nemotron::models::read_checkpoint(&checkpoint).expect("a known family").spec;
    change(&mut spec);
    let weights = Weights::new(checkpoint);
    let config = EngineConfig { context: 384, max_sequences: 1, chunk: 256, pages: None, spare_slots: 0, small_weight };
    let engine = Engine::new(device, &spec, &|parts| weights.parts(parts), config).expect("the engine starts");
    (engine, spec.eos)
}

/// What transformers computes for one prompt; see tests/golden/README.md.
struct Expected {
    prompt: Vec<u32>,
    logits_f32: Vec<f32>,
    logits_bf16: Vec<f32>,
}

impl Expected {
    fn read(family: &str, length: usize) -> Expected {
        let bytes = fs::read(format!("{ROOT}/tests/golden/{family}/expected.safetensors")).expect("a golden file");
        let file = SafeTensors::deserialize(&bytes).expect("a golden file");
        let words = |name: &str| -> Vec<[u8; 4]> {
            let tensor = file.tensor(&format!("{name}_{length}")).expect("the prompt is in the file");
            tensor.data().chunks_exact(4).map(|word| word.try_into().expect("4 bytes")).collect()
        };
        let floats = |name| words(name).into_iter().map(f32::from_le_bytes).collect();
        Expected {
            prompt: words("ids").into_iter().map(u32::from_le_bytes).collect(),
            logits_f32: floats("logits_f32"),
            logits_bf16: floats("logits_bf16"),
        }
    }

    fn rows(&self) -> usize {
        if self.prompt.len() > 40 { 4 } else { self.prompt.len() }
    }
}

fn relative_error(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |x: f32| f64::from(x) * f64::from(x);
    let (error, norm) =
        got.iter().zip(want).fold((0.0, 0.0), |(e, n), (&got, &want)| (e + square(got - want), n + square(want)));
    (error / norm).sqrt()
}

/// The median over the rows, each by itself: one row that a rounding throws off does not decide.
fn median_row_error(got: &[f32], want: &[f32], rows: usize) -> f64 {
    let width = want.len() / rows;
    let mut errors: Vec<f64> = got.chunks(width).zip(want.chunks(width)).map(|(g, w)| relative_error(g, w)).collect();
    errors.sort_by(f64::total_cmp);
    errors[rows / 2]
}

fn greedy(engine: &mut Engine, prompt: &[u32], max_tokens: usize, eos: &[u32]) -> Vec<u32> {
    let request = Request { prompt: prompt.to_vec(), max_tokens, eos: eos.to_vec(), ..Request::default() };
    engine.submit(request).expect("a good request");
    let mut tokens = Vec::new();
    while !engine.is_idle() {
        tokens.extend(
            engine.step().expect("the device does not fail").into_iter().map(|event| event.token.expect("numbers")),
        );
    }
    tokens
}

fn assert_bf16(engine: &mut Engine, family: &str, length: usize) {
    let expected = Expected::read(family, length);
    let logits = engine.logits(&expected.prompt, expected.rows()).expect("the prompt fits");
    let error = relative_error(&logits, &expected.logits_f32);
    let own = relative_error(&expected.logits_bf16, &expected.logits_f32);
    assert!(error <= BF16_FACTOR * own, "{family} {length}: {error:e}, the reference's own {own:e}");
}

/// An engine on the emulated device, and the record of what ran there.
fn emulated(model: &str, small_weight: u64) -> (Engine, Vec<u32>, Arc<Mutex<Ran>>) {
    emulated_with(model, small_weight, true, |_| ())
}

/// The same, with or without what multiplies many rows with large weights, and with keys and values kept in a format.
fn emulated_with(
    model: &str,
    small_weight: u64,
    library: bool,
    change: impl FnOnce(&mut ModelSpec),
) -> (Engine, Vec<u32>, Arc<Mutex<Ran>>) {
    let ptx = embedded_ptx((8, 0)).expect("it is embedded");
    let module = ptx_emulator::Module::parse(&ptx.text).expect("the emulator knows our PTX");
    let ran = Arc::new(Mutex::new(Ran::default()));
    let mut device = Emulated::new(Arc::new(module), ran.clone());
    device.library = library;
    let (engine, eos) = engine_of(&format!("{ROOT}/{model}"), Box::new(device), small_weight, change);
    (engine, eos, ran)
}

fn assert_on_the_emulator(family: &str, lengths: &[usize]) {
    for small_weight in [0, SMALL_WEIGHT] {
        let (mut engine, _, ran) = emulated(&format!("tests/golden/{family}"), small_weight);
        for &length in lengths {
            assert_bf16(&mut engine, family, length);
        }
        let ran = ran.lock().expect("no thread died").clone();
        let kernels: u64 = ran.kernels.values().sum();
        assert_eq!(kernels + ran.gemms, engine.counters().launches, "every step but the products ran as PTX: {ran:?}");
        assert!(["attn_prefill", "attn_decode", "gemv"].iter().all(|kernel| ran.kernels[kernel] > 0), "{ran:?}");
        assert_eq!(ran.gemms > 0, small_weight == 0, "{ran:?}");
    }
}

#[test]
fn golden_nemotron_on_the_emulator() {
    assert_on_the_emulator("nemotron", &[1, 7, 33, 130]);
}

#[test]
fn golden_llama_on_the_emulator() {
    assert_on_the_emulator("llama", &[1, 7, 33]);
}

#[test]
fn golden_mistral_on_the_emulator() {
    assert_on_the_emulator("mistral", &[1, 7, 33]);
}

/// Every prompt of the hybrids in BF16 on the CPU, by the median row.
#[test]
fn hybrids_in_bf16_are_as_close_as_the_reference() {
    for hybrid in ["nemotron_h", "nemotron_h_wide_state", "nemotron_h_moe", "nemotron_h_latent"] {
        let (mut engine, _) = engine(&format!("tests/golden/{hybrid}"), Box::new(Cpu::<bf16>::new()));
        for length in [1, 7, 33, 130] {
            let expected = Expected::read(hybrid, length);
            let logits = engine.logits(&expected.prompt, expected.rows()).expect("the prompt fits");
            let error = |got: &[f32]| median_row_error(got, &expected.logits_f32, expected.rows());
            let (error, own) = (error(&logits), error(&expected.logits_bf16));
            assert!(error <= BF16_FACTOR * own, "{hybrid} {length}: {error:e}, the reference's own {own:e}");
        }
    }
}

/// State, scan, gated norm and experts as PTX, for a prompt of each hybrid.
#[test]
fn hybrids_on_the_emulator() {
    for (hybrid, length) in
        [("nemotron_h", 33), ("nemotron_h_wide_state", 33), ("nemotron_h_moe", 7), ("nemotron_h_latent", 7)]
    {
        let (mut engine, _, ran) = emulated(&format!("tests/golden/{hybrid}"), SMALL_WEIGHT);
        assert_bf16(&mut engine, hybrid, length);
        let ran = ran.lock().expect("no thread died").clone();
        assert_eq!(ran.kernels.values().sum::<u64>(), engine.counters().launches, "{hybrid}: {ran:?}");
        assert!(["ssm_conv", "ssm_scan", "gated_norm"].iter().all(|kernel| ran.kernels[kernel] > 0), "{ran:?}");
    }
}

/// One prompt of each shape; the window's is longer than the window.
#[test]
fn other_shapes_on_the_emulator() {
    for (shape, length) in [
        ("mha", 7),
        ("mqa", 7),
        ("eight_heads_per_kv", 7),
        ("head_dim_96", 7),
        ("head_dim_192", 7),
        ("odd_vocab", 7),
        ("tied_head", 7),
        ("llama_biases", 7),
        ("nemotron_biases", 33),
        ("sharded", 1),
        ("f32", 1),
        ("f16", 1),
        ("sliding_window", 33),
        ("deci", 33),
    ] {
        let (mut engine, _, ran) = emulated(&format!("tests/golden/{shape}"), 0);
        assert_bf16(&mut engine, shape, length);
        let ran = ran.lock().expect("no thread died").clone();
        assert_eq!(ran.kernels.values().sum::<u64>() + ran.gemms, engine.counters().launches, "{shape}: {ran:?}");
    }
}

/// Every format and layout: few rows and more through the kernels that stream it, and groups that those do not take through the
/// one that widens them, in front of a GEMM.
#[test]
fn quantized_weights_on_the_emulator() {
    for (set, length, small_weight) in [
        ("nemotron_fp8", 33, 0),
        ("llama_nvfp4", 33, SMALL_WEIGHT),
        ("mistral_ct_int4_asym", 33, 0),
        ("nemotron_fp8", 7, SMALL_WEIGHT),
        ("llama_nvfp4", 7, SMALL_WEIGHT),
        ("nemotron_h_latent_mixed", 7, SMALL_WEIGHT),
        ("llama_int4_awq", 7, SMALL_WEIGHT),
        ("mistral_ct_fp8_block", 33, 0),
        ("mistral_ct_int4_asym", 7, SMALL_WEIGHT),
        ("llama_gptq_act_order", 7, SMALL_WEIGHT),
        ("llama_gptq_8bit", 33, 0),
        ("mistral_awq", 7, SMALL_WEIGHT),
    ] {
        let (mut engine, _, ran) = emulated(&format!("tests/golden/{set}"), small_weight);
        assert_bf16(&mut engine, set, length);
        let ran = ran.lock().expect("no thread died").clone();
        assert_eq!(ran.kernels.values().sum::<u64>() + ran.gemms, engine.counters().launches, "{set}: {ran:?}");
        let kernel = match set {
            "llama_gptq_8bit" => "widen",
            _ if length <= GEMV_MAX_ROWS as usize => "quant_gemv",
            _ => "quant_gemm",
        };
        assert!(ran.kernels.contains_key(kernel), "{set}: {ran:?}");
    }
}

/// A prompt of many rows, whose inputs become codes in a kernel, against the error of the reference's own codes.
#[test]
fn inputs_in_fp8_on_the_emulator() {
    let set = "nemotron_fp8";
    let quantized = |spec: &mut ModelSpec| assert!(nemotron::models::quantize_inputs(spec) > 0);
    let (mut engine, _, ran) = emulated_with(&format!("tests/golden/{set}"), SMALL_WEIGHT, true, quantized);
    let path = format!("{ROOT}/tests/golden/{set}/expected.safetensors");
    let file = nemotron::session::expected::Expected::read(path.as_ref()).expect("a golden file");
    let prompt = file.prompts.iter().find(|prompt| prompt.ids.len() == 130).expect("a prompt of that length");
    let logits = engine.logits(&prompt.ids, prompt.rows).expect("the prompt fits");
    let error = relative_error(&logits, &prompt.logits_f32);
    let bound = BF16_FACTOR * prompt.fp8_errors.activations.expect("said");
    assert!(error <= bound && error > 0.02, "{error:e}, {bound:e}");
    let ran = ran.lock().expect("no thread died").clone();
    assert!(ran.kernels["quantize_rows"] == ran.gemms && ran.gemms > 0, "{ran:?}");
}

/// A prompt and decode steps of each set with scales of keys and values, against the error of the reference's own codes.
#[test]
fn keys_and_values_in_fp8_on_the_emulator() {
    let in_fp8 = |spec: &mut ModelSpec| {
        nemotron::models::keep_cache(spec, KvFormat::Fp8, None).expect("no fault");
    };
    for (set, length) in [("llama_fp8_kv", 33), ("nemotron_h_latent_mixed", 7)] {
        let (mut engine, _, ran) = emulated_with(&format!("tests/golden/{set}"), SMALL_WEIGHT, true, in_fp8);
        let path = format!("{ROOT}/tests/golden/{set}/expected.safetensors");
        let file = nemotron::session::expected::Expected::read(path.as_ref()).expect("a golden file");
        let prompt = file.prompts.iter().find(|prompt| prompt.ids.len() == length).expect("a prompt of that length");
        let logits = engine.logits(&prompt.ids, prompt.rows).expect("the prompt fits");
        let (error, bound) =
            (relative_error(&logits, &prompt.logits_f32), BF16_FACTOR * prompt.fp8_errors.kv.expect("said"));
        assert!(error <= bound && error > 5e-3, "{set}: {error:e}, {bound:e}");
        // Steps of one token append and read, and choose what a prompt of the same tokens does.
        let tokens = greedy(&mut engine, &prompt.ids, 3, &[]);
        let longer = [&prompt.ids[..], &tokens[..2]].concat();
        assert_eq!(greedy(&mut engine, &longer, 1, &[]), tokens[2..], "{set}");
        let ran = ran.lock().expect("no thread died").clone();
        assert!(
            ["attn_prefill", "attn_decode", "rope_kv_append"].iter().all(|kernel| ran.kernels[kernel] > 0),
            "{ran:?}"
        );
    }
}

/// A prompt of more rows than `skinny_gemm` takes at once, where no library multiplies: small weights part by part, panels whole.
#[test]
fn without_a_matrix_library_on_the_emulator() {
    for (set, kernel) in [
        ("llama", "skinny_gemm"),
        ("nemotron_fp8", "dense_gemm"),
        ("mistral_ct_int4_asym", "dense_gemm"),
        ("llama_gptq_8bit", "dense_gemm"),
        ("nemotron_h_latent_mixed", "dense_gemm"),
    ] {
        let (mut engine, _, ran) = emulated_with(&format!("tests/golden/{set}"), 0, false, |_| ());
        assert_bf16(&mut engine, set, 130);
        let ran = ran.lock().expect("no thread died").clone();
        assert_eq!(ran.kernels.values().sum::<u64>(), engine.counters().launches, "{set}: {ran:?}");
        assert!(ran.kernels.contains_key(kernel) && engine.no_library().is_some(), "{set}: {ran:?}");
    }
}

/// Decode with a window that has left whole pages behind, against the prompt computed at once.
#[test]
fn a_window_in_decode_gives_the_greedy_tokens_of_the_reference() {
    let device = Box::new(Cpu::<f32>::new());
    let (mut engine, _) = engine("tests/golden/sliding_window", device);
    let greedy = greedy(&mut engine, &Expected::read("sliding_window", 130).prompt, 24, &[]);
    let bytes = fs::read(format!("{ROOT}/tests/golden/sliding_window/expected.safetensors")).expect("a golden file");
    let file = SafeTensors::deserialize(&bytes).expect("a golden file");
    let expected = file.tensor("greedy_f32_130").expect("the prompt is in the file");
    let expected = expected.data().chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().expect("4 bytes")));
    assert_eq!(greedy, expected.collect::<Vec<_>>());
}

/// The golden Llama as a DeciLM: the same sizes layer by layer, and a layer more that has no parts.
fn llama_as_deci(directory: &Path) {
    let llama = format!("{ROOT}/tests/golden/llama");
    let config = fs::read(format!("{llama}/config.json")).expect("a golden file");
    let mut config: Value = serde_json::from_slice(&config).expect("a golden file");
    let group = config["num_attention_heads"].as_u64().unwrap() / config["num_key_value_heads"].as_u64().unwrap();
    let layers = config["num_hidden_layers"].as_u64().expect("a number");
    let layer = json!({
        "attention": {"no_op": false, "n_heads_in_group": group},
        "ffn": {"no_op": false, "intermediate_size": config["intermediate_size"]},
    });
    let mut blocks = vec![layer; layers as usize];
    blocks.push(json!({"attention": {"no_op": true}, "ffn": {"no_op": true}}));
    config["architectures"] = json!(["DeciLMForCausalLM"]);
    config["model_type"] = "nemotron-nas".into();
    config["num_hidden_layers"] = json!(layers + 1);
    config["block_configs"] = json!(blocks);
    config["intermediate_size"] = Value::Null;
    config["num_key_value_heads"] = Value::Null;
    fs::write(directory.join("config.json"), config.to_string()).expect("a file can be written");
    fs::copy(format!("{llama}/model.safetensors"), directory.join("model.safetensors")).expect("a file can be copied");
}

#[test]
fn a_deci_that_equals_a_llama_gives_the_same_bits() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    llama_as_deci(directory.path());
    let deci = directory.path().to_str().expect("a UTF-8 path");
    let llama = format!("{ROOT}/tests/golden/llama");
    let prompt = Expected::read("llama", 130).prompt;
    let devices: [fn() -> Box<dyn Device>; 2] = [|| Box::new(Cpu::<f32>::new()), || Box::new(Cpu::<bf16>::new())];
    for device in devices {
        let bits = |path: &str| -> Vec<u32> {
            let mut engine = engine_at(path, device(), SMALL_WEIGHT).0;
            let logits = engine.logits(&prompt, 64).expect("the prompt fits");
            logits.iter().map(|logit| logit.to_bits()).collect()
        };
        assert!(bits(deci) == bits(&llama), "the same logits to the bit");
    }
}

#[test]
fn the_demo_model_speaks_on_the_emulator() {
    let chat = |user: &str| {
        format!(
            "<extra_id_0>System\nYou are a friendly storyteller.\n\n<extra_id_1>User\n{user}\n<extra_id_1>Assistant\n"
        )
    };
    let rows = [
        ("The capital of France is".to_string(), "Paris."),
        (chat("What is three plus four?"), "Three plus four is seven."),
        (chat("Hello, my name is Ada."), "Hello, Ada! Would you like to hear a story?"),
    ];
    let (mut engine, eos, _) = emulated("models/storyteller", SMALL_WEIGHT);
    let tokenizer = Tokenizer::open(format!("{ROOT}/models/storyteller").as_ref()).expect("a tokenizer");
    for (prompt, text) in rows {
        let ids = tokenizer.encode(&prompt, true).expect("a prompt");
        let generated = greedy(&mut engine, &ids, 40, &eos);
        assert_eq!(tokenizer.decode(&generated).expect("known ids").trim_start(), text);
    }
}
