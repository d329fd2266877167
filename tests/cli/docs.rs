//! docs/cli.md is what the commands say of themselves; `make docs` (`NEMOTRON_RENDER=1`) writes it anew.
use crate::{nemotron, root};

const HEAD: &str =
    "# The command line\n\nWhat `nemotron help COMMAND` says of every command, written by `make docs`.\n";

/// The commands as the program's own help lists them.
fn commands() -> Vec<String> {
    let help = nemotron(&["--help"]).stdout;
    let (_, rest) = help.split_once("Commands:\n").expect("commands are listed");
    let (list, _) = rest.split_once("\n\n").expect("options follow");
    let names = list.lines().filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    names.map(str::to_owned).collect()
}

#[test]
fn the_page_of_all_options_is_what_the_commands_say() {
    let names = commands();
    assert!(names.len() >= 12 && names.iter().any(|name| name == "perplexity"), "{names:?}");
    let mut wanted = HEAD.to_owned();
    for name in &names {
        let help = nemotron(&["help", name]);
        assert_eq!(help.code, 0, "{help:?}");
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
