//! `verify` on the golden checkpoints: inside the bounds with f32 and with bf16, and outside where it must be.
use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::{Run, fault, nemotron, root};

const GOLDEN: [&str; 3] = ["nemotron", "llama", "mistral"];

/// Folders of other shapes, and the family of each.
const SHAPES: [(&str, &str); 24] = [
    ("mha", "llama"),
    ("mqa", "nemotron"),
    ("eight_heads_per_kv", "nemotron"),
    ("head_dim_96", "llama"),
    ("head_dim_192", "nemotron"),
    ("odd_vocab", "nemotron"),
    ("tied_head", "llama"),
    ("llama_biases", "llama"),
    ("nemotron_biases", "nemotron"),
    ("sharded", "llama"),
    ("f32", "nemotron"),
    ("f16", "llama"),
    ("sliding_window", "mistral"),
    ("deci", "deci"),
    ("nemotron_fp8", "nemotron"),
    ("llama_nvfp4", "llama"),
    ("llama_fp8_kv", "llama"),
    ("nemotron_h_latent_mixed", "nemotron_h"),
    ("llama_int4_awq", "llama"),
    ("mistral_ct_fp8_block", "mistral"),
    ("mistral_ct_int4_asym", "mistral"),
    ("llama_gptq_act_order", "llama"),
    ("llama_gptq_8bit", "llama"),
    ("mistral_awq", "mistral"),
];

fn verify(model: &str, expected: &str, more: &[&str]) -> Run {
    let model = format!("--model=tests/golden/{model}");
    let expected = format!("--expected=tests/golden/{expected}/expected.safetensors");
    nemotron(&[&["verify", &model, &expected, "--device=cpu"], more].concat())
}

