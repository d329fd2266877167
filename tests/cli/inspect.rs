//! `inspect`: what a checkpoint is and takes, without a device and without a tokenizer.
use serde_json::Value;

use crate::{Run, fault, nemotron};

fn inspect(arguments: &[&str]) -> Run {
    nemotron(&[&["inspect"], arguments].concat())
}

fn object(arguments: &[&str]) -> Value {
    let run = inspect(&[arguments, &["--json"]].concat());
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    serde_json::from_str(&run.stdout).unwrap()
}

#[test]
fn sizes_tensors_and_memory_of_a_golden_llama() {
    let report = object(&["tests/golden/llama", "--context", "100", "--batch", "3"]);
    assert_eq!((&report["family"], &report["hidden"], &report["vocab"]), (&"llama".into(), &128.into(), &512.into()));
    assert_eq!(report["blocks"], serde_json::json!({"attention": 3, "mlp": 3, "linear": 0}));
    let group = |name: &str| {
        let groups = report["tensors"].as_array().unwrap();
        let group = groups.iter().find(|group| group["name"] == name).unwrap();
        (group["tensors"].as_u64().unwrap(), group["parameters"].as_u64().unwrap())
    };
    assert_eq!(group("embedding"), (1, 512 * 128));
    assert_eq!(group("attention"), (3 * 4, 3 * 128 * 32 * (4 + 1 + 1 + 4)));
    assert_eq!(group("mlp"), (3 * 3, 3 * 3 * 128 * 320));
    assert_eq!(group("norms"), (7, 7 * 128));
    assert_eq!(group("head"), (1, 512 * 128));
    // On disk everything is BF16, so that the weights of both devices are the file's.
    let weights = &report["disk_bytes"];
    assert_eq!((&report["memory"]["gpu"]["weights"], &report["memory"]["cpu"]["weights"]), (weights, weights));
    // Two pages of 64 tokens for each sequence, and the scrap page; keys and values of one head in three layers.
    let token = 3 * 2 * 32 * 2;
    assert_eq!(report["kv_bytes_per_token"], token);
    // Each sequence's tokens, for penalties; one slot more for pads.
    assert_eq!(report["slot_bytes_per_sequence"], 4 * 100);
    assert_eq!(report["memory"]["gpu"]["slots"], 4 * 100 * (3 + 1));
    assert_eq!(report["memory"]["gpu"]["kv"], (3 * 2 + 1) * 64 * token);
    assert_eq!(report["memory"]["cpu"]["kv"], 2 * (3 * 2 + 1) * 64 * token);
    assert!(report["device"]["fits"].as_bool().unwrap(), "{report}");
}

/// A code for each element on both devices.
#[test]
fn keys_and_values_in_fp8_take_a_byte_each() {
    let kv = |choice: &str| {
        let report = object(&["tests/golden/llama_fp8_kv", "--kv-cache", choice]);
        assert!(report["notes"].to_string().contains("--kv-cache fp8"), "{report}");
        let kv = |device: &str| report["memory"][device]["kv"].as_u64().unwrap();
        (report["kv_bytes_per_token"].as_u64().unwrap(), kv("gpu"), kv("cpu"))
    };
    let (token, gpu, cpu) = kv("fp8");
    assert_eq!((token, cpu), (3 * 2 * 32, gpu));
    assert_eq!(kv("bf16"), (2 * token, 2 * gpu, 4 * gpu));
    assert_eq!(kv("auto"), kv("bf16"));
    assert_eq!(inspect(&["tests/golden/llama", "--kv-cache", "fp16"]).code, 2);
}

