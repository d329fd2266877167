//! `nemotron devices`: what can run a model here, as `--device` names it.
use std::io::{Write, stdout};

use clap::Args;
use serde_json::{Value, json};

use super::console::Verbosity;
use super::failure::Failure;
use crate::cpu::processor_name;
use crate::device::cuda::{self, Gpu};
use crate::device::host_memory;
use crate::error::{Error, size};
use crate::session::Note;

/// List the devices that --device can name: the GPUs and the CPU
#[derive(Args, Debug)]
pub struct Arguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command. No GPU is no error: the CPU is always there.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let found = cuda::all();
    let text = if arguments.json { json_object(&found) } else { list(found.as_deref().unwrap_or_default()) };
    if let (Err(error), false) = (&found, arguments.json) {
        Verbosity::Normal.note(&Note::Info(format!("No GPU: {}", error.details_text())));
    }
    let mut out = stdout().lock();
    Ok(out.write_all(text.as_bytes()).and_then(|()| out.flush())?)
}

fn list(gpus: &[Gpu]) -> String {
    let mut text = String::new();
    for gpu in gpus {
        let mut lines = gpu.description().into_iter();
        text += &format!("{}: {}\n", gpu.ordinal, lines.next().unwrap_or_default());
        lines.for_each(|line| text += &format!("   {line}\n"));
        if gpus.len() > 1 {
            text += &format!("   Reaches the memory of: {}\n", reached(gpu, gpus));
        }
    }
    text += &format!("cpu: {}\n   Threads: {}\n", processor_name(), rayon::current_num_threads());
    if let Some(memory) = host_memory::total() {
        text += &format!("   Total Memory: {}\n", size(memory));
    }
    text
}

/// The other GPUs whose memory one reaches, as a user reads it.
fn reached(gpu: &Gpu, gpus: &[Gpu]) -> String {
    match peers(gpu, gpus) {
        Ok(peers) if peers.is_empty() => "no other GPU".to_owned(),
        Ok(peers) => peers.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
        Err(error) => error.details_text().to_owned(),
    }
}

/// Numbers of the other GPUs whose memory one reaches.
fn peers(gpu: &Gpu, gpus: &[Gpu]) -> Result<Vec<u32>, Error> {
    let mut reached = Vec::new();
    for other in gpus.iter().filter(|other| other.ordinal != gpu.ordinal) {
        if gpu.reaches(other)? {
            reached.push(other.ordinal);
        }
    }
    Ok(reached)
}

fn json_object(found: &Result<Vec<Gpu>, Error>) -> String {
    let gpus = found.as_deref().unwrap_or_default();
    let gpu = |gpu: &Gpu| {
        let ((major, minor), (driver, driver_minor)) = (gpu.info.compute_capability, gpu.driver);
        json!({
            "device": gpu.ordinal.to_string(), "kind": "cuda", "name": gpu.name, "memory": gpu.memory,
            "compute_capability": format!("{major}.{minor}"), "driver": format!("{driver}.{driver_minor}"),
            "reaches": peers(gpu, gpus).ok(),
        })
    };
    let threads = rayon::current_num_threads();
    let cpu = json!({
        "device": "cpu", "kind": "cpu", "name": processor_name(), "memory": host_memory::total(), "threads": threads,
    });
    let devices: Vec<Value> = gpus.iter().map(gpu).chain([cpu]).collect();
    let reason = found.as_ref().err().map(Error::details_text);
    format!("{}\n", json!({ "devices": devices, "no_gpu": reason }))
}
