//! Runs rustc for one kernel.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::kernels::Kernel;
use crate::{Arch, Compiler, Error, cargo, manifest};

/// The target that kernels are compiled for.
pub(crate) const TARGET: &str = "nvptx64-nvidia-cuda";

/// How kernels are compiled, whatever the workspace's profiles say: whole-program, so that nothing is left to link.
pub(crate) const PROFILE: [(&str, &str); 6] = [
    ("opt-level", "3"),
    ("lto", "fat"),
    ("codegen-units", "1"),
    ("panic", "abort"),
    ("debug-assertions", "false"),
    ("overflow-checks", "false"),
];

/// What all kernels of a crate are compiled with.
pub(crate) struct Rustc<'a> {
    pub(crate) krate: &'a Path,
    arch: Arch,
    compiler: &'a Compiler,
    /// The name of the library, and its edition.
    library: (String, String),
    /// The libraries that the crate depends on, `core` with them, by name.
    libraries: Vec<(String, PathBuf)>,
    /// Where PTX is written.
    folder: PathBuf,
}

impl<'a> Rustc<'a> {
    /// Compiles what the crate depends on, in `target_dir`.
    pub(crate) fn new(
        krate: &'a Path,
        arch: Arch,
        compiler: &'a Compiler,
        target_dir: &Path,
    ) -> Result<Rustc<'a>, Error> {
        let libraries = cargo::dependencies(krate, arch, compiler, target_dir)?;
        let library = (manifest::library_name(krate)?, manifest::edition(krate)?);
        let folder = target_dir.join("kernels");
        Ok(Rustc { krate, arch, compiler, library, libraries, folder })
    }

    /// The PTX of `kernel`, compiled without the kernels `out`, and without the entry points `elsewhere` of those that
    /// it needs.
    pub(crate) fn compile(&self, kernel: &Kernel, out: &[&str], elsewhere: &[&str]) -> Result<String, Error> {
        // A folder for each: rustc's temporary files have the same names.
        let folder = self.folder.join(&kernel.name);
        let mut command = self.command(&folder);
        for (names, value) in [(out, "out"), (elsewhere, "elsewhere")] {
            command.args(names.iter().flat_map(|name| ["--cfg".to_owned(), format!("{name}=\"{value}\"")]));
        }
        let output = command.output().map_err(|e| Error::file(&self.compiler.rustc, e))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            eprintln!("{said}");
            return Err(self.failed(output.status.to_string()));
        }
        // What says no place is about the flags.
        said.split("\n\n").filter(|warning| warning.contains(" --> ")).for_each(|warning| eprintln!("{warning}\n"));
        let ptx = folder.join(format!("{}.s", self.library.0));
        fs::read_to_string(&ptx).map_err(|e| Error::file(&ptx, e))
    }

    fn command(&self, folder: &Path) -> Command {
        let (name, edition) = &self.library;
        let mut command = Command::new(&self.compiler.rustc);
        command.args(["--crate-name", name, "--edition", edition, "--crate-type", "cdylib", "--target", TARGET]);
        command.arg(self.krate.join("src/lib.rs")).arg("--out-dir").arg(folder);
        // Only what is to be linked is optimised together with the crates that it uses; the linker does nothing.
        command.args(["--emit=asm,link", "-Clinker=true"]);
        command.args(PROFILE.map(|(name, value)| format!("-C{name}={value}"))).args(self.arch.flags());
        // A kernel uses only a part of what it shares with others.
        command.args(["-Adead_code", "-Aunused_imports", "-Aunused_features"]);
        for (name, path) in &self.libraries {
            command.arg("--extern").arg(format!("{name}={}", path.display()));
            command.arg("-L").arg(format!("dependency={}", path.parent().unwrap_or(path).display()));
        }
        // The features of cuda_std are unstable; this lets a stable compiler have them.
        command.env("RUSTC_BOOTSTRAP", "1").stdin(Stdio::null());
        command
    }

    fn failed(&self, status: String) -> Error {
        Error::Compile { krate: self.krate.to_owned(), rustc: self.compiler.rustc.clone(), status }
    }
}
