//! Every golden checkpoint on several ranks of the CPU, against what transformers computes.
use std::sync::{Arc, Mutex};

use gpu_kernels::gemv::SMALL_WEIGHT;
use nemotron::checkpoint::Checkpoint;
use nemotron::device::cuda::embedded_ptx;
use nemotron::device::{Device, Ranks, Seat};
use nemotron::engine::{Engine, EngineConfig};
use nemotron::session::expected::Expected;
use nemotron::session::verify::verify;
use nemotron::session::{ActivationChoice, Activations, DeviceChoice, LoadOptions, Model, RankChoice};
use nemotron::weights::Weights;

use crate::emulated::{Emulated, Ran};
use crate::{BF16_FACTOR, ROOT, median_row_error};

/// The sets, and into how many ranks each is cut: of 2, 4 and 8 all others are refused.
const SETS: [(&str, &[usize]); 31] = [
    ("deci", &[2]),
    ("eight_heads_per_kv", &[2, 4, 8]),
    ("f16", &[2, 4]),
    ("f32", &[2, 4]),
    ("head_dim_192", &[2]),
    ("head_dim_96", &[2]),
    ("llama", &[2, 4]),
    ("llama_biases", &[2, 4]),
    ("llama_fp8_kv", &[2, 4]),
    ("llama_gptq_8bit", &[2, 4]),
    ("llama_gptq_act_order", &[]),
    ("llama_int4_awq", &[2]),
    ("llama_nvfp4", &[2, 4]),
    ("mha", &[2, 4]),
    ("mistral", &[2, 4]),
    ("mistral_awq", &[2, 4]),
    ("mistral_ct_fp8_block", &[2]),
    ("mistral_ct_int4_asym", &[2, 4]),
    ("mqa", &[2, 4]),
    ("nemotron", &[2, 4]),
    ("nemotron_biases", &[2, 4]),
    ("nemotron_fp8", &[2, 4]),
    ("nemotron_h", &[2]),
    ("nemotron_h_latent", &[2]),
    ("nemotron_h_latent_mixed", &[2]),
    ("nemotron_h_moe", &[2]),
    ("nemotron_h_wide_state", &[2, 4]),
    ("odd_vocab", &[2, 4]),
    ("sharded", &[2, 4]),
    ("sliding_window", &[2, 4]),
    ("tied_head", &[2, 4]),
];

fn load(set: &str, ranks: RankChoice, activations: Activations) -> nemotron::error::Result<Model> {
    let options = LoadOptions {
        device: DeviceChoice::Cpu,
        ranks,
        activations: Some(ActivationChoice::One(activations)),
        context: Some(384),
        max_sequences: 8,
        ..LoadOptions::new(format!("{ROOT}/tests/golden/{set}"))
    };
    Model::load(&options, &mut |_| {}, |_| Ok(()))
}

fn expected(set: &str) -> Expected {
    Expected::read(format!("{ROOT}/tests/golden/{set}/expected.safetensors").as_ref()).expect("a golden file")
}

#[test]
fn every_set_of_files_is_listed() {
    let listed = SETS.map(|(set, _)| set.to_owned());
    let folders = std::fs::read_dir(format!("{ROOT}/tests/golden")).expect("the golden sets");
    let folders = folders.map(|folder| folder.expect("a folder").path()).filter(|path| path.is_dir());
    let mut found: Vec<String> =
        folders.map(|path| path.file_name().expect("a name").to_string_lossy().into_owned()).collect();
    found.sort();
    assert_eq!(found, listed);
}

