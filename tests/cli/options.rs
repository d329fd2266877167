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
}

#[test]
fn what_cannot_be_done_is_said_before_anything_is_printed() {
    for command in [&["generate", "--prompt", "Hello"][..], &["chat"]] {
        let run = nemotron(&[command, &["-m", "no/such", "--stop", ""]].concat());
        assert!(run.code == 2 && run.stderr.contains("--stop <TEXT>"), "{run:?}");
    }
    for (row, words) in
        [(&["--chat", "--thinking-budget", "5"][..], "The model does not reason"), (&["--regex", "("], "cannot be")]
    {
        let run = storyteller(&[&["--prompt", "Hello"], row].concat());
        assert_eq!(run.stdout, "", "{row:?}");
        let error = fault(run);
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn an_empty_prompt_begins_a_text() {
    let own = |arguments: &[&str]| -> Value {
        let run = storyteller(&[&["--json", "-q", "-n", "4"], arguments].concat());
        serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"))
    };
    let (empty, hello) = (own(&["-p", ""]), own(&["-p", "Hello"]));
    assert_eq!((&empty["prompt_tokens"], &hello["prompt_tokens"]), (&1.into(), &2.into()));
    assert_eq!(empty["ids"].as_array().map(Vec::len), Some(4), "{empty}");
}

#[test]
fn kwargs_say_nothing_that_the_template_is_told_in_other_ways() {
    for name in ["messages", "tools", "add_generation_prompt", "bos_token", "chat_template_kwargs"] {
        let kwargs = format!("{{\"{name}\": false}}");
        for command in [&["generate", "--chat", "-p", "x"][..], &["chat"], &["serve"]] {
            let run = nemotron(&[command, &["-m", "no/such", "--chat-template-kwargs", &kwargs]].concat());
            let said = format!("it may not replace {name:?}");
            assert!(run.code == 2 && run.stderr.contains(&said), "{run:?}");
        }
    }
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

#[test]
fn short_forms_are_those_of_llama_cpp() {
    let long =
        ["--model", "models/storyteller", "--device", "cpu", "--quiet", "--prompt", "Hello", "--temperature", "1"];
    let long =
        nemotron(&[&long[..], &["--seed", "5", "--max-tokens", "7", "--context", "64", "--threads", "1"]].concat());
    let short = ["-m", "models/storyteller", "--device", "cpu", "-q", "-p", "Hello", "--temperature", "1"];
    let short = nemotron(&[&short[..], &["-s", "5", "-n", "7", "-c", "64", "-t", "1"]].concat());
    assert_eq!((long.code, long.stdout.as_str()), (0, short.stdout.as_str()), "{long:?} {short:?}");
    assert!(!long.stdout.trim().is_empty());
    let twice = storyteller(&["-q", "-q", "-p", "The capital of France is"]);
    assert_eq!(twice.stdout, " Paris.\n", "{twice:?}");
    assert_eq!(storyteller(&["-v", "-v", "-p", "x", "-n", "1"]).code, 0);
    let completions = storyteller(&["-p", "Hello", "--n", "2", "-n", "2", "--json"]);
    assert_eq!(completions.stdout.lines().count(), 2, "--n is another option than -n: {completions:?}");
}

#[test]
fn so_many_threads_run_as_are_asked_for() {
    for (count, said) in [("1", ", 1 thread\n"), ("3", ", 3 threads\n")] {
        let run = storyteller(&["--threads", count, "-p", "Hello", "-n", "2"]);
        let device = run.stderr.lines().find(|line| line.starts_with("[INFO] CPU Device: "));
        assert!(device.is_some_and(|line| format!("{line}\n").ends_with(said)), "{run:?}");
    }
}

#[test]
fn the_end_of_a_text_can_be_ignored() {
    let arguments = ["-p", "The capital of France is", "-n", "12", "--json"];
    let object = |more: &[&str]| -> Value {
        serde_json::from_str(&storyteller(&[&arguments[..], more].concat()).stdout).unwrap()
    };
    let (ends, goes_on) = (object(&[]), object(&["--ignore-eos"]));
    assert_eq!((&ends["generated_tokens"], &ends["finish_reason"]), (&3.into(), &"stop".into()));
    assert_eq!((&goes_on["generated_tokens"], &goes_on["finish_reason"]), (&12.into(), &"length".into()));
    assert_eq!(goes_on["ids"].as_array().unwrap()[..3], ends["ids"].as_array().unwrap()[..]);
}

#[test]
fn another_chat_template_can_be_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}")
        .unwrap();
    let template = file.path().to_str().unwrap();
    let ids = |arguments: &[&str]| -> Value {
        let run = nemotron(&[&["tokenize", "-m", "models/storyteller", "--json"], arguments].concat());
        assert_eq!(run.code, 0, "{run:?}");
        serde_json::from_str(&run.stdout).unwrap()
    };
    let asked = ids(&["--chat", "--chat-template", template, "--system", "Be brief.", "-p", "Hello"]);
    assert_eq!(asked, ids(&["--raw", "-p", "<s>[system] Be brief.[user] Hello"]));
    let own = storyteller(&["-q", "--chat", "-p", "Hello, my name is Ada."]).stdout;
    let other = storyteller(&["-q", "--chat", "--chat-template", template, "-p", "Hello, my name is Ada."]);
    assert!(other.code == 0 && other.stdout != own, "{other:?}");
    let error = fault(storyteller(&["--chat", "--chat-template", "no/such.jinja", "-p", "x"]));
    assert!(error.starts_with("[ERROR] Io: The chat template cannot be read\nDetails: no/such.jinja: "), "{error}");
    std::fs::write(file.path(), "{% for %}").unwrap();
    let error = fault(storyteller(&["--chat", "--chat-template", template, "-p", "x"]));
    assert!(error.starts_with("[ERROR] Model: The chat template cannot be used\n"), "{error}");
}

#[test]
fn a_shell_completes_the_bare_form() {
    let script = nemotron(&["completions", "bash"]).stdout;
    let complete = |words: &str, current: &str| {
        let index = words.split(' ').count() - 1;
        let call = format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD={index}; _nemotron nemotron '{current}' nemotron; echo \"${{COMPREPLY[@]}}\""
        );
        let output = std::process::Command::new("bash").args(["-c", &call]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete("nemotron --mod", "--mod"), "--model");
    assert_eq!(complete("nemotron generate --max-t", "--max-t"), "--max-tokens");
    assert_eq!(complete("nemotron perp", "perp"), "perplexity");
}

#[test]
fn tools_are_a_list_of_functions_for_a_model_that_knows_them() {
    let directory = tempfile::tempdir().unwrap();
    let file = |text: &str| {
        let path = directory.path().join("tools.json");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let base = ["--model", "models/storyteller", "--device", "cpu", "-q", "--prompt", "Hello", "--tools"];
    let ask = |tools: &str, more: &[&str]| nemotron(&[&base[..], &[tools], more].concat());
    let one = file("[{\"type\": \"function\", \"function\": {\"name\": \"now\"}}]");
    let run = ask(&one, &[]);
    assert!(run.code == 2 && run.stderr.contains("--chat"), "{run:?}");
    // The demo model's template knows no tools.
    assert!(fault(ask(&one, &["--chat"])).starts_with("[ERROR] Input: The model calls no functions\n"));
    for (tools, said) in [
        ("{}", "expected a JSON list of tools, found {}"),
        ("[", "found no JSON: "),
        ("[{\"type\": \"web_search\"}]", "tools[0].type: expected \"function\""),
    ] {
        let error = fault(ask(&file(tools), &["--chat"]));
        assert!(error.starts_with("[ERROR] Input: The tools cannot be ") && error.contains(said), "{error}");
    }
    assert!(fault(ask("no/such", &["--chat"])).starts_with("[ERROR] Io: The tools cannot be read\n"));
    assert_eq!(ask(&file("[]"), &["--chat"]).code, 0);
}
