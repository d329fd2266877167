//! `chat`: conversations through a pipe, as a script would hold them.
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::checkpoint::{argument, endless_storyteller, storyteller_edited, storyteller_without};
use crate::{Run, command, fault, nemotron};

pub const MODEL: [&str; 3] = ["chat", "--device", "cpu"];

/// A conversation of these lines.
pub fn chat(arguments: &[&str], lines: &str) -> Run {
    fed(arguments, lines.as_bytes())
}

fn fed(arguments: &[&str], lines: &[u8]) -> Run {
    let mut child = command();
    child.args(MODEL).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines).unwrap();
    child.wait_with_output().unwrap().into()
}

/// The numbers of every line of `/stats` with that label.
pub fn numbers(stdout: &str, label: &str) -> Vec<usize> {
    let values = stdout.lines().filter_map(|line| line.strip_prefix(label));
    values.map(|value| value.split_whitespace().next().unwrap().parse().unwrap()).collect()
}

#[test]
fn in_each_of_twenty_turns_only_what_is_new_is_prefilled() {
    let questions = ["Hello, my name is Ada.", "What is three plus four?", "What is the capital of France?"];
    let lines: String = (0..20).map(|turn| format!("{}\n/stats\n", questions[turn % 3])).collect();
    let run = chat(&["--model", "models/storyteller", "--max-tokens", "20", "--quiet"], &lines);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    let [prefilled, prompt, generated] =
        ["Prefilled:", "Prompt tokens:", "Generated:"].map(|label| numbers(&run.stdout, label));
    assert_eq!((prefilled.len(), prompt.len(), generated.len()), (20, 20, 20));
    assert_eq!(prefilled[0], prompt[0]);
    for turn in 1..20 {
        // Of an answer, all but the token that came last was computed.
        let there = prompt[turn - 1] + generated[turn - 1] - 1;
        assert_eq!(prefilled[turn], prompt[turn] - there, "turn {turn}");
    }
    assert!(run.stdout.starts_with("Hello, Ada! Would you like to hear a story?\nContext: "), "{}", run.stdout);
}

#[test]
fn with_penalties_a_turn_computes_what_is_new_too() {
    let lines = "Hello, my name is Ada.\n/stats\nWhat is three plus four?\n/stats\n";
    let arguments = ["--model", "models/storyteller", "--quiet", "--max-tokens", "20", "--repeat-penalty"];
    let [with, without] = ["1.1", "1"].map(|penalty| chat(&[&arguments[..], &[penalty]].concat(), lines));
    let figures = |run: &Run, label| numbers(&run.stdout, label);
    assert_eq!(figures(&with, "Prefilled:"), figures(&without, "Prefilled:"), "{with:?}, {without:?}");
    let [prefilled, prompt] = ["Prefilled:", "Prompt tokens:"].map(|label| figures(&with, label));
    assert!(with.code == 0 && prefilled[0] == prompt[0] && prefilled[1] < prompt[1], "{with:?}");
}

#[test]
fn a_conversation_can_be_saved_and_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("talk.json");
    let (file, nowhere) = (argument(&file), argument(directory.path()));
    let lines =
        format!("Hello, my name is Ada.\r\n\n/save {file}\n/save {nowhere}/no/such\n/reset\n/stats\n/exit\nHi\n");
    let run = chat(&["--model", "models/storyteller", "--system", "You are a friendly storyteller."], &lines);
    let saved: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let answer = "Hello, Ada! Would you like to hear a story?";
    let expected = serde_json::json!({"messages": [
        {"role": "system", "content": "You are a friendly storyteller."},
        {"role": "user", "content": "Hello, my name is Ada."},
        {"role": "assistant", "content": answer},
    ]});
    assert_eq!(saved, expected);
    assert_eq!(run.stdout, format!("{answer}\nContext:         0 of 1024 tokens\n"), "{run:?}");
    assert!(run.stderr.contains("[ERROR] Io: The conversation cannot be saved\nDetails: /"), "{run:?}");
    assert_eq!(run.code, 0);
}

#[test]
fn a_full_context_says_so_and_offers_a_new_conversation() {
    let model = endless_storyteller();
    let lines = "Tell me a story about an owl named Ada who lost a golden bell.\nAnd now?\n/reset\nHello\n";
    let run = chat(&["--model", argument(model.path()), "--context", "60"], lines);
    assert!(run.stderr.contains("[INFO] The context is full: /reset starts a new conversation\n"), "{run:?}");
    let error = "[ERROR] Input: The conversation fills the context\nDetails: ";
    assert!(run.stderr.contains(error) && run.stderr.contains("\nHint: /reset starts a new one"), "{run:?}");
    assert!(run.code == 0 && run.stdout.starts_with("Once upon a time") && run.stdout.lines().count() > 1, "{run:?}");
}

