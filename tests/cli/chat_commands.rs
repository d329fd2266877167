//! `chat`: what lines that begin with a slash do, and turns of several lines.
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::Run;
use crate::chat::{chat, numbers};
use crate::checkpoint::argument;

const STORYTELLER: [&str; 3] = ["--model", "models/storyteller", "--quiet"];
const ANSWER: &str = "Hello, Ada! Would you like to hear a story?";
const ADA: &str = "Hello, my name is Ada.";

/// What a conversation of these lines saves, and what it prints.
fn talk(arguments: &[&str], lines: &str) -> (Value, Run) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("talk.json");
    let run = chat(&[&STORYTELLER, arguments].concat(), &format!("{lines}\n/save {}\n", argument(&file)));
    let saved = std::fs::read(&file).unwrap_or_else(|_| panic!("nothing is saved: {run:?}"));
    (serde_json::from_slice::<Value>(&saved).unwrap()["messages"].clone(), run)
}

fn contents(messages: &Value) -> Vec<&str> {
    messages.as_array().unwrap().iter().map(|message| message["content"].as_str().unwrap()).collect()
}

#[test]
fn each_line_of_a_read_is_a_turn_in_its_order() {
    let (messages, run) = talk(&["--max-tokens", "3"], "one\ntwo\r\nthree");
    assert_eq!(contents(&messages).into_iter().step_by(2).collect::<Vec<_>>(), ["one", "two", "three"], "{run:?}");
}

#[test]
fn a_turn_of_several_lines_stands_between_fences() {
    let (messages, run) = talk(&["--max-tokens", "3"], "\"\"\"one\n\n/two\n\"\"\"\n\"\"\"three\"\"\"\n\"\"\"\n\"\"\"");
    assert_eq!(contents(&messages).into_iter().step_by(2).collect::<Vec<_>>(), ["one\n\n/two", "three"], "{run:?}");
    let run = chat(&[&STORYTELLER[..], &["--max-tokens", "3"]].concat(), "\"\"\"\nHello, my name is Ada.");
    assert_eq!((run.code, run.stdout.as_str()), (0, "Hello, Ada\n"), "a text without its end is not lost");
}

#[test]
fn the_last_turn_can_be_taken_back_or_answered_anew() {
    let (messages, run) = talk(&[], &format!("{ADA}\nWhat is three plus four?\n/undo\n/stats"));
    assert_eq!(contents(&messages), [ADA, ANSWER], "{run:?}");
    let (messages, run) = talk(&[], &format!("{ADA}\n/undo\n/undo\n/regenerate"));
    assert_eq!(messages, json!([]));
    assert_eq!(run.stderr.matches("[ERROR] Input: There is no turn yet\n").count(), 2, "{run:?}");

    let warm = ["--temperature", "2", "--seed", "5", "--max-tokens", "12"];
    let (first, _) = talk(&warm, "Tell me a story.");
    let (second, run) = talk(&warm, "Tell me a story.\n/regenerate");
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!((contents(&second).len(), contents(&first)[1]), (2, lines[0]), "{run:?}");
    assert_ne!(contents(&second)[1], contents(&first)[1], "{run:?}");
    let (again, _) = talk(&[], &format!("{ADA}\n/regenerate"));
    assert_eq!(contents(&again), [ADA, ANSWER]);
}

#[test]
fn parameters_can_be_set_and_shown() {
    let lines = format!(
        "/set\n/set max_tokens 2\n{ADA}\n/set max_tokens -1\n/set stop Would\n/set stop\n{ADA}\n/set stop []\n{ADA}\n/set top_p 3\n/set colour 1"
    );
    let run = chat(&[&STORYTELLER[..], &["--temperature", "0"]].concat(), &lines);
    assert!(
        run.stdout.starts_with("temperature       0\n") && run.stdout.contains("\nmax_tokens        1024\n"),
        "{run:?}"
    );
    assert!(run.stdout.ends_with(&format!("\nHello,\nHello, Ada! \n{ANSWER}\n")), "{run:?}");
    assert!(run.stderr.contains("\nDetails: /set top_p 3: expected a number above 0, up to 1\n"), "{run:?}");
    assert!(run.stderr.contains("[ERROR] Input: No such parameter\nDetails: /set colour\n"), "{run:?}");
}

#[test]
fn the_system_text_can_be_another_from_the_next_turn_on() {
    let (messages, _) = talk(&["--system", "one"], &format!("{ADA}\n/system Be kind, always."));
    assert_eq!(messages[0], json!({"role": "system", "content": "Be kind, always."}));
    assert_eq!(contents(&messages).len(), 3);
    let (messages, run) = talk(&["--system", "one"], &format!("{ADA}\n/system"));
    assert_eq!(contents(&messages), [ADA, ANSWER], "{run:?}");
}

