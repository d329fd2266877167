//! Drives cargo through the compilation of what a crate of kernels depends on.
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::rustc::{PROFILE, TARGET};
use crate::{Arch, Compiler, Error, manifest};

/// Compiles the crates that `krate` depends on by path, and `core`; gives their libraries by name.
pub(crate) fn dependencies(
    krate: &Path,
    arch: Arch,
    compiler: &Compiler,
    target_dir: &Path,
) -> Result<Vec<(String, PathBuf)>, Error> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.args(["build", "--quiet", "--release", "--message-format=json", "-Zbuild-std=core", "--target", TARGET]);
    command.arg("--target-dir").arg(absolute(target_dir)?);
    for folder in manifest::path_dependencies(krate)? {
        command.arg("--package").arg(manifest::package_name(&folder)?);
    }
    command.env_clear().envs(env::vars_os().filter(|(name, _)| name.to_str().is_some_and(passes_on)));
    // -Zbuild-std and the features of cuda_std are unstable; this lets a stable compiler have them.
    command.env("RUSTC", absolute_program(&compiler.rustc)?).env("RUSTC_BOOTSTRAP", "1");
    let variable = |name: &str| format!("CARGO_PROFILE_RELEASE_{}", name.replace('-', "_").to_uppercase());
    command.envs(PROFILE.map(|(name, value)| (variable(name), value))).env(variable("debug"), "false");
    command.env("CARGO_ENCODED_RUSTFLAGS", arch.flags().join("\x1f"));
    let output = command.current_dir(krate).stdin(Stdio::null()).output().map_err(|e| Error::file(krate, e))?;
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        let (krate, rustc) = (krate.to_owned(), compiler.rustc.clone());
        return Err(Error::Compile { krate, rustc, status: output.status.to_string() });
    }
    Ok(libraries(&String::from_utf8_lossy(&output.stdout)))
}

/// The libraries that cargo's messages name, a JSON object each: `"filenames":["…/libcore-0f.rlib", …]`.
fn libraries(messages: &str) -> Vec<(String, PathBuf)> {
    let files = messages.lines().filter_map(|line| line.split_once("\"filenames\":[")?.1.split_once(']'));
    let files = files.flat_map(|(names, _)| names.split(',')).map(|name| name.trim_matches('"').replace("\\\\", "\\"));
    let library = |file: PathBuf| {
        let name = file.file_stem()?.to_str()?.strip_prefix("lib")?.split('-').next()?.to_owned();
        (file.extension()? == "rlib").then_some((name, file))
    };
    files.map(PathBuf::from).filter_map(library).collect()
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
    fn libraries_are_found_in_cargos_messages() {
        let messages = [
            r#"{"reason":"compiler-artifact","filenames":["/t/deps/libcore-86f8.rlib","/t/deps/libcore-86f8.rmeta"],"fresh":true}"#,
            r#"{"reason":"compiler-artifact","filenames":["/t/libcuda_std.rlib"],"executable":null}"#,
            r#"{"reason":"build-finished","success":true}"#,
        ];
        let libraries = libraries(&messages.join("\n"));
        let wanted = [("core", "/t/deps/libcore-86f8.rlib"), ("cuda_std", "/t/libcuda_std.rlib")];
        assert_eq!(libraries, wanted.map(|(name, path)| (name.to_owned(), PathBuf::from(path))));
    }
}