#[test]
fn a_line_that_is_no_text_is_said_and_the_conversation_goes_on() {
    let talk = |between: &[u8]| {
        let lines = [b"Hello, my name is Ada.\n", between, b"What is three plus four?\n/stats\n"].concat();
        fed(&["--model", "models/storyteller", "--max-tokens", "20"], &lines)
    };
    let plain = talk(b"");
    for between in [&b"caf\xe9\n"[..], b"\"\"\"one\ncaf\xe9\ntwo\"\"\"\n", b"\"\"\"one\ncaf\xe9\"\"\"\n"] {
        let run = talk(between);
        assert_eq!(run.stderr.matches("[ERROR] Input: The line is not UTF-8\n").count(), 1, "{run:?}");
        assert!(run.code == 0 && run.stderr.contains("byte 3 of the line starts no character"), "{run:?}");
        let context = |run: &Run| numbers(&run.stdout, "Prompt tokens:");
        assert_eq!(context(&run), context(&plain), "{run:?}");
    }
}

#[test]
fn ctrl_c_ends_the_answer_and_not_the_program() {
    let model = endless_storyteller();
    let mut child = command();
    child.args(MODEL).args(["--model", argument(model.path()), "-q"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"Tell me a story about an owl named Ada who lost a golden bell.\n/stats\n").unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 16];
    stdout.read_exact(&mut first).unwrap();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    stdin.write_all(b"/exit\n").unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!((child.wait().unwrap().code(), &first), (Some(0), b"Once upon a time"));
    assert!((1..900).contains(&numbers(&rest, "Generated:")[0]), "{rest}");
}

#[test]
fn reasoning_is_switched_where_the_template_knows_it() {
    let run = chat(&["--model", "models/storyteller"], "/think on\n/think maybe\n/wrong\n/help\n");
    let errors: Vec<_> = run.stderr.lines().filter(|line| line.starts_with("[ERROR] ")).collect();
    assert_eq!(errors[0], "[ERROR] Input: The model has no switch for reasoning");
    assert_eq!(errors[1..], ["[ERROR] Input: Unknown command"; 2]);
    assert!(run.code == 0 && run.stdout.starts_with("/reset ") && run.stdout.contains("\n/think on|off "), "{run:?}");

    let switch = "{{ 'on' if enable_thinking is not defined or enable_thinking else 'off ' * 9 }}";
    let model =
        storyteller_edited("tokenizer_config.json", "{{'<extra_id_0>System'}}", &(switch.to_owned() + "{{'x'}}"));
    let run = chat(&["--model", argument(model.path())], "Hi\n/stats\n/think off\n/reset\nHi\n/stats\n");
    let prompts = numbers(&run.stdout, "Prompt tokens:");
    assert!(run.code == 0 && prompts[1] > prompts[0] + 8, "{run:?}");
}

/// Behind `<think>` all of an answer is reasoning until `</think>` comes, which the demo model never says.
#[test]
fn reasoning_stands_apart_from_the_answer_in_json() {
    let directory = tempfile::tempdir().unwrap();
    let template = directory.path().join("thinks.jinja");
    let text = "{% for m in messages %}{{ m.content }}{% endfor %}\
        {% if enable_thinking is not defined or enable_thinking %}<think>{% else %}<think></think>{% endif %}";
    std::fs::write(&template, text).unwrap();
    let answer = |more: &[&str]| -> serde_json::Value {
        let base = ["-m", "models/storyteller", "--device=cpu", "--chat", "--json", "-q", "-n", "8", "-p", "Hello"];
        let run = nemotron(&[&base[..], &["--chat-template", argument(&template)], more].concat());
        assert_eq!(run.code, 0, "{run:?}");
        serde_json::from_str(&run.stdout).unwrap()
    };
    let thought = answer(&[]);
    assert!(thought["text"] == "" && !thought["reasoning"].as_str().unwrap().is_empty(), "{thought}");
    assert_eq!(answer(&["--think"])["ids"], thought["ids"]);
    for off in [&["--no-think"][..], &["--chat-template-kwargs", "{\"enable_thinking\": false}"]] {
        let said = answer(off);
        assert!(said.get("reasoning").is_none() && said["text"] != "", "{said}");
        assert!(said["prompt_tokens"].as_u64() > thought["prompt_tokens"].as_u64(), "{said}");
    }
    let run = nemotron(&["-m", "models/storyteller", "--device=cpu", "--chat", "--no-think", "-p", "Hello"]);
    assert!(fault(run).starts_with("[ERROR] Input: The model has no switch for reasoning\n"));
}

#[test]
fn models_that_cannot_talk() {
    let model = storyteller_without(&["tokenizer_config.json"]);
    let error = fault(chat(&["--model", argument(model.path())], ""));
    assert!(error.starts_with("[ERROR] Model: The model has no chat template\n"), "{error}");
    let generated = nemotron(&["--model", argument(model.path()), "--device", "cpu", "-q", "--prompt", "Hello"]);
    assert_eq!(generated.code, 0, "a prompt needs no template");

    let raise = "{{ raise_exception('Only for ' ~ 'tools') }}";
    let model = storyteller_edited("tokenizer_config.json", "{{'<extra_id_0>System'}}", raise);
    let run = chat(&["--model", argument(model.path())], "Hi\n");
    assert!(run.code == 0 && run.stderr.contains("refuses the conversation\nDetails: "), "{run:?}");
    assert!(run.stderr.contains("Only for tools\n"), "{run:?}");
}
