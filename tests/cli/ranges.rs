//! Ranges: a number that means nothing ends the command with 2 before a model is looked for.
use crate::checkpoint::{argument, storyteller_edited};
use crate::{fault, nemotron, storyteller};

#[test]
fn every_number_out_of_range_is_refused_before_anything_loads() {
    let generate: [&[&str]; 35] = [
        &["--temperature", "-1"],
        &["--temperature", "NaN"],
        &["--temperature", "inf"],
        &["--temperature", "0.00001"],
        &["--top-k", "-2"],
        &["--top-p", "0"],
        &["--top-p", "1.5"],
        &["--min-p", "-0.1"],
        &["--min-p", "1.1"],
        &["--repeat-penalty", "0"],
        &["--repeat-penalty", "101"],
        &["--presence-penalty", "NaN"],
        &["--presence-penalty", "-101"],
        &["--frequency-penalty", "1e30"],
        &["--seed", "-9223372036854775809"],
        &["--seed", "18446744073709551616"],
        &["--logit-bias", "1=101"],
        &["--logit-bias", "1=NaN"],
        &["--logit-bias", "4294967296=1"],
        &["--n", "0"],
        &["--n", "4294967297"],
        &["--n", "10001"],
        &["--max-tokens", "0"],
        &["--max-tokens", "-2"],
        &["--max-tokens", "1.5"],
        &["--max-sequences", "0"],
        &["--max-sequences", "1000001"],
        &["--context", "0"],
        &["--context", "100000000"],
        &["-c", "18446744073709551616"],
        &["--threads", "0"],
        &["--threads", "100000"],
        &["--logprobs", "21"],
        &["--gpu-memory-utilization", "1.01"],
        &["--gpu-memory-utilization", "-1"],
    ];
    for row in generate {
        let run = nemotron(&[&["generate", "--model", "no/such", "--prompt", "x"], row].concat());
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{row:?}: {run:?}");
        let said = run.stderr.starts_with("error: invalid value") && run.stderr.contains(row[0]);
        assert!(said && run.stderr.contains("expected") | run.stderr.contains("0 tokens"), "{row:?}: {run:?}");
    }
}

#[test]
fn a_name_that_no_client_could_give_is_refused() {
    let run = nemotron(&["serve", "--model", "no/such", "--served-model-name", ""]);
    assert!(run.code == 2 && run.stderr.contains("--served-model-name <NAME>"), "{run:?}");
}

#[test]
fn every_other_command_has_ranges_too() {
    let others: [&[&str]; 14] = [
        &["chat", "--model", "no/such", "--max-tokens", "0"],
        &["inspect", "no/such", "--context", "0"],
        &["inspect", "no/such", "--batch", "1000001"],
        &["random-checkpoint", "--preset", "nano-8b", "--layers", "100000000", "no/such/directory"],
        &["random-checkpoint", "--preset", "nano-8b", "--layers", "0", "no/such/directory"],
        &["bench", "--model", "no/such", "--batch", "0"],
        &["bench", "--model", "no/such", "--batch", "1,18446744073709551615"],
        &["bench", "--model", "no/such", "--prompt", "0"],
        &["bench", "--model", "no/such", "--prompt", "18446744073709551615"],
        &["bench", "--model", "no/such", "--depth", "18446744073709551615"],
        &["bench", "--model", "no/such", "--generate", "18446744073709551615"],
        &["bench", "--preset", "nano-8b", "--layers", "100000000"],
        &["perplexity", "--model", "no/such", "--stride", "0", "--prompt", "x"],
        &["detokenize", "--model"],
    ];
    for row in others {
        let run = nemotron(row);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{row:?}: {run:?}");
    }
}

#[test]
fn nothing_is_generated_by_zero_tokens_and_help_is_given() {
    let run = storyteller(&["--prompt", "x", "--max-tokens", "0"]);
    assert!(run.stderr.contains("0 tokens are no text: give 1 or more, or -1 to go on until the context"), "{run:?}");
}

#[test]
fn minus_one_is_no_limit_no_filter_and_another_seed() {
    let run = storyteller(&["-p", "Hello", "-n", "-1", "--context", "40", "--ignore-eos", "--json"]);
    let object: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(object["finish_reason"], "context", "{run:?}");
    let tokens = object["prompt_tokens"].as_u64().unwrap() + object["generated_tokens"].as_u64().unwrap();
    assert_eq!(tokens, 40, "{run:?}");
    let drawn = |top_k: &str, seed: &str| {
        let arguments = ["-q", "-p", "Once", "-n", "30", "--temperature", "1.5", "--top-k", top_k, "--seed", seed];
        let run = storyteller(&arguments);
        assert_eq!(run.code, 0, "{run:?}");
        run.stdout
    };
    assert_eq!(drawn("-1", "3"), drawn("0", "3"));
    assert_ne!(drawn("0", "-1"), drawn("0", "-1"), "30 tokens drawn twice are not the same");
}

#[test]
fn a_bias_for_a_token_that_is_not_there_is_refused_before_the_weights_load() {
    let run = storyteller(&["--prompt", "x", "--logit-bias", "2178=1"]);
    assert!(!run.stderr.contains("weights loaded"), "{run:?}");
    assert!(fault(run).contains("logit-bias: expected an id from 0 to 2177, found 2178"));
}

#[test]
fn memory_that_cannot_be_had_is_an_error_with_figures() {
    let model =
        storyteller_edited("config.json", "\"max_position_embeddings\": 1024", "\"max_position_embeddings\": 262144");
    let model = argument(model.path());
    let long = ["--context", "262144"];
    let lines = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(lines.path(), "Hello\n").unwrap();
    let batch = ["--batch", argument(lines.path()), "--max-sequences", "1000000"];
    let generate = ["generate", "--device", "cpu", "--model", model];
    let bench = ["bench", "decode", "--device", "cpu", "--model", model];
    let rows: [&[&str]; 3] = [
        &[&generate[..], &long, &batch].concat(),
        &[&bench[..], &["--batch", "1000000", "--depth", "262000"]].concat(),
        &[
            "bench",
            "--device",
            "cpu",
            "--preset",
            "nemotron-4-340b",
            "--layers",
            "4096",
            "--prompt",
            "4",
            "--depth",
            "0",
        ],
    ];
    for row in rows {
        let error = fault(nemotron(row));
        assert!(error.starts_with("[ERROR] Device: Out of memory\nDetails: needed "), "{row:?}: {error}");
        assert!(error.contains(" TB") && error.contains(", available ") && error.contains("GB"), "{row:?}: {error}");
    }
}
