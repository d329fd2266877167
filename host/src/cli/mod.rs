//! The command line: one command, one file.
mod batch;
mod bench;
mod bench_report;
mod bench_serve;
mod bench_serve_report;
mod chat;
mod completions;
mod console;
mod detokenize;
mod devices;
mod environment;
mod examples;
mod failure;
mod generate;
mod grammar;
mod inspect;
mod line;
mod lines;
mod logprobs;
mod man;
mod model;
mod numbers;
mod perplexity;
mod progress;
mod prompt;
mod quantize;
mod random_checkpoint;
mod report;
mod sampling;
mod serve;
mod several;
mod signals;
mod stdin;
mod stream;
mod tokenize;
mod tools;
mod verify;
mod version;
mod vllm;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::error::{Category, Error};
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
    Serve(serve::Arguments),
    Inspect(inspect::Arguments),
    Quantize(quantize::Arguments),
    RandomCheckpoint(random_checkpoint::Arguments),
    Tokenize(tokenize::Arguments),
    Detokenize(detokenize::Arguments),
    Perplexity(perplexity::Arguments),
    Verify(verify::Arguments),
    Bench(bench::Arguments),
    Devices(devices::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

/// Runs the command that `arguments` (the program's name first) ask for and returns its exit code: 0, 1 for an error
/// that was printed to stderr, 2 for a wrong command line, 130 where Ctrl-C ended it.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    crate::checkpoint::shrunk::report();
    let arguments = match parse(with_command(arguments.into_iter().collect())) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help goes to stdout, which may be closed; there is nobody to tell then.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match guarded(|| run(arguments.command)) {
        Ok(()) | Err(Failure::Closed) => ExitCode::SUCCESS,
        Err(Failure::Interrupted) => ExitCode::from(signals::INTERRUPTED),
        Err(Failure::Error(error)) => {
            console::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn parse(line: Vec<OsString>) -> clap::error::Result<Arguments> {
    let mut command = environment::settled(examples::add(Arguments::command()), &line);
    let matches = command.try_get_matches_from_mut(line)?;
    Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

impl Command {
    /// Threads of the CPU, where a number was asked for.
    fn threads(&self) -> Option<NonZeroUsize> {
        match self {
            Command::Generate(arguments) => arguments.model.threads(),
            Command::Chat(arguments) => arguments.model.threads(),
            Command::Serve(arguments) => arguments.model.threads(),
            Command::Perplexity(arguments) => arguments.model.threads(),
            Command::Verify(arguments) => arguments.model.threads(),
            Command::Bench(arguments) => arguments.threads,
            Command::Quantize(arguments) => arguments.threads,
            _ => None,
        }
    }
}

/// Has work that is shared out use so many threads.
fn start_threads(count: NonZeroUsize) -> Result<(), Failure> {
    rayon::ThreadPoolBuilder::new().num_threads(count.get()).build_global().map_err(|error| {
        Failure::Error(
            Error::new(Category::Device, "The threads cannot be started")
                .details(format!("{count} threads: {error}"))
                .hint("choose a smaller --threads"),
        )
    })
}

fn run(command: Command) -> Result<(), Failure> {
    command.threads().map_or(Ok(()), start_threads)?;
    match command {
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Chat(arguments) => chat::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Quantize(arguments) => quantize::run(&arguments),
        Command::RandomCheckpoint(arguments) => random_checkpoint::run(&arguments),
        Command::Tokenize(arguments) => tokenize::run(&arguments),
        Command::Detokenize(arguments) => detokenize::run(&arguments),
        Command::Perplexity(arguments) => perplexity::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Devices(arguments) => devices::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments, with_bare_flags(Arguments::command())),
        Command::Man(arguments) => man::run(&arguments, Arguments::command()),
    }
}

/// The command line with the flags of `generate` beside the commands, as shells are to complete them.
fn with_bare_flags(command: clap::Command) -> clap::Command {
    let Some(generate) = command.find_subcommand("generate").cloned() else { return command };
    let own: Vec<clap::Id> = command.get_groups().map(|group| group.get_id().clone()).collect();
    let groups = generate.get_groups().filter(|group| !own.contains(group.get_id())).cloned();
    command.args(generate.get_arguments().cloned()).groups(groups)
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
    fn every_command_has_examples_and_every_example_is_a_command_line() {
        let command = Arguments::command();
        for name in command.get_subcommands().map(clap::Command::get_name).chain(["nemotron", "bench serve"]) {
            assert!(!examples::of(name).is_empty(), "{name}");
            for example in examples::of(name) {
                let line = example.split(['|', '<', '>']).next().unwrap_or_default();
                // Every other part stands in quotes and is one word.
                let parts = line.split('"').enumerate().flat_map(|(index, part)| {
                    if index % 2 == 1 { vec![part] } else { part.split_whitespace().collect() }
                });
                let words: Vec<OsString> = parts.map(OsString::from).collect();
                assert!(words[0] == "nemotron" && parse(with_command(words)).is_ok(), "{example}");
            }
        }
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