#[test]
fn a_saved_conversation_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("talk.json");
    let question = "What is three plus four?";
    let whole = chat(&STORYTELLER, &format!("{ADA}\n/save {}\n{question}\n/stats\n", argument(&file)));
    let parts = chat(&STORYTELLER, &format!("/load {}\n/stats\n{question}\n/stats\n", argument(&file)));
    let last = |run: &Run, label| *numbers(&run.stdout, label).last().unwrap();
    assert_eq!(last(&whole, "Prompt tokens:"), last(&parts, "Prompt tokens:"));
    assert!(numbers(&parts.stdout, "Context:")[0] > 20, "{parts:?}");
    let answers = |run: &Run| run.stdout.lines().rfind(|line| !line.contains(':')).map(str::to_owned);
    assert_eq!(answers(&whole), answers(&parts));

    let other = directory.path().join("other.jsonl");
    std::fs::write(&other, format!("{}\n", json!({"messages": [{"role": "user", "content": ADA}]}))).unwrap();
    let run = chat(
        &STORYTELLER[..2],
        &format!("/load {}\n/regenerate\n/load /no/such\n/load models/storyteller/config.json\n", argument(&other)),
    );
    assert_eq!(run.stdout, format!("{ANSWER}\n"));
    assert!(
        run.stderr.contains("Loaded 1 messages from ") && run.stderr.contains("/regenerate asks for one"),
        "{run:?}"
    );
    assert_eq!(run.stderr.matches("[ERROR] Input: The conversation cannot be loaded\n").count(), 2, "{run:?}");
}

#[test]
fn nothing_is_written_over_that_is_no_conversation() {
    let directory = tempfile::tempdir().unwrap();
    let [config, talk] = ["config.json", "talk.json"].map(|name| directory.path().join(name));
    std::fs::write(&config, "{\"hidden_size\": 1}").unwrap();
    let (config, talk) = (argument(&config), argument(&talk));
    let run = chat(&STORYTELLER, &format!("{ADA}\n/save {config}\n/save {talk}\n/save {talk}\n"));
    assert_eq!(std::fs::read_to_string(config).unwrap(), "{\"hidden_size\": 1}");
    let refused = format!("[ERROR] Input: What is there is no saved conversation\nDetails: {config}: ");
    assert!(run.stderr.starts_with(&refused) && run.stderr.matches("[ERROR]").count() == 1, "{run:?}");
    let run = chat(&STORYTELLER, &format!("{ADA}\n/save! {config}\n/save! /dev/full\n"));
    assert!(std::fs::read_to_string(config).unwrap().contains(ANSWER));
    assert!(run.stderr.starts_with("[ERROR] Io: The conversation cannot be saved\nDetails: /dev/full: "), "{run:?}");
}

#[test]
fn a_full_disk_leaves_what_was_there() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("talk.json");
    chat(&STORYTELLER, &format!("{ADA}\n/save {}\n", argument(&file)));
    let before = std::fs::read_to_string(&file).unwrap();
    // No byte can be written to a file, as on a full disk.
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "trap '' XFSZ; ulimit -f 0; exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_nemotron"),
        "chat",
        "--device",
        "cpu",
    ]);
    shell.args(STORYTELLER).env("NEMOTRON_HISTORY", "").current_dir(crate::root());
    let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = child.stdin.take().unwrap();
    write!(lines, "Hello\n/save {}\n", argument(&file)).unwrap();
    drop(lines);
    let run = Run::from(child.wait_with_output().unwrap());
    assert!(run.stderr.starts_with("[ERROR] Io: The conversation cannot be saved\n"), "{run:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    assert_eq!(directory.path().read_dir().unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn an_unknown_command_names_the_one_that_was_meant() {
    let run = chat(&STORYTELLER, "/regenrate\n/colour\n/think maybe\n");
    let hints: Vec<&str> = run.stderr.lines().filter_map(|line| line.strip_prefix("Hint: ")).collect();
    assert!(
        hints[0].starts_with("/regenerate is a command; ") && hints[1].starts_with("/help lists the commands"),
        "{run:?}"
    );
    assert!(hints[2].starts_with("/help says what stands behind /think"), "{run:?}");
}

#[test]
fn a_budget_of_reasoning_can_be_set_and_taken_back() {
    let lines = "/set thinking_budget 5\nHello\n/set thinking_budget -1\nHello\n/result Rain.\n";
    let run = chat(&["--model", "models/storyteller", "--max-tokens", "5"], lines);
    let errors: Vec<_> = run.stderr.lines().filter(|line| line.starts_with("[ERROR] ")).collect();
    let expected = ["[ERROR] Input: The model does not reason", "[ERROR] Input: No call waits for a result"];
    assert_eq!((run.code, &errors[..]), (0, &expected[..]), "{run:?}");
    assert!(
        run.stderr.contains("thinking-budget: expected a chat template with </think>, found one without"),
        "{run:?}"
    );
    assert!(run.stderr.contains("/set thinking_budget -1") && run.stdout.lines().count() == 1, "{run:?}");
}
