//! `--devices` and `--tensor-parallel`: the CPU as several ranks says what it says as one, and what cannot be cut is refused.
use serde_json::{Value, json};

use crate::{fault, nemotron};

const PROMPT: [&str; 4] = ["--prompt", "The capital of France is", "--max-tokens", "12"];

/// What the demo model says on these devices.
fn text(devices: &[&str]) -> String {
    let run = nemotron(&[&["--model", "models/storyteller", "--quiet"], devices, &PROMPT].concat());
    assert_eq!(run.code, 0, "{run:?}");
    run.stdout
}

#[test]
fn ranks_say_what_one_device_says() {
    let one = text(&["--device", "cpu"]);
    assert!(one.contains("Paris"), "{one}");
    for devices in [
        &["--devices", "cpu:2"][..],
        &["--devices", "cpu:4"],
        &["--device", "cpu", "--tensor-parallel", "2"],
        &["--devices", "cpu:1"],
        &["--devices", "cpu:2", "--collectives", "host"],
    ] {
        assert_eq!(text(devices), one, "{devices:?}");
    }
}

/// Codes are made of whole matrices, and then cut: a scale of all is the same on every rank.
#[test]
fn ranks_have_shares_of_codes_that_are_made_while_loading() {
    for format in ["fp8", "int8", "int4", "nvfp4"] {
        let text =
            |devices| text(&["--devices", devices, "--quantize", format, "--quantize-lm-head", "--kv-cache", "fp8"]);
        let one = text("cpu:1");
        assert!(!one.trim().is_empty(), "{format}");
        for devices in ["cpu:2", "cpu:4"] {
            assert_eq!(text(devices), one, "{format}, {devices}");
        }
    }
}

/// Sampling, penalties and log-probabilities, which each rank computes for itself; several continuations at a time.
#[test]
fn ranks_sample_the_same_tokens() {
    let prompt = ["--prompt", "Once upon a time", "--max-tokens", "24", "--ignore-eos", "--n", "4", "--seed", "7"];
    let choice = ["--temperature", "1.6", "--top-p", "0.98", "--repeat-penalty", "1.1", "--logprobs", "2", "--json"];
    let ids = |devices: &str| {
        let run = nemotron(&[&["--model", "models/storyteller", "--devices", devices], &prompt[..], &choice].concat());
        assert_eq!(run.code, 0, "{run:?}");
        let ids = |line: &str| serde_json::from_str::<Value>(line).unwrap()["ids"].clone();
        run.stdout.lines().map(ids).collect::<Vec<Value>>()
    };
    let one = ids("cpu:1");
    assert!(one.len() == 4 && one[1] != one[0], "{one:?}");
    assert_eq!(ids("cpu:2"), one);
}

#[test]
fn what_is_said_of_the_device_names_the_ranks() {
    let run = nemotron(&[&["--model", "models/storyteller", "--devices", "cpu:4"], &PROMPT[..]].concat());
    assert!(run.stderr.contains("CPU Device: 4 ranks, each "), "{run:?}");
    assert!(run.stderr.contains("the head is whole on each of 4 ranks, which do not divide 2178 rows"), "{run:?}");
}

#[test]
fn what_cannot_be_ranks_is_refused() {
    let error = fault(nemotron(&[&["--model", "models/storyteller", "--devices", "cpu:3"], &PROMPT[..]].concat()));
    assert!(error.contains("block 0: query heads: 4, for 3 ranks; the model goes into 1, 2, 4"), "{error}");
    let set = ["--model", "tests/golden/llama_gptq_act_order", "--devices", "cpu:2"];
    let error =
        fault(nemotron(&[&["verify"], &set[..], &["--expected", "tests/golden/llama/expected.safetensors"]].concat()));
    assert!(error.contains("columns in act order") && error.contains("the model goes into 1"), "{error}");
    // Of more GPUs than any machine has.
    for devices in [&["--devices", "0,61"][..], &["--device", "61", "--tensor-parallel", "2"]] {
        let error = fault(nemotron(&[&["--model", "models/storyteller"], devices, &PROMPT[..]].concat()));
        assert!(error.contains("CUDA is not available") || error.contains("There is no GPU 61"), "{error}");
    }
    for (options, said) in [
        (&["--devices", "cpu:two"][..], "or cpu:N with N from 1 to 64"),
        (&["--devices", "1,1"], "GPU 1 is named twice"),
        (&["--tensor-parallel", "0"], "expected 1 to 64"),
        (&["--devices", "cpu:2", "--tensor-parallel", "2"], "cannot be used with"),
        (&["--devices", "cpu:2", "--collectives", "nccl"], "expected auto, peers or host"),
        (&["--device", "cpu", "--collectives", "host"], "required arguments were not provided"),
        (&["--devices", "cpu:2", "--device", "cpu"], "'--devices <LIST>' cannot be used with '--device <N|cpu|auto>'"),
    ] {
        let run = nemotron(&[&["--model", "models/storyteller"], &PROMPT[..], options].concat());
        assert!(run.code == 2 && run.stderr.contains(said), "{run:?}");
    }
}

