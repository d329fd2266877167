//! What the command takes from its surroundings and gives to them: environment variables, colours, manual pages.
use crate::{Run, command, fault, nemotron};

const VARIABLES: [(&str, &str); 2] = [("NEMOTRON_MODEL", "models/storyteller"), ("NEMOTRON_DEVICE", "cpu")];

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Run {
    command().args(arguments).envs(variables.iter().copied()).output().expect("the command starts").into()
}

#[test]
fn model_and_device_come_from_the_environment_unless_they_are_named() {
    let france = ["--prompt", "The capital of France is", "-q"];
    assert_eq!(run(&france, &VARIABLES).stdout, " Paris.\n");
    assert_eq!(run(&["chat"], &VARIABLES).code, 0);
    let named = [&france[..], &["--model", "no/such"]].concat();
    assert!(fault(run(&named, &VARIABLES)).contains("no/such"));
    let wrong = run(&france, &[VARIABLES[0], ("NEMOTRON_DEVICE", "tpu")]);
    assert!(wrong.code == 2 && wrong.stderr.contains("expected a GPU's number, cpu or auto"), "{wrong:?}");
    for help in [["generate", "--help"], ["chat", "--help"], ["verify", "--help"]] {
        let help = nemotron(&help).stdout;
        assert!(VARIABLES.iter().all(|(name, _)| help.contains(&format!("[env: {name}="))), "{help}");
    }
}

#[test]
fn a_device_of_the_environment_gives_way_to_devices_that_are_named() {
    for devices in [&["--devices", "cpu:2"][..], &["--devices=cpu:2"]] {
        let run = run(&[&["--prompt", "The capital of France is"], devices].concat(), &VARIABLES);
        assert!(run.code == 0 && run.stderr.contains("CPU Device: 2 ranks, each "), "{run:?}");
    }
}

#[test]
fn an_empty_variable_is_none_and_every_command_knows_both() {
    let empty = [("NEMOTRON_MODEL", ""), ("NEMOTRON_DEVICE", "")];
    let without = run(&["--prompt", "x"], &empty);
    assert!(without.code == 2 && without.stderr.contains("--model <DIR>"), "{without:?}");
    let named = ["--prompt", "The capital of France is", "-q", "--model", "models/storyteller"];
    assert_eq!(run(&named, &empty).stdout, " Paris.\n");
    for row in [
        &["inspect"][..],
        &["inspect", "tests/golden/llama"],
        &["tokenize", "-p", "x"],
        &["detokenize", "5"],
        &["perplexity", "-q", "-c", "4", "-p", "Once upon a time there was"],
        &["bench", "prefill", "--prompt", "8"],
    ] {
        let run = run(row, &VARIABLES);
        assert!(run.code == 0 && !run.stdout.is_empty(), "{row:?}: {run:?}");
    }
    assert!(run(&["inspect"], &VARIABLES).stdout.contains("device cpu, "));
    assert_eq!(run(&["inspect"], &empty).code, 2);
}

#[test]
fn a_preset_needs_no_model_whatever_the_environment_names() {
    let preset = ["bench", "prefill", "--preset", "nano-8b", "--layers"];
    let layers = run(&[&preset[..], &["0"]].concat(), &VARIABLES);
    assert!(layers.code == 2 && layers.stderr.contains("expected 1 to 4096"), "{layers:?}");
    let memory = run(&[&preset[..], &["4096", "--prompt", "2"]].concat(), &VARIABLES);
    assert!(fault(memory).contains("Out of memory"));
    let both = run(&["bench", "--preset", "nano-8b", "--model", "x"], &[]);
    assert!(both.code == 2 && both.stderr.contains("cannot be used with"), "{both:?}");
    let ignored = run(&["bench", "--layers", "2"], &VARIABLES);
    assert_eq!(ignored.code, 2, "{ignored:?}");
}

#[test]
fn labels_have_colours_on_terminals_alone_and_where_they_are_forced() {
    let arguments = ["--prompt", "", "--raw", "--verbose"];
    let plain = run(&arguments, &VARIABLES);
    assert!(plain.code == 1 && !plain.stderr.contains('\x1b'), "{plain:?}");
    let forced = run(&arguments, &[&VARIABLES[..], &[("CLICOLOR_FORCE", "1")]].concat());
    assert!(forced.stderr.contains("\x1b[1m\x1b[31m[ERROR]\x1b[0m Input: The prompt is empty\n"), "{forced:?}");
    assert!(forced.stderr.contains("\n\x1b[1mHint:\x1b[0m ") && forced.stderr.contains("[INFO]\x1b[0m Loading"));
    let both = run(&arguments, &[&VARIABLES[..], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]].concat());
    assert!(!both.stderr.contains('\x1b'), "{both:?}");
}

#[test]
fn every_command_has_a_manual_page() {
    let page = nemotron(&["man"]);
    assert!(page.code == 0 && page.stdout.contains(".TH nemotron 1"), "{page:?}");
    for name in ["generate", "chat", "inspect", "verify", "devices", "man"] {
        assert!(page.stdout.contains(&format!("nemotron\\-{name}(1)")), "{name}: {}", page.stdout);
        let own = nemotron(&["man", name]).stdout;
        assert!(own.contains(&format!(".TH nemotron-{name} 1")) && own.contains(".SH SYNOPSIS"), "{own}");
        let example = own.split_once(".SH EXAMPLES\n.nf\n").is_some_and(|(_, text)| text.starts_with("nemotron "));
        assert!(example && own.contains(&format!("v{}", env!("CARGO_PKG_VERSION"))), "{own}");
    }
    let generate = nemotron(&["man", "generate"]).stdout;
    assert!(generate.contains("\\-\\-max\\-tokens") && generate.contains("NEMOTRON_MODEL"), "{generate}");
    assert!(fault(nemotron(&["man", "serv"])).contains("serv; expected one of generate, chat, "));
}

#[test]
fn no_bar_is_drawn_where_nobody_watches() {
    let two = ["--prompt", "Hello", "--n", "2", "--max-tokens", "2"];
    let run = run(&two, &VARIABLES);
    assert!(run.code == 0 && !run.stderr.contains(['\r', '\x1b']) && !run.stdout.contains("done"), "{run:?}");
}
