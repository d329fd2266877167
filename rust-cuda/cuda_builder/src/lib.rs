//! Compiles a crate of GPU kernels to PTX, from a build script; rust-cuda's `cuda_builder`, on rustc's own NVPTX backend.
//!
//! ```no_run
//! # fn main() -> Result<(), cuda_builder::Error> {
//! let ptx = cuda_builder::CudaBuilder::new("../gpu-kernels").arch("sm_80").copy_to("kernels.ptx").build()?;
//! println!("{} by {}", ptx.path.display(), ptx.header.compiler);
//! # Ok(())
//! # }
//! ```
//!
//! A crate may ship its PTX as `prebuilt/<arch>.ptx`. The file records the hash of the sources it was made from, and is
//! used as long as they have that hash; otherwise the crate is compiled, which takes a rustc with the library source of
//! its own version ([`Compiler::find`] says where it is looked for). So a fresh clone builds with stable Rust alone, and
//! an edited kernel is always the one that runs.
//!
//! Each kernel, a module of the crate's root that calls `kernel!`, is compiled by itself, several at a time. The file also
//! records the hash of what each kernel was made from, so that an edit compiles only the kernels that it reaches. For that
//! the crate leaves out the kernels that the builder names: `#[cfg(not(gemv = "out"))] pub mod gemv;`.
mod arch;
mod cargo;
mod compile;
mod compiler;
mod error;
mod header;
mod kernels;
mod manifest;
mod promote;
mod ptx;
mod rustc;
mod sources;

use std::fs;
use std::path::{Path, PathBuf};

pub use arch::Arch;
pub use compiler::Compiler;
pub use error::Error;
pub use header::Header;
pub use promote::{Promoted, promote};

use compile::{Compilation, Known};
use rustc::Rustc;
use sources::Source;

/// How a crate of kernels becomes PTX.
#[derive(Clone, Debug)]
pub struct CudaBuilder {
    krate: PathBuf,
    arch: String,
    copy_to: Option<PathBuf>,
    target_dir: Option<PathBuf>,
    use_prebuilt: bool,
}

/// PTX that stands for the sources as they are.
#[derive(Clone, Debug)]
pub struct Ptx {
    /// The file.
    pub path: PathBuf,
    /// What the file says of itself.
    pub header: Header,
    /// Whether it was compiled just now, and not prebuilt.
    pub compiled: bool,
}

impl CudaBuilder {
    /// Builds the crate in folder `krate`, relative to the working directory, for `sm_80`.
    pub fn new(krate: impl AsRef<Path>) -> CudaBuilder {
        let krate = krate.as_ref().to_owned();
        CudaBuilder { krate, arch: "sm_80".to_owned(), copy_to: None, target_dir: None, use_prebuilt: true }
    }

    /// Builds for this architecture, one of [`Arch::ALL`].
    pub fn arch(mut self, arch: &str) -> CudaBuilder {
        self.arch = arch.to_owned();
        self
    }

    /// Also writes the PTX to `path`, unless it is there already.
    pub fn copy_to(mut self, path: impl AsRef<Path>) -> CudaBuilder {
        self.copy_to = Some(path.as_ref().to_owned());
        self
    }

    /// Compiles in this folder instead of `target/ptx` beside the crate's `Cargo.lock`.
    pub fn target_dir(mut self, path: impl AsRef<Path>) -> CudaBuilder {
        self.target_dir = Some(path.as_ref().to_owned());
        self
    }

    /// Whether a prebuilt file serves where its hash is that of the sources; so unless told.
    pub fn use_prebuilt(mut self, yes: bool) -> CudaBuilder {
        self.use_prebuilt = yes;
        self
    }

    /// Finds or makes the PTX.
    pub fn build(&self) -> Result<Ptx, Error> {
        let arch = Arch::named(&self.arch)?;
        let sources = sources::read(&self.krate)?;
        let prebuilt = self.prebuilt_path();
        let mut ptx = match Header::read(&prebuilt) {
            Some(header) if self.use_prebuilt && header.source == sources::hash(&sources, arch) => {
                Ptx { path: prebuilt, header, compiled: false }
            }
            _ => self.compile(arch, &sources, self.use_prebuilt)?,
        };
        if let Some(copy) = &self.copy_to {
            write_if_changed(copy, &read(&ptx.path)?)?;
            ptx.path = copy.clone();
        }
        Ok(ptx)
    }

