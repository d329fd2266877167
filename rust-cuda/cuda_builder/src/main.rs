//! Refreshes the prebuilt PTX of a crate: `cuda_builder <crate> [<arch>…]`, by default for every arch that it ships.
use std::process::ExitCode;

use cuda_builder::{CudaBuilder, Error};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(krate) = arguments.next() else {
        eprintln!("Usage: cuda_builder <crate folder> [<arch>…]");
        return ExitCode::from(2);
    };
    match refresh(&krate, arguments.collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn refresh(krate: &str, mut archs: Vec<String>) -> Result<(), Error> {
    if archs.is_empty() {
        archs = CudaBuilder::prebuilt_archs(krate)?;
    }
    for arch in archs {
        let builder = CudaBuilder::new(krate).arch(&arch);
        let news = if builder.refresh_prebuilt()? { "written" } else { "unchanged" };
        println!("{}: {news}", builder.prebuilt_path().display());
    }
    Ok(())
}
