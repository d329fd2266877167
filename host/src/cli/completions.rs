//! `nemotron completions`: what a shell needs to complete command lines.
use std::io::{Write, stdout};

use clap::{Args, Command};
use clap_complete::{Shell, generate};

use super::failure::Failure;

/// Print a script that completes command lines in a shell
#[derive(Args, Debug)]
pub struct Arguments {
    /// Which shell
    shell: Shell,
}

/// Runs the command; `command` is the whole command line.
pub fn run(arguments: &Arguments, mut command: Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(arguments.shell, &mut command, "nemotron", &mut script);
    let mut out = stdout().lock();
    Ok(out.write_all(&script).and_then(|()| out.flush())?)
}
