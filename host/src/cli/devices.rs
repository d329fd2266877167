//! `nemotron devices`: the GPUs of this machine, as `--device` counts them.
use std::io::{Write, stdout};

use clap::Args;

use super::failure::Failure;
use crate::device::cuda;

/// List the GPUs that --device can name
#[derive(Args, Debug)]
pub struct Arguments {}

/// Runs the command; an error if there is no GPU.
pub fn run(_: &Arguments) -> Result<(), Failure> {
    let mut out = stdout().lock();
    for gpu in cuda::all()? {
        let mut lines = gpu.description().into_iter();
        writeln!(out, "{}: {}", gpu.ordinal, lines.next().unwrap_or_default())?;
        for line in lines {
            writeln!(out, "   {line}")?;
        }
    }
    Ok(out.flush()?)
}
