//! Finds a rustc that can compile kernels: one with the library source of its own version, since `core` is built too.
use std::env;
use std::ffi::OsString;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// The environment variable that names the compiler to use.
pub const VARIABLE: &str = "NEMOTRON_PTX_RUSTC";

/// A rustc that can compile kernels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// The program.
    pub rustc: PathBuf,
    /// `rustc --version`.
    pub version: String,
    /// Version of its LLVM.
    pub llvm: String,
}

impl Compiler {
    /// The first of: what `NEMOTRON_PTX_RUSTC` names; the rustc that compiles everything else (rustup's, where it has the
    /// component `rust-src`); `target/ptx-rustc/rustc` below a folder around `krate`, which `scripts/fetch-ptx-rustc.sh`
    /// makes. `prebuilt` is what could not serve, for the error.
    ///
    /// What the variable names is never passed over in silence: if it does not serve, that is the error.
    pub fn find(krate: &Path, prebuilt: &Path) -> Result<Compiler, Error> {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
        let krate = std::path::absolute(krate).map_err(|e| Error::file(krate, e))?;
        search(env::var_os(VARIABLE), rustc, &krate, prebuilt, Compiler::probe)
    }

    fn probe(rustc: &Path) -> Result<Compiler, String> {
        let library = PathBuf::from(output(rustc, &["--print", "sysroot"])?).join("lib/rustlib/src/rust/library");
        if !library.join("core/src/lib.rs").is_file() {
            return Err(format!("its library source is missing: {}", library.display()));
        }
        let about = output(rustc, &["--version", "--verbose"])?;
        let llvm = about.lines().find_map(|line| line.strip_prefix("LLVM version: "));
        Ok(Compiler {
            rustc: rustc.to_owned(),
            version: about.lines().next().unwrap_or_default().to_owned(),
            llvm: llvm.unwrap_or("unknown").to_owned(),
        })
    }
}

fn search(
    named: Option<OsString>,
    rustc: OsString,
    krate: &Path,
    prebuilt: &Path,
    probe: impl Fn(&Path) -> Result<Compiler, String>,
) -> Result<Compiler, Error> {
    if let Some(named) = named.filter(|name| !name.is_empty()) {
        let rustc = PathBuf::from(named);
        return probe(&rustc).map_err(|reason| Error::BadCompiler { rustc, reason });
    }
    let mut tried = vec![format!("{VARIABLE}: not set")];
    let unpacked = krate.ancestors().map(|folder| folder.join("target/ptx-rustc/rustc")).find(|path| path.exists());
    if unpacked.is_none() {
        tried.push("target/ptx-rustc/rustc: not there".to_owned());
    }
    for rustc in iter::once(PathBuf::from(rustc)).chain(unpacked) {
        match probe(&rustc) {
            Ok(compiler) => return Ok(compiler),
            Err(reason) => tried.push(format!("{}: {reason}", rustc.display())),
        }
    }
    Err(Error::NoCompiler { prebuilt: prebuilt.to_owned(), tried })
}

fn output(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output().map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(format!("`{}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests;
