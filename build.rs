//! host's build script: makes the kernels' PTX a part of the program, as `ptx.rs` in `OUT_DIR`.
use std::path::Path;
use std::process::{Command, ExitCode};

use cuda_builder::{CudaBuilder, Error, Header};

/// As seen from `host`, where cargo runs this.
const KERNELS: &str = "../gpu-kernels";

fn main() -> ExitCode {
    println!("cargo::rustc-env=NEMOTRON_COMMIT={}", commit());
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in error.to_string().lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

/// The commit of a release. Other builds name none, so that a commit alone compiles nothing again.
fn commit() -> String {
    if std::env::var("PROFILE").is_ok_and(|profile| profile != "release") {
        return "none, not a release build".to_owned();
    }
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    };
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned())
}

fn embed() -> Result<(), Error> {
    println!("cargo::rerun-if-env-changed=NEMOTRON_PTX_RUSTC");
    for path in CudaBuilder::new(KERNELS).watched()? {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    let out = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for a build script");
    let out = Path::new(&out);
    let mut code = String::new();
    let mut all = String::new();
    for arch in CudaBuilder::prebuilt_archs(KERNELS)? {
        let ptx = CudaBuilder::new(KERNELS).arch(&arch).copy_to(out.join(format!("{arch}.ptx"))).build()?;
        code.push_str(&constants(&arch, &ptx.header));
        let name = arch.to_uppercase();
        all.push_str(&format!("({arch:?}, {name}, {name}_COMPILER), "));
    }
    code.push_str(&format!(
        "/// Every architecture, its PTX and the compiler of it.\npub const ALL: &[(&str, &str, &str)] = &[{all}];\n"
    ));
    cuda_builder::write_if_changed(&out.join("ptx.rs"), &code)?;
    Ok(())
}

/// The Rust that embeds one architecture's file, which stands beside it.
fn constants(arch: &str, Header { source, compiler, .. }: &Header) -> String {
    let name = arch.to_uppercase();
    format!(
        "/// The kernels' PTX for {arch}.\n\
         pub const {name}: &str = include_str!(\"{arch}.ptx\");\n\
         /// Hash of the sources that [`{name}`] was compiled from.\n\
         pub const {name}_SOURCE: &str = {source:?};\n\
         /// The compiler of [`{name}`].\n\
         pub const {name}_COMPILER: &str = {compiler:?};\n"
    )
}