#[test]
fn verify_and_bench_take_ranks() {
    let expected = "tests/golden/nemotron_h_moe/expected.safetensors";
    let verify = ["verify", "--model", "tests/golden/nemotron_h_moe", "--devices", "cpu:2", "--expected", expected];
    let run = nemotron(&verify);
    assert!(run.code == 0 && !run.stdout.contains("OUTSIDE"), "{run:?}");
    let lists = ["--prompt", "16", "--generate", "2", "--batch", "1", "--depth", "0", "--json"];
    let bench = |devices: &str| {
        let run = nemotron(&[&["bench", "--model", "models/storyteller", "--devices", devices], &lists[..]].concat());
        assert_eq!(run.code, 0, "{run:?}");
        let report: Value = serde_json::from_str(&run.stdout).unwrap();
        report["rows"].as_array().unwrap().iter().map(|row| row["bytes"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    for (two, one) in bench("cpu:2").into_iter().zip(bench("cpu:1")) {
        assert!(2 * two > one && 3 * two < 2 * one, "a rank moves half of the weights: {two}, {one}");
    }
}

/// Packets for each of two ranks, of 2¹⁸ words in two halves, each word with its epoch; once where they are in the host's memory.
#[test]
fn inspect_counts_what_ranks_meet_in() {
    let memory = |options: &[&str]| {
        let run = nemotron(&[&["inspect", "models/storyteller", "--json"], options].concat());
        assert_eq!(run.code, 0, "{run:?}");
        let report: Value = serde_json::from_str(&run.stdout).unwrap();
        let workspace = report["memory"]["gpu"]["workspace"].as_u64().unwrap();
        (report["packets"].clone(), workspace)
    };
    let packets = 2 * 2 * (1 << 18) * 8;
    let (peers, workspace) = memory(&["--tensor-parallel", "2", "--collectives", "peers"]);
    let (host, without) = memory(&["--tensor-parallel", "2", "--collectives", "host"]);
    assert_eq!(peers, json!({"bytes": packets, "on_host": false}));
    assert_eq!((host, workspace - without), (json!({"bytes": packets, "on_host": true}), packets));
    assert_eq!(memory(&["--tensor-parallel", "2"]), (peers, workspace));
    assert_eq!(memory(&[]).0, json!({"bytes": 0, "on_host": false}));
}

/// Keys and values and all large weights are halved; norms and tables are not.
#[test]
fn inspect_says_what_a_rank_needs() {
    let memory = |ranks: &str| {
        let run = nemotron(&["inspect", "models/storyteller", "--json", "--tensor-parallel", ranks]);
        assert_eq!(run.code, 0, "{run:?}");
        let report: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(report["tensor_parallel"].to_string(), ranks);
        ["weights", "kv"].map(|part| report["memory"]["gpu"][part].as_u64().unwrap())
    };
    let ([weights, kv], [weights_of_two, kv_of_two]) = (memory("1"), memory("2"));
    assert_eq!(kv, 2 * kv_of_two);
    assert!(2 * weights_of_two > weights && 2 * weights_of_two < weights + weights / 50, "{weights}, {weights_of_two}");
    let run = nemotron(&["inspect", "models/storyteller", "--tensor-parallel", "2"]);
    assert!(run.stdout.contains("memory on each of 2 ranks for 1 sequence of"), "{run:?}");
    assert!(
        run.stdout.contains("what 2 ranks meet in takes 8.4 MB of each GPU's working memory, or 8.4 MB of"),
        "{run:?}"
    );
    assert!(fault(nemotron(&["inspect", "models/storyteller", "--tensor-parallel", "3"])).contains("query heads: 4"));
}
