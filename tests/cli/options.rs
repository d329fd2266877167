//! What `generate` prints and where it stops, as its options say, and the commands that load no model.
use serde_json::Value;

use crate::{fault, nemotron, storyteller};

#[test]
fn a_stop_text_ends_the_text_in_front_of_it() {
    let run =
        storyteller(&["-q", "--prompt", "Hello", "--stop", "never", "--stop", "curious", "--stop", "a curious fox"]);
    assert_eq!(run.stdout, ", I am Mia, a \n", "{run:?}");
    let run = storyteller(&["-q", "--prompt", "The capital of France is", "--stop", "Paris.\n"]);
    assert_eq!(run.stdout, " Paris.\n", "what does not become a stop text is printed in the end");
    let error = fault(storyteller(&["--prompt", "Hello", "--stop", ""]));
    assert!(error.starts_with("[ERROR] Input: A stop text is empty\n"), "{error}");
}

#[test]
fn json_is_one_object() {
    let arguments = ["--prompt", "The capital of France is", "--json", "--echo"];
    let object: Value = serde_json::from_str(&storyteller(&arguments).stdout).unwrap();
    assert_eq!(object["text"], "The capital of France is Paris.");
    assert_eq!((&object["finish_reason"], &object["generated_tokens"]), (&"stop".into(), &3.into()));
    assert_eq!(object["ids"].as_array().unwrap().len(), 3);
    assert!(object["timings"]["prompt_ms"].as_f64().unwrap() > 0.0, "{object}");
    let run = storyteller(&["--prompt", "Hello", "--json", "--max-tokens", "2", "-q"]);
    assert_eq!(run.stdout.lines().count(), 1);
    assert!(run.stdout.contains("\"finish_reason\":\"length\""), "{run:?}");
}

#[test]
fn echo_prints_the_prompt_and_raw_leaves_the_first_token_out() {
    let run = storyteller(&["-q", "--echo", "--prompt", "The capital of France is"]);
    assert_eq!(run.stdout, "The capital of France is Paris.\n");
    let tokens = |arguments: &[&str]| {
        let arguments = [arguments, &["--json", "--prompt", "Hello", "--max-tokens", "1"]].concat();
        let object: Value = serde_json::from_str(&storyteller(&arguments).stdout).unwrap();
        object["prompt_tokens"].as_u64().unwrap()
    };
    assert_eq!((tokens(&[]), tokens(&["--raw"])), (2, 1));
}

#[test]
fn a_share_of_a_gpus_memory_means_nothing_to_the_cpu_and_that_is_said() {
    let with =
        |share: &str| storyteller(&["--prompt", "Hello", "--max-tokens", "2", "--gpu-memory-utilization", share]);
    let run = with("0.5");
    assert!(run.code == 0 && run.stderr.contains("--gpu-memory-utilization is ignored: no GPU is used\n"), "{run:?}");
    for wrong in ["0", "1.1", "-1", "x", "NaN"] {
        let run = with(wrong);
        assert!(run.code == 2 && run.stderr.contains("error: "), "{wrong}: {run:?}");
    }
}

#[test]
fn a_question_goes_through_the_template() {
    let question = ["-q", "--chat", "--prompt", "Hello, my name is Ada."];
    let answer = "Hello, Ada! Would you like to hear a story?\n";
    assert_eq!(storyteller(&question).stdout, answer);
    let told = [&question[..], &["--system", "You are a friendly storyteller."]].concat();
    assert_eq!(storyteller(&told).stdout, answer);
    for wrong in [&["--system", "x"][..], &["--chat", "--raw"]] {
        assert_eq!(storyteller(&[&["--prompt", "x"], wrong].concat()).code, 2, "{wrong:?}");
    }
}

#[test]
fn shells_can_complete_and_the_version_says_what_was_built() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = nemotron(&["completions", shell]);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""));
        assert!(run.stdout.contains("max-tokens") && run.stdout.contains("nemotron"), "{shell}");
    }
    assert_eq!(nemotron(&["completions", "cmd"]).code, 2);
    let run = nemotron(&["--version"]);
    assert!(run.stdout.starts_with(&format!("nemotron {}\ncommit: ", env!("CARGO_PKG_VERSION"))), "{run:?}");
    assert!(run.stdout.contains("\nPTX sm_80: rustc "), "{run:?}");
    assert_eq!(nemotron(&["-V"]).stdout, format!("nemotron {}\n", env!("CARGO_PKG_VERSION")));
}
