//! Drives cargo through the compilation of a crate of kernels.
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Arch, Compiler, Error};

const TARGET: &str = "nvptx64-nvidia-cuda";

/// The release profile of kernels, whatever the workspace says: whole-program, so that nothing is left to link.
pub(crate) const PROFILE: [(&str, &str); 7] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3"),
    ("CARGO_PROFILE_RELEASE_LTO", "fat"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
    ("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "false"),
    ("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "false"),
];

/// Compiles the crate; gives the file with its PTX, which rustc writes as the crate's assembly.
pub(crate) fn compile(krate: &Path, arch: Arch, compiler: &Compiler, target_dir: &Path) -> Result<PathBuf, Error> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let target_dir = absolute(target_dir)?;
    let status = Command::new(cargo)
        .args(["rustc", "--quiet", "--release", "--lib", "--crate-type", "cdylib", "-Zbuild-std=core"])
        .args(["--target", TARGET, "--target-dir"])
        .arg(&target_dir)
        .args(["--", "--emit=asm"])
        .current_dir(krate)
        .env_clear()
        .envs(env::vars_os().filter(|(name, _)| name.to_str().is_some_and(passes_on)))
        .env("RUSTC", absolute_program(&compiler.rustc)?)
        // -Zbuild-std and the features of cuda_std are unstable; this lets a stable compiler have them.
        .env("RUSTC_BOOTSTRAP", "1")
        .envs(PROFILE)
        // PTX needs no linker, so the link step is a program that does nothing.
        .env("CARGO_TARGET_NVPTX64_NVIDIA_CUDA_LINKER", "true")
        .env("CARGO_ENCODED_RUSTFLAGS", arch.flags().join("\x1f"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .map_err(|e| Error::file(krate, e))?;
    if !status.success() {
        let (krate, rustc) = (krate.to_owned(), compiler.rustc.clone());
        return Err(Error::Cargo { krate, rustc, status: status.to_string() });
    }
    Ok(target_dir.join(TARGET).join("release/deps").join(format!("{}.s", library_name(krate)?)))
}

/// Whether an environment variable reaches the inner cargo: what says where things are does; what an outer cargo tells its
/// build scripts, and flags that are meant for the host, do not.
fn passes_on(name: &str) -> bool {
    const CARGO: [&str; 6] =
        ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_SOURCE_", "CARGO_BUILD_JOBS"];
    const SCRIPT: [&str; 8] = ["OUT_DIR", "TARGET", "HOST", "PROFILE", "OPT_LEVEL", "DEBUG", "NUM_JOBS", "MAKEFLAGS"];
    if name.starts_with("CARGO") {
        return CARGO.iter().any(|kept| name.starts_with(kept));
    }
    let of_rust = name.starts_with("RUST") && !name.starts_with("RUSTUP_");
    !of_rust && !SCRIPT.contains(&name)
}

/// The nearest folder around the crate that has a `Cargo.lock`.
pub(crate) fn workspace_root(krate: &Path) -> Result<PathBuf, Error> {
    let folder = absolute(krate)?;
    let root = folder.ancestors().find(|folder| folder.join("Cargo.lock").is_file()).map(Path::to_owned);
    root.ok_or(Error::NoCrate { path: folder, missing: "Cargo.lock" })
}

/// The name of the crate's library as rustc has it.
pub(crate) fn library_name(krate: &Path) -> Result<String, Error> {
    let manifest = krate.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(|e| Error::file(&manifest, e))?;
    let name = text.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    name.map(|name| name.replace('-', "_")).ok_or(Error::NoCrate { path: krate.to_owned(), missing: "package name" })
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|e| Error::file(path, e))
}

/// A program by path is found from any folder; one by name alone is left to `PATH`.
fn absolute_program(program: &Path) -> Result<PathBuf, Error> {
    if program.components().count() == 1 { Ok(program.to_owned()) } else { absolute(program) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_build_does_not_reach_the_inner_one() {
        for name in [
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTFLAGS",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTC_WRAPPER",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET",
            "CARGO_PROFILE_RELEASE_LTO",
            "CARGO_MANIFEST_DIR",
            "CARGO_MAKEFLAGS",
            "TARGET",
            "OUT_DIR",
        ] {
            assert!(!passes_on(name), "{name}");
        }
        for name in
            ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "CARGO_NET_OFFLINE", "HTTPS_PROXY"]
        {
            assert!(passes_on(name), "{name}");
        }
    }

    #[test]
    fn the_library_is_named_as_rustc_names_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("Cargo.toml"), "[package]\nname = \"gpu-kernels\"\n").unwrap();
        assert_eq!(library_name(folder.path()).unwrap(), "gpu_kernels");
        fs::write(folder.path().join("Cargo.toml"), "[package]\n").unwrap();
        assert!(library_name(folder.path()).is_err());
    }
}
