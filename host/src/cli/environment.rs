//! Environment variables that stand for options: an empty one is none, and one gives way to what excludes it.
use std::ffi::OsString;

use clap::{Arg, Command};

/// The command line's definition without the variables that do not count for `line`, the words of the command.
pub fn settled(command: Command, line: &[OsString]) -> Command {
    let counts = |argument: &Arg| {
        let value = argument.get_env().and_then(std::env::var_os);
        let gives_way = match argument.get_id().as_str() {
            // `bench --preset` needs no model, whatever the environment names.
            "model" => line.get(1).is_some_and(|word| word == "bench") && has(line, "--preset"),
            "device" => has(line, "--devices"),
            _ => false,
        };
        value.is_none_or(|value| !value.is_empty()) && !gives_way
    };
    let argument = |argument: Arg| if counts(&argument) { argument } else { argument.env(None) };
    in_subcommands(command, &argument)
}

/// `command` with `change` made of all arguments of its commands, and of theirs.
fn in_subcommands(command: Command, change: &dyn Fn(Arg) -> Arg) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |command| in_subcommands(command.mut_args(change), change))
    })
}

/// Whether the line has an option, in front of what is no option any more.
fn has(line: &[OsString], option: &str) -> bool {
    let mut words = line.iter().map(|word| word.to_string_lossy()).take_while(|word| word != "--");
    words.any(|word| word.strip_prefix(option).is_some_and(|rest| rest.is_empty() || rest.starts_with('=')))
}
