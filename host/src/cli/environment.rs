//! Environment variables that stand for options: an empty one is none, and one gives way to what excludes it.
use std::ffi::OsString;

use clap::{Arg, Command};

/// The command line's definition without the variables that do not count for `line`, the words of the command.
pub fn settled(command: Command, line: &[OsString]) -> Command {
    let counts = |argument: &Arg| {
        let value = argument.get_env().and_then(std::env::var_os);
        value.is_none_or(|value| !value.is_empty()) && !(argument.get_id() == "model" && names_a_preset(line))
    };
    let argument = |argument: Arg| if counts(&argument) { argument } else { argument.env(None) };
    let subcommands: Vec<Command> =
        command.get_subcommands().map(|subcommand| subcommand.clone().mut_args(argument)).collect();
    subcommands.into_iter().fold(command, |command, subcommand| {
        let name = subcommand.get_name().to_owned();
        command.mut_subcommand(name, |_| subcommand)
    })
}

/// `bench --preset` needs no model, whatever the environment names.
fn names_a_preset(line: &[OsString]) -> bool {
    line.get(1).is_some_and(|word| word == "bench")
        && line.iter().any(|word| word == "--preset" || word.to_string_lossy().starts_with("--preset="))
}