/// Experts in NVFP4 of 32 or 48 columns, Mamba and shared experts in FP8, the rest in BF16.
#[test]
fn formats_and_their_bits_are_shown() {
    let report = object(&["tests/golden/nemotron_h_latent_mixed"]);
    let groups = report["tensors"].as_array().unwrap();
    let of = |name: &str, format: &str| {
        let group = groups.iter().find(|group| group["name"] == name && group["format"] == format);
        let group = group.unwrap_or_else(|| panic!("{name} in {format}: {report}"));
        (group["tensors"].as_u64().unwrap(), group["bits_per_weight"].as_f64().unwrap())
    };
    let (count, experts) = of("experts", "NVFP4");
    assert_eq!(count, 3 * 16 * 2);
    // A row's one or two chunks of 16 bytes, its 16 of scales, what fills up 32, and an f32.
    let (up, down) = (32.0 * (32.0 + 16.0 + 16.0 + 4.0), 48.0 * (16.0 + 16.0 + 4.0));
    assert!((experts - 8.0 * (up + down) / (2.0 * 32.0 * 48.0)).abs() < 1e-9, "{experts}");
    assert_eq!(of("shared expert", "FP8").0, 6);
    assert_eq!(of("attention", "BF16").1, 16.0);
    assert!((8.0..8.4).contains(&of("mamba", "FP8").1));
    let table = inspect(&["tests/golden/nemotron_fp8"]).stdout;
    assert!(table.lines().any(|line| line.starts_with("mlp            FP8 ")), "{table}");
    assert!(table.lines().any(|line| line.starts_with("bits/weight")), "{table}");
}

#[test]
fn the_table_says_what_the_object_says() {
    let run = inspect(&["tests/golden/deci"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    for line in [
        "family        deci",
        "blocks        3 attention, 3 MLP, 2 linear",
        "kv heads      1 to 4",
        "intermediate  24 to 256",
        "memory for 1 sequence of 512 tokens",
    ] {
        assert!(run.stdout.lines().any(|found| found == line), "{line}: {}", run.stdout);
    }
    assert!(run.stdout.lines().last().unwrap().contains("fits in memory of"), "{}", run.stdout);
}

#[test]
fn tied_heads_are_counted_once_and_windows_are_shown() {
    let tied = object(&["tests/golden/tied_head"]);
    let groups = tied["tensors"].as_array().unwrap();
    assert!(groups.iter().all(|group| group["name"] != "head"), "{tied}");
    assert_eq!(tied["memory"]["gpu"]["weights"], tied["disk_bytes"]);
    let run = inspect(&["tests/golden/sliding_window"]);
    assert!(run.stdout.contains("window        24\n"), "{}", run.stdout);
}

#[test]
fn narrowed_weights_take_half_of_what_f32_takes_on_disk() {
    let report = object(&["tests/golden/f32"]);
    assert_eq!(report["disk_bytes"].as_u64().unwrap(), 2 * report["memory"]["gpu"]["weights"].as_u64().unwrap());
}

#[test]
fn more_sequences_need_more_pages() {
    let kv = |batch: &str| object(&["models/storyteller", "--batch", batch])["memory"]["gpu"]["kv"].as_u64().unwrap();
    let page = kv("2") - kv("1");
    assert_eq!(kv("5") - kv("1"), 4 * page);
}

#[test]
fn what_cannot_be_inspected_is_an_error() {
    assert!(fault(inspect(&["tests/golden"])).contains("config.json not found"));
    assert!(fault(inspect(&["tests/golden/llama", "--context", "513"])).contains("The context is out of range"));
    assert_eq!(inspect(&["tests/golden/llama", "--batch", "0"]).code, 2);
    assert_eq!(inspect(&[]).code, 2);
}

/// Of several ranks it is the memory of each, however they are named.
#[test]
fn devices_are_named_as_other_commands_name_them() {
    let weights = |arguments: &[&str]| {
        let report = object(&[&["tests/golden/llama"], arguments].concat());
        assert_eq!(report["device"]["device"], "cpu", "{report}");
        report["memory"]["cpu"]["weights"].as_u64().unwrap()
    };
    let halves = weights(&["--devices", "cpu:2"]);
    assert!(halves < weights(&["--device", "cpu"]));
    assert_eq!(halves, weights(&["--device", "cpu", "--tensor-parallel", "2"]));
    let both = inspect(&["tests/golden/llama", "--devices", "cpu:2", "--device", "cpu"]);
    assert!(both.code == 2 && both.stderr.contains("cannot be used with"), "{both:?}");
}
