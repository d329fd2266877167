//! The command line: one command, one file.
mod batch;
mod bench;
mod bench_report;
mod chat;
mod completions;
mod console;
mod devices;
mod failure;
mod generate;
mod inspect;
mod line;
mod lines;
mod logprobs;
mod man;
mod model;
mod progress;
mod random_checkpoint;
mod report;
mod sampling;
mod several;
mod stream;
mod verify;
mod version;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use failure::{Failure, guarded};

/// Generates text with NVIDIA Nemotron checkpoints. Without a command, `generate` is meant.
#[derive(Parser)]
#[command(name = "nemotron", version, long_version = version::LONG.as_str(), arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Generate(generate::Arguments),
    Chat(chat::Arguments),
    Inspect(inspect::Arguments),
    RandomCheckpoint(random_checkpoint::Arguments),
    Verify(verify::Arguments),
    Bench(bench::Arguments),
    Devices(devices::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

/// Runs the command that `arguments` (the program's name first) ask for and returns its exit code: 0, 1 for an error
/// that was printed to stderr, 2 for a wrong command line.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    crate::checkpoint::shrunk::report();
    let arguments = match Arguments::try_parse_from(with_command(arguments.into_iter().collect())) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help goes to stdout, which may be closed; there is nobody to tell then.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match guarded(|| run(arguments.command)) {
        Ok(()) | Err(Failure::Closed) => ExitCode::SUCCESS,
        Err(Failure::Error(error)) => {
            console::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Chat(arguments) => chat::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::RandomCheckpoint(arguments) => random_checkpoint::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Devices(arguments) => devices::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments, Arguments::command()),
        Command::Man(arguments) => man::run(&arguments, Arguments::command()),
    }
}

/// Bare flags mean `generate`.
fn with_command(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let own = ["-h", "--help", "-V", "--version"];
    let flag = |first: &OsString| first.to_string_lossy().starts_with('-') && !own.iter().any(|own| first == own);
    if arguments.get(1).is_some_and(flag) {
        arguments.insert(1, "generate".into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn bare_flags_mean_generate() {
        let inserted = |line: &str| {
            let words = with_command(line.split(' ').map(OsString::from).collect());
            words.get(1).is_some_and(|word| word == "generate")
        };
        assert!(inserted("nemotron --model x --prompt y") && inserted("nemotron -q"));
        assert!(!inserted("nemotron") && !inserted("nemotron verify --model x") && !inserted("nemotron --help"));
    }
}