    /// The PTX that a chip runs, for example `sm_90a`: promoted where the chip knows more.
    pub fn text(&self, chip: &str) -> Result<String, Error> {
        let text = read(&self.build()?.path)?;
        let promoted = Promoted::ALL.into_iter().find(|promoted| promoted.name() == chip);
        Ok(promoted.map_or_else(|| text.clone(), |to| promote(&text, to)))
    }

    /// Compiles all kernels and replaces the crate's prebuilt file; says whether that changed it.
    pub fn refresh_prebuilt(&self) -> Result<bool, Error> {
        let ptx = self.compile(Arch::named(&self.arch)?, &sources::read(&self.krate)?, false)?;
        write_if_changed(&self.prebuilt_path(), &read(&ptx.path)?)
    }

    /// Whether the prebuilt file is of the sources as they are.
    pub fn is_prebuilt(&self) -> Result<bool, Error> {
        let source = sources::hash(&sources::read(&self.krate)?, Arch::named(&self.arch)?);
        Ok(Header::read(&self.prebuilt_path()).is_some_and(|header| header.source == source))
    }

    /// Where the crate's prebuilt file for this architecture is, or would be.
    pub fn prebuilt_path(&self) -> PathBuf {
        self.krate.join("prebuilt").join(format!("{}.ptx", self.arch))
    }

    /// The architectures that a crate ships prebuilt PTX for, sorted: those that its users build.
    pub fn prebuilt_archs(krate: impl AsRef<Path>) -> Result<Vec<String>, Error> {
        let folder = krate.as_ref().join("prebuilt");
        let mut archs = Vec::new();
        for file in sources::files(&folder)? {
            if file.extension().is_some_and(|e| e == "ptx") {
                archs.extend(file.file_stem().and_then(|s| s.to_str()).map(str::to_owned));
            }
        }
        Ok(archs)
    }

    /// The files and folders that decide what [`CudaBuilder::build`] gives: what a build script names to cargo.
    pub fn watched(&self) -> Result<Vec<PathBuf>, Error> {
        let mut paths = sources::roots(&self.krate)?;
        paths.push(self.krate.join("prebuilt"));
        paths.retain(|path| path.exists());
        Ok(paths)
    }

    fn compile(&self, arch: Arch, sources: &[Source], reuse: bool) -> Result<Ptx, Error> {
        let root = manifest::workspace_root(&self.krate)?;
        let compiler = Compiler::find(&self.krate, &self.prebuilt_path())?;
        let target_dir = self.target_dir.clone().unwrap_or_else(|| root.join("target/ptx")).join(arch.name);
        let path = target_dir.join(format!("{}.ptx", manifest::library_name(&self.krate)?));
        let kernels = kernels::find(sources, arch);
        let header = Header {
            source: sources::hash(sources, arch),
            compiler: compiler.version.clone(),
            llvm: compiler.llvm.clone(),
            arch: arch.name.to_owned(),
            kernels: compile::hashes(&kernels),
        };
        let known = [self.prebuilt_path(), path.clone()].into_iter().filter_map(|path| Known::read(&path));
        let known = known.filter(|known| known.header.is_by_same(&header)).collect();
        let rustc = Rustc::new(&self.krate, arch, &compiler, &target_dir)?;
        let text = Compilation { rustc, kernels: &kernels, known }.text(reuse)?;
        write_if_changed(&path, &format!("{header}{text}"))?;
        Ok(Ptx { path, header, compiled: true })
    }
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|e| Error::file(path, e))
}

/// Writes a file unless it holds `text` already, so that nothing that depends on it is built anew; says whether it did.
pub fn write_if_changed(path: &Path, text: &str) -> Result<bool, Error> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(false);
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|e| Error::file(folder, e))?;
    }
    fs::write(path, text).map_err(|e| Error::file(path, e))?;
    Ok(true)
}
