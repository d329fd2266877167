//! What can go wrong between a crate of kernels and its PTX.
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::Arch;

/// An error that says what was found and what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// No such architecture.
    Arch {
        /// The name that was asked for.
        name: String,
    },
    /// The folder holds no crate, or none within a workspace that cargo has locked.
    NoCrate {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        missing: &'static str,
    },
    /// There is no compiler, and no prebuilt PTX of these sources.
    NoCompiler {
        /// The prebuilt file.
        prebuilt: PathBuf,
        /// Each place that was tried, and why it does not serve.
        tried: Vec<String>,
    },
    /// `NEMOTRON_PTX_RUSTC` names something that cannot compile kernels.
    BadCompiler {
        /// What it names.
        rustc: PathBuf,
        /// Why it cannot.
        reason: String,
    },
    /// cargo failed; its own messages went to standard error.
    Cargo {
        /// The crate's folder.
        krate: PathBuf,
        /// The compiler.
        rustc: PathBuf,
        /// How cargo ended.
        status: String,
    },
    /// A kernel calls a function, which the module of a single kernel has not: a driver would refuse it.
    Function {
        /// The crate's folder.
        krate: PathBuf,
        /// The function's symbol.
        function: String,
    },
}

impl Error {
    pub(crate) fn file(path: &Path, error: io::Error) -> Error {
        Error::File { path: path.to_owned(), error }
    }

    /// What is wrong, in one line.
    fn message(&self) -> String {
        match self {
            Error::File { path, error } => format!("{}: {error}", path.display()),
            Error::Arch { name } => format!("no architecture is called {name}"),
            Error::NoCrate { path, missing } => format!("{} holds no crate of kernels", path.join(missing).display()),
            Error::NoCompiler { prebuilt, .. } => {
                format!("{} is not of these sources, and there is no compiler to make it anew", prebuilt.display())
            }
            Error::BadCompiler { rustc, .. } => {
                format!("NEMOTRON_PTX_RUSTC={} cannot compile kernels", rustc.display())
            }
            Error::Cargo { krate, .. } => format!("{} does not compile to PTX", krate.display()),
            Error::Function { krate, .. } => format!("a kernel of {} calls a function", krate.display()),
        }
    }

    fn details(&self) -> Option<String> {
        match self {
            Error::NoCrate { missing, .. } => Some(format!("there is no {missing}")),
            Error::NoCompiler { tried, .. } => Some(format!("looked for one at\n  {}", tried.join("\n  "))),
            Error::BadCompiler { reason, .. } => Some(reason.clone()),
            Error::Cargo { rustc, status, .. } => {
                Some(format!("cargo ended with {status}, compiling with {}", rustc.display()))
            }
            Error::Function { function, .. } => Some(function.clone()),
            Error::File { .. } | Error::Arch { .. } => None,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Arch { .. } => Some(format!("take one of {}", Arch::ALL.map(|arch| arch.name).join(", "))),
            Error::NoCrate { .. } => Some("name the folder of the kernels' Cargo.toml".to_owned()),
            Error::NoCompiler { .. } => Some(
                "do one of these, then try again:\n  \
                 rustup component add rust-src\n  \
                 scripts/fetch-ptx-rustc.sh    (Debian and its kin; unpacks a compiler into target/ptx-rustc)\n  \
                 export NEMOTRON_PTX_RUSTC=<a rustc that has its library source>"
                    .to_owned(),
            ),
            Error::BadCompiler { .. } => Some("unset it, or name a rustc that has its library source".to_owned()),
            Error::Cargo { .. } => Some("the compiler's messages, on standard error, say where".to_owned()),
            Error::Function { .. } => Some(
                "a division, an index or an overflow that may panic calls it: take a divisor that cannot be zero, or a bound \
                 that the compiler can see"
                    .to_owned(),
            ),
            Error::File { .. } => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[ERROR] PTX: {}", self.message())?;
        if let Some(details) = self.details() {
            write!(f, "\nDetails: {details}")?;
        }
        if let Some(hint) = self.hint() {
            write!(f, "\nHint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
