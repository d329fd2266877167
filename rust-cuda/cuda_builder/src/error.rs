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
    /// cargo or rustc failed; its own messages went to standard error.
    Compile {
        /// The crate's folder.
        krate: PathBuf,
        /// The compiler.
        rustc: PathBuf,
        /// How it ended.
        status: String,
    },
    /// A kernel calls a function, which the module of a single kernel has not: a driver would refuse it.
    Function {
        /// The crate's folder.
        krate: PathBuf,
        /// The function's symbol.
        function: String,
    },
    /// An entry point that belongs to no kernel, by its name.
    Entry {
        /// The entry point.
        entry: String,
    },
    /// Two kernels declare other things under one name, and stand in one text.
    Declared {
        /// Both declarations.
        lines: [String; 2],
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
            Error::Compile { krate, .. } => format!("{} does not compile to PTX", krate.display()),
            Error::Entry { entry } => format!("the entry point {entry} belongs to no kernel"),
            Error::Declared { .. } => "two kernels declare different things under one name".to_owned(),
            Error::Function { krate, .. } => format!("a kernel of {} calls a function", krate.display()),
        }
    }

    fn details(&self) -> Option<String> {
        match self {
            Error::NoCrate { missing, .. } => Some(format!("there is no {missing}")),
            Error::NoCompiler { tried, .. } => Some(format!("looked for one at\n  {}", tried.join("\n  "))),
            Error::BadCompiler { reason, .. } => Some(reason.clone()),
            Error::Compile { rustc, status, .. } => Some(format!("{} ended with {status}", rustc.display())),
            Error::Declared { lines } => Some(lines.join("\n")),
            Error::Function { function, .. } => Some(function.clone()),
            Error::File { .. } | Error::Arch { .. } | Error::Entry { .. } => None,
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
            Error::Compile { .. } => Some(
                "the compiler's messages, on standard error, say where; a kernel is compiled without the kernels that its code \
                 does not name, as `rms_norm` or `RmsNorm`"
                    .to_owned(),
            ),
            Error::Entry { .. } => Some("begin its name with that of its kernel's file".to_owned()),
            Error::Declared { .. } => Some("give them names of their own".to_owned()),
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
