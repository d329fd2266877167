//! The `nemotron` command.
use std::process::ExitCode;

fn main() -> ExitCode {
    nemotron::cli::main(std::env::args_os())
}
