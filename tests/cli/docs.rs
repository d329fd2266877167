//! docs/cli.md is what the commands say of themselves; `make docs` (`NEMOTRON_RENDER=1`) writes it anew.
use crate::{nemotron, root};

const HEAD: &str =
    "# The command line\n\nWhat `nemotron help COMMAND` says of every command, written by `make docs`.\n";

/// The commands as the help of the program, or of a command, lists them.
fn commands(help: &str) -> Vec<String> {
    let Some((_, rest)) = help.split_once("Commands:\n") else { return Vec::new() };
    let (list, _) = rest.split_once("\n\n").expect("arguments or options follow");
    let names = list.lines().filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    names.map(str::to_owned).collect()
}

#[test]
fn the_page_of_all_options_is_what_the_commands_say() {
    let names = commands(&nemotron(&["--help"]).stdout);
    assert!(names.len() >= 12 && names.iter().any(|name| name == "perplexity"), "{names:?}");
    let mut wanted = HEAD.to_owned();
    let mut left: Vec<String> = names.into_iter().rev().collect();
    while let Some(name) = left.pop() {
        let words: Vec<&str> = ["help"].into_iter().chain(name.split(' ')).collect();
        let help = nemotron(&words);
        assert_eq!(help.code, 0, "{help:?}");
        left.extend(commands(&help.stdout).iter().rev().map(|own| format!("{name} {own}")));
        let lines: Vec<&str> = help.stdout.lines().map(str::trim_end).collect();
        wanted += &format!("\n## nemotron {name}\n\n```\n{}\n```\n", lines.join("\n"));
    }
    let path = root().join("docs/cli.md");
    if std::env::var_os("NEMOTRON_RENDER").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, wanted, "docs/cli.md is not what the commands say: `make docs` writes it anew");
}