/// f32 within 2e-5, and every greedy token.
#[test]
fn ranks_compute_what_the_reference_does() {
    let mut faults = Vec::new();
    for (set, fits) in SETS {
        for ranks in [2, 4, 8] {
            match load(set, RankChoice::Cpu(ranks), Activations::F32) {
                Ok(model) => {
                    let reports = verify(&model, &expected(set)).expect("the device does not fail");
                    let outside = reports.iter().filter(|report| !report.passed);
                    faults.extend(outside.map(|report| format!("{set}, {ranks} ranks: {report:?}")));
                    if !fits.contains(&ranks) {
                        faults.push(format!("{set} goes into {ranks} ranks"));
                    }
                }
                Err(error) => {
                    assert!(error.message().contains("cannot be cut"), "{set}, {ranks} ranks: {error}");
                    if fits.contains(&ranks) {
                        faults.push(format!("{set}, {ranks} ranks: {error}"));
                    }
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// bf16 on two ranks within 1.5 times the reference's own error, as on one device; what ranks add up in f32 is rounded once.
#[test]
fn ranks_in_bf16_are_as_close_as_one_device() {
    for (set, _) in SETS.iter().filter(|(_, fits)| fits.contains(&2)) {
        let model = load(set, RankChoice::Cpu(2), Activations::Bf16).expect("it was loaded in f32");
        for report in verify(&model, &expected(set)).expect("the device does not fail") {
            assert!(report.passed, "{set}: {report:?}");
        }
    }
}

/// An engine on so many emulated devices, which meet on the host.
fn emulated(set: &str, ranks: usize) -> (Engine, Arc<Mutex<Ran>>) {
    let ptx = embedded_ptx((8, 0)).expect("it is embedded");
    let module = Arc::new(ptx_emulator::Module::parse(&ptx.text).expect("the emulator knows our PTX"));
    let ran = Arc::new(Mutex::new(Ran::default()));
    let device = |seat| {
        let mut device = Emulated::new(module.clone(), ran.clone());
        device.seat = Some(seat);
        let device: Box<dyn Device> = Box::new(device);
        device
    };
    let device = Ranks::new(Seat::of_ranks(ranks).into_iter().map(device).collect()).expect("threads");
    let checkpoint = Checkpoint::open(&format!("{ROOT}/tests/golden/{set}")).expect("the model is there");
    let spec = nemotron::models::read_checkpoint(&checkpoint).expect("a known family").spec;
    let (share, _) = spec.shard(ranks).expect("it divides");
    let weights = Weights::new(checkpoint);
    let (context, max_sequences, chunk, spare_slots, small_weight) = (384, 1, 256, 0, SMALL_WEIGHT);
    let config = EngineConfig { context, max_sequences, chunk, pages: None, spare_slots, small_weight };
    let engine = Engine::new(Box::new(device), &share, &|parts| weights.parts(parts), config);
    (engine.expect("the engine starts"), ran)
}

/// The kernels take the shapes of shares: a prompt of each kind of block and of weight, and a token behind it.
#[test]
fn shares_on_the_emulator() {
    for (set, ranks, length) in [
        ("nemotron", 2, 33),
        ("llama", 4, 7),
        ("nemotron_h", 2, 33),
        ("nemotron_h_wide_state", 4, 7),
        ("nemotron_h_moe", 2, 7),
        ("nemotron_h_latent_mixed", 2, 7),
        ("llama_int4_awq", 2, 7),
        ("mistral_ct_int4_asym", 4, 33),
        ("nemotron_fp8", 4, 7),
        ("llama_nvfp4", 2, 33),
    ] {
        let (mut engine, ran) = emulated(set, ranks);
        let file = expected(set);
        let prompt = file.prompts.iter().find(|prompt| prompt.ids.len() == length).expect("a prompt of that length");
        let logits = engine.logits(&prompt.ids, prompt.rows).expect("the prompt fits");
        let error = |got: &[f32]| median_row_error(got, &prompt.logits_f32, prompt.rows);
        let (error, own) = (error(&logits), error(&prompt.logits_bf16));
        assert!(error <= BF16_FACTOR * own, "{set}, {ranks} ranks: {error:e}, the reference's own {own:e}");
        let tokens = crate::greedy(&mut engine, &prompt.ids, 3, &[]);
        let longer = [&prompt.ids[..], &tokens[..2]].concat();
        assert_eq!(crate::greedy(&mut engine, &longer, 1, &[]), tokens[2..], "{set}: a prompt of the same tokens");
        let ran = ran.lock().expect("no thread died");
        assert!(
            ran.kernels.values().all(|count| count.is_multiple_of(ranks as u64)),
            "each rank runs each kernel: {ran:?}"
        );
    }
}

/// Sums meet in the order of the ranks, whichever comes first.
#[test]
fn every_run_has_the_same_bits() {
    let set = "nemotron_h_latent_mixed";
    let prompt = &expected(set).prompts[2];
    let bits = |model: &Model| -> Vec<u32> {
        let logits = model.engine().logits(&prompt.ids, prompt.rows).expect("the prompt fits");
        logits.into_iter().map(f32::to_bits).collect()
    };
    for activations in [Activations::F32, Activations::Bf16] {
        let load = || load(set, RankChoice::Cpu(2), activations).expect("it divides");
        let first = bits(&load());
        let model = load();
        assert!((0..20).all(|_| bits(&model) == first), "{activations}");
    }
}
