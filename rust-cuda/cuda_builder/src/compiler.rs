//! Finds a rustc that can compile kernels: one with the library source of its own version, since `core` is built too.
use std::env;
use std::ffi::OsString;
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
    /// component `rust-src`); `target/ptx-rustc/rustc` below `root`, which `scripts/fetch-ptx-rustc.sh` makes.
    ///
    /// What the variable names is never passed over in silence: if it does not serve, that is the error.
    pub fn find(root: &Path, prebuilt: &Path) -> Result<Compiler, Error> {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
        search(env::var_os(VARIABLE), rustc, root, prebuilt, Compiler::probe)
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
    root: &Path,
    prebuilt: &Path,
    probe: impl Fn(&Path) -> Result<Compiler, String>,
) -> Result<Compiler, Error> {
    if let Some(named) = named.filter(|name| !name.is_empty()) {
        let rustc = PathBuf::from(named);
        return probe(&rustc).map_err(|reason| Error::BadCompiler { rustc, reason });
    }
    let mut tried = vec![format!("{VARIABLE}: not set")];
    for rustc in [PathBuf::from(rustc), root.join("target/ptx-rustc/rustc")] {
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
mod tests {
    use super::*;

    /// Searches below the folder `root`, where the compilers in `complete` have their library source.
    fn search_among(complete: &[&str], named: Option<&str>) -> Result<Compiler, Error> {
        let probe = |rustc: &Path| match complete.iter().find(|name| Path::new(name) == rustc) {
            Some(name) => Ok(Compiler { rustc: rustc.to_owned(), version: name.to_string(), llvm: String::new() }),
            None => Err("its library source is missing".to_owned()),
        };
        search(named.map(OsString::from), "active".into(), Path::new("root"), Path::new("prebuilt/sm_80.ptx"), probe)
    }

    #[test]
    fn the_named_compiler_comes_first_then_the_active_then_the_unpacked() {
        const UNPACKED: &str = "root/target/ptx-rustc/rustc";
        let found = |complete: &[&str], named| search_among(complete, named).unwrap().version;
        assert_eq!(found(&["named", "active", UNPACKED], Some("named")), "named");
        assert_eq!(found(&["named", "active", UNPACKED], None), "active");
        assert_eq!(found(&["named", "active", UNPACKED], Some("")), "active");
        assert_eq!(found(&["named", UNPACKED], None), UNPACKED);
    }

    #[test]
    fn a_named_compiler_that_does_not_serve_is_an_error() {
        let error = search_among(&["active"], Some("bare")).unwrap_err().to_string();
        assert!(error.starts_with("[ERROR] PTX: NEMOTRON_PTX_RUSTC=bare cannot compile kernels"), "{error}");
        assert!(error.contains("its library source is missing"), "{error}");
    }

    #[test]
    fn no_compiler_at_all_names_every_place_and_every_way_out() {
        let error = search_among(&[], None).unwrap_err().to_string();
        for part in [
            "prebuilt/sm_80.ptx is not of these sources",
            "NEMOTRON_PTX_RUSTC: not set",
            "active: its library source is missing",
            "target/ptx-rustc/rustc: ",
            "rustup component add rust-src",
            "scripts/fetch-ptx-rustc.sh",
        ] {
            assert!(error.contains(part), "{part:?} is missing in\n{error}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_told_from_one_without_source() {
        assert!(Compiler::probe(Path::new("no/such/rustc")).is_err_and(|reason| !reason.contains("source")));
    }
}
