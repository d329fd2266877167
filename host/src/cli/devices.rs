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
    }
    text += &format!("cpu: {}\n   Threads: {}\n", processor_name(), rayon::current_num_threads());
    if let Some(memory) = host_memory::total() {
        text += &format!("   Total Memory: {}\n", size(memory));
    }
    text
}

fn json_object(found: &Result<Vec<Gpu>, Error>) -> String {
    let gpu = |gpu: &Gpu| {
        let ((major, minor), (driver, driver_minor)) = (gpu.info.compute_capability, gpu.driver);
        json!({
            "device": gpu.ordinal.to_string(), "kind": "cuda", "name": gpu.name, "memory": gpu.memory,
            "compute_capability": format!("{major}.{minor}"), "driver": format!("{driver}.{driver_minor}"),
        })
    };
    let threads = rayon::current_num_threads();
    let cpu = json!({
        "device": "cpu", "kind": "cpu", "name": processor_name(), "memory": host_memory::total(), "threads": threads,
    });
    let devices: Vec<Value> = found.iter().flatten().map(gpu).chain([cpu]).collect();
    let reason = found.as_ref().err().map(Error::details_text);
    format!("{}\n", json!({ "devices": devices, "no_gpu": reason }))
}
