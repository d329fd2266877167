//! The builder as a command: refreshes the prebuilt PTX of a crate, or prints the PTX that a chip runs.
use std::process::ExitCode;

use cuda_builder::{CudaBuilder, Error};

const USAGE: &str = "Usage:
  cuda_builder refresh <crate folder>… [--arch <arch>]   compile and replace prebuilt files, by default those that are there
  cuda_builder text <crate folder> <chip>                compile where there is need, and print the PTX for sm_80, sm_90, …";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["refresh", ref crates @ .., "--arch", arch] if !crates.is_empty() => refresh(crates, Some(arch)),
        ["refresh", ref crates @ ..] if !crates.is_empty() => refresh(crates, None),
        ["text", krate, chip] => text(krate, chip),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn refresh(crates: &[&str], arch: Option<&str>) -> Result<(), Error> {
    for krate in crates {
        let archs = match arch {
            Some(arch) => vec![arch.to_owned()],
            None => CudaBuilder::prebuilt_archs(krate)?,
        };
        for arch in archs {
            let builder = CudaBuilder::new(krate).arch(&arch);
            let news = if builder.refresh_prebuilt()? { "written" } else { "unchanged" };
            println!("{}: {news}", builder.prebuilt_path().display());
        }
    }
    Ok(())
}

fn text(krate: &str, chip: &str) -> Result<(), Error> {
    print!("{}", CudaBuilder::new(krate).text(chip)?);
    Ok(())
}
