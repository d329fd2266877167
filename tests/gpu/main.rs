//! All rows that need a GPU, as one program: `gpu [FILTER]` prints a table and fails if a row does.
//!
//! Where there is no GPU it says so and passes; a filter that no row's name has is a failure.
mod chains;
mod device;
mod faults;
mod fp8_products;
mod host_ranks;
mod launches;
mod logprobs;
mod models;
mod plans;
mod products;
mod ranks;
mod several;
mod streams;

/// The kernels' rows and their oracles, as tests/kernels has them; its own tests see to the references and the emulator.
#[path = "../kernels"]
#[expect(dead_code, reason = "one target of three is used here")]
mod kernels {
    pub mod approx;
    pub mod attention;
    pub mod cached;
    pub mod chunks;
    pub mod compare;
    pub mod data;
    pub mod emulator;
    pub mod meeting;
    pub mod mutants;
    pub mod oracle;
    pub mod packed;
    pub mod paged;
    pub mod random;
    pub mod ssm;
    pub mod target;

    macro_rules! files {
        ($($file:ident $kernel:ident,)*) => { $(pub mod $file;)* };
    }
    gpu_kernels::for_each_kernel!(files);
}

use std::process::ExitCode;
use std::time::Instant;

use kernels::*;
use nemotron::device::cuda::{self, Cuda, Options};

/// A row: what it proves, and a check that gives a figure worth reading.
type Row = (&'static str, fn() -> Result<String, String>);

/// The rows of all files; those that leave the GPU's context in ruins come last.
fn rows() -> impl Iterator<Item = &'static Row> {
    device::ROWS
        .iter()
        .chain(plans::ROWS)
        .chain(products::ROWS)
        .chain(fp8_products::ROWS)
        .chain(streams::ROWS)
        .chain(launches::ROWS)
        .chain(models::ROWS)
        .chain(logprobs::ROWS)
        .chain(chains::ROWS)
        .chain(ranks::ROWS)
        .chain(host_ranks::ROWS)
        .chain(faults::ROWS)
}

/// GPU 0 with these options.
fn open(options: Options) -> Result<Cuda, String> {
    Cuda::open(0, options).map_err(text)
}

/// An error as a row reports it.
fn text(error: nemotron::error::Error) -> String {
    error.to_string()
}

/// Fails a row with a reason unless the condition holds.
fn ensure(condition: bool, reason: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(reason()) }
}

fn main() -> ExitCode {
    if let Err(error) = cuda::count() {
        println!("skipped, there is no GPU to run on\n{error}");
        return ExitCode::SUCCESS;
    }
    if let Some(fault) = std::env::args().find_map(|argument| Some(argument.strip_prefix(faults::COMMIT)?.to_owned())) {
        faults::commit(&fault);
        return ExitCode::SUCCESS;
    }
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let mut failed = 0;
    let mut table = Vec::new();
    for (name, check) in rows().filter(|(name, _)| name.contains(&filter)) {
        let start = Instant::now();
        let outcome = check();
        let seconds = start.elapsed().as_secs_f64();
        failed += usize::from(outcome.is_err());
        let (word, detail) = match outcome {
            Ok(detail) => ("ok", detail),
            Err(detail) => ("FAILED", detail.replace('\n', "; ")),
        };
        println!("{name} ... {word}");
        table.push(format!("{word:6}  {seconds:6.2} s  {name:44}  {detail}"));
    }
    if table.is_empty() {
        println!("no row has {filter:?} in its name; without a filter all run");
        return ExitCode::FAILURE;
    }
    println!("\n{}\n{} rows, {failed} failed", table.join("\n"), table.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
