//! `nemotron man`: manual pages.
use std::io::{Write, stdout};

use clap::{Args, Command};
use clap_mangen::Man;

use super::examples;
use super::failure::Failure;
use crate::error::{Category, Error};

/// Print a manual page: nemotron man | man -l -
#[derive(Args, Debug)]
pub struct Arguments {
    /// The page of this command, instead of the program's; as bench serve has one, several words
    command: Vec<String>,
}

/// Runs the command; `command` is the whole command line.
pub fn run(arguments: &Arguments, mut command: Command) -> Result<(), Failure> {
    command.build();
    let name = arguments.command.join(" ");
    let mut wanted = command;
    for word in &arguments.command {
        wanted = wanted.find_subcommand(word).ok_or_else(|| unknown(&name, &wanted))?.clone();
    }
    let mut page = Vec::new();
    let name = if name.is_empty() { "nemotron" } else { &name };
    // The examples are a section of their own.
    let plain = wanted.version(env!("CARGO_PKG_VERSION"));
    Man::new(plain).render(&mut page)?;
    page.extend(examples::section(name).bytes());
    let mut out = stdout().lock();
    Ok(out.write_all(&page).and_then(|()| out.flush())?)
}

fn unknown(name: &str, command: &Command) -> Error {
    let names: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
    Error::new(Category::Input, "There is no such command")
        .details(format_args!("{name}; expected one of {}", names.join(", ")))
        .hint("nemotron man prints the page of the program")
}