#[test]
fn f32_is_within_its_bound_and_every_greedy_token_agrees() {
    for family in GOLDEN {
        let run = verify(family, family, &["--json", "--quiet"]);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
        let report: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!((&report["family"], &report["activations"]), (&Value::from(family), &Value::from("f32")));
        let prompts = report["prompts"].as_array().unwrap();
        assert_eq!(prompts.iter().map(|p| p["tokens"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 7, 33, 130]);
        for prompt in prompts {
            assert!(prompt["error"].as_f64().unwrap() <= 2e-5, "{prompt}");
            assert_eq!((&prompt["greedy_agreeing"], &prompt["greedy_expected"]), (&24.into(), &24.into()), "{prompt}");
            let reference = prompt["reference_bf16_error"].as_f64().unwrap();
            assert!((0.007..0.017).contains(&reference), "{prompt}");
        }
    }
}

#[test]
fn bf16_is_as_close_as_the_references_own_bf16() {
    for family in GOLDEN {
        let run = verify(family, family, &["--activations=bf16"]);
        assert_eq!(run.code, 0, "{run:?}");
        let lines: Vec<&str> = run.stdout.lines().collect();
        assert_eq!(lines[0], format!("{family} with bf16 activations"));
        assert_eq!(lines.len(), 6, "{}", run.stdout);
        for line in &lines[2..] {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let number = |column: usize| columns[column].parse::<f64>().unwrap();
            assert!(number(1) <= number(2) && number(1) > 1e-3, "rounds, and stays inside: {line}");
            assert!((number(2) / number(3) - 1.5).abs() < 0.02, "{line}");
            assert_eq!(columns[5], "ok");
        }
    }
}

#[test]
fn every_shape_is_within_its_bounds() {
    for (shape, family) in SHAPES {
        for activations in ["f32", "bf16"] {
            let run = verify(shape, shape, &["--json", "--quiet", "--activations", activations]);
            assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{shape}, {activations}: {run:?}");
            let report: Value = serde_json::from_str(&run.stdout).unwrap();
            assert_eq!(report["family"], family, "{shape}");
            assert_eq!(report["prompts"].as_array().unwrap().len(), 4, "{shape}");
        }
    }
}

const HYBRIDS: [&str; 4] = ["nemotron_h", "nemotron_h_moe", "nemotron_h_latent", "nemotron_h_wide_state"];

#[test]
fn hybrids_are_within_their_bounds() {
    for hybrid in HYBRIDS {
        let run = verify(hybrid, hybrid, &["--json", "--quiet"]);
        assert_eq!(run.code, 0, "{hybrid}: {run:?}");
        let report: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(report["family"], "nemotron_h", "{hybrid}");
        for prompt in report["prompts"].as_array().unwrap() {
            assert!(prompt["error"].as_f64().unwrap() <= 2e-5, "{hybrid}: {prompt}");
            assert_eq!(prompt["greedy_agreeing"], prompt["greedy_expected"], "{hybrid}: {prompt}");
        }
    }
}

/// Not as near as without, and not farther than another's codes of the same keys and values.
#[test]
fn keys_and_values_in_fp8_are_as_far_as_the_references() {
    for set in ["llama_fp8_kv", "nemotron_h_latent_mixed"] {
        for activations in ["f32", "bf16"] {
            let run = verify(set, set, &["--json", "--kv-cache=fp8", "--activations", activations]);
            assert_eq!(run.code, 0, "{set}, {activations}: {run:?}");
            assert!(run.stderr.contains("Keys and values are kept in FP8 with the scales of the file"), "{run:?}");
            let report: Value = serde_json::from_str(&run.stdout).unwrap();
            for prompt in report["prompts"].as_array().unwrap() {
                assert!(prompt["error"].as_f64().unwrap() > 5e-3, "{set}, {activations}: {prompt}");
            }
        }
    }
    let run = verify("llama", "llama", &["--kv-cache=fp8"]);
    assert!(run.stderr.contains("with scale 1, since the file has no others"), "{run:?}");
    let error = fault(run);
    assert!(error.contains("does not say what FP8 may change") && error.contains("leave --kv-cache out"), "{error}");
}

/// The inputs' rounding is the largest part of what is between the two; a product with inputs in BF16 has a tenth of it.
#[test]
fn inputs_in_fp8_are_as_far_as_the_references() {
    for (set, kv_cache) in [("nemotron_fp8", "bf16"), ("llama_fp8_kv", "fp8"), ("nemotron_h_latent_mixed", "bf16")] {
        let run = verify(set, set, &["--json", "--activations=fp8", "--kv-cache", kv_cache]);
        assert_eq!(run.code, 0, "{set}: {run:?}");
        assert!(run.stderr.contains("products become FP8 where they have more than 64 rows"), "{run:?}");
        let report: Value = serde_json::from_str(&run.stdout).unwrap();
        let prompts = report["prompts"].as_array().unwrap();
        let error =
            |tokens: u64| prompts.iter().find(|prompt| prompt["tokens"] == tokens).unwrap()["error"].as_f64().unwrap();
        assert!(error(130) > 0.02, "{set}: {prompts:?}");
        assert!(kv_cache == "fp8" || error(33) < 2e-5, "{set}: few rows are not rounded: {prompts:?}");
    }
    let error = fault(verify("llama_int4_awq", "llama_int4_awq", &["--activations=fp8"]));
    assert!(error.contains("No product takes inputs in FP8"), "{error}");
}

/// The window and the biases are seen: without them the same weights are far outside.
#[test]
fn a_shape_without_what_it_is_for_is_outside() {
    for (shape, key, value) in [
        ("sliding_window", "\"sliding_window\": 24", "\"sliding_window\": null"),
        ("sliding_window", "\"sliding_window\": 24", "\"sliding_window\": 25"),
        ("llama_biases", "\"mlp_bias\": true", "\"mlp_bias\": false"),
        ("nemotron_biases", "\"attention_bias\": true", "\"attention_bias\": false"),
    ] {
        let folder = root().join("tests/golden").join(shape);
        let directory = tempfile::tempdir().unwrap();
        symlink(folder.join("model.safetensors"), directory.path().join("model.safetensors")).unwrap();
        let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
        assert!(config.contains(key), "{shape}");
        std::fs::write(directory.path().join("config.json"), config.replace(key, value)).unwrap();
        let expected = format!("--expected={}", folder.join("expected.safetensors").display());
        let model = format!("--model={}", directory.path().display());
        let run = nemotron(&["verify", &model, &expected, "--device=cpu", "--quiet"]);
        assert!(run.stdout.contains(" OUTSIDE\n"), "{shape} with {value}: {run:?}");
        assert!(fault(run).contains("The model is outside the bounds"));
    }
}

#[test]
fn narrowed_weights_are_said() {
    for (shape, said) in [("f32", "24 F32 tensors were narrowed"), ("f16", "21 F16 tensors were narrowed")] {
        let run = verify(shape, shape, &[]);
        assert!(run.stderr.contains(said), "{said}: {}", run.stderr);
    }
}

#[test]
fn another_models_expectations_are_outside() {
    let run = verify("llama", "mistral", &["--quiet"]);
    assert_eq!(run.stdout.matches(" OUTSIDE\n").count(), 4, "{run:?}");
    let error = fault(run);
    assert!(error.starts_with("[ERROR] Verification: The model is outside the bounds\n"), "{error}");
}

#[test]
fn expected_files_that_cannot_be_used() {
    let with = |expected: &str| {
        fault(nemotron(&["verify", "--model=tests/golden/llama", &format!("--expected={expected}"), "--device=cpu"]))
    };
    for expected in ["no/such", "Cargo.toml", "tests/golden/llama/model.safetensors"] {
        let error = with(expected);
        assert!(error.starts_with("[ERROR] Input: The expected file cannot be used\n"), "{error}");
        assert!(error.contains(expected), "{error}");
    }
    let error = fault(nemotron(&[
        "verify",
        "--model=models/storyteller",
        "--expected=tests/golden/llama/expected.safetensors",
        "--device=cpu",
    ]));
    assert!(error.starts_with("[ERROR] Input: The expected file is for another model\n"), "{error}");
}
