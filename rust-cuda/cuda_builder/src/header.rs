//! The comment at the top of a PTX file: what it was made from, and by what.
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// What a PTX file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Hash of the sources and flags.
    pub source: String,
    /// `rustc --version`.
    pub compiler: String,
    /// Version of its LLVM.
    pub llvm: String,
    /// The architecture.
    pub arch: String,
    /// For each kernel the hash of what it alone is made from.
    pub kernels: BTreeMap<String, String>,
}

impl Header {
    /// The header of a file; none where there is no such file or it does not begin with a whole header.
    pub fn read(path: &Path) -> Option<Header> {
        let mut lines = BufReader::new(File::open(path).ok()?).lines();
        let mut field = |name: &str| {
            let line = lines.next()?.ok()?;
            Some(line.strip_prefix("// ")?.strip_prefix(name)?.strip_prefix(": ")?.to_owned())
        };
        let (source, compiler, llvm, arch) = (field("source")?, field("compiler")?, field("llvm")?, field("arch")?);
        let kernels = std::iter::from_fn(|| {
            let line = field("kernel")?;
            line.rsplit_once(' ').map(|(name, hash)| (name.to_owned(), hash.to_owned()))
        });
        let kernels = kernels.collect();
        Some(Header { source, compiler, llvm, arch, kernels })
    }

    /// Whether the same compiler made both, for the same architecture.
    pub(crate) fn is_by_same(&self, other: &Header) -> bool {
        let maker = |header: &Header| [&header.compiler, &header.llvm, &header.arch].map(String::clone);
        maker(self) == maker(other)
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Header { source, compiler, llvm, arch, kernels } = self;
        write!(f, "// source: {source}\n// compiler: {compiler}\n// llvm: {llvm}\n// arch: {arch}\n")?;
        kernels.iter().try_for_each(|(name, hash)| writeln!(f, "// kernel: {name} {hash}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let text = |s: &str| s.to_owned();
        let kernels = [("gemv", "0a"), ("rms_norm", "0b")].map(|(name, hash)| (text(name), text(hash)));
        Header {
            source: text("00ff"),
            compiler: text("rustc 1.96.0 (x)"),
            llvm: text("22.1.8"),
            arch: text("sm_80"),
            kernels: kernels.into(),
        }
    }

    fn read_back(text: &str) -> Option<Header> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Header::read(file.path())
    }

    #[test]
    fn a_header_is_read_back() {
        assert_eq!(read_back(&format!("{}\n.version 7.4\n", header())), Some(header()));
        assert_eq!(read_back(&header().to_string().replace('\n', "\r\n")), Some(header()));
    }

    #[test]
    fn a_file_without_a_whole_header_has_none() {
        let whole = header().to_string();
        for line in whole.lines().take(4) {
            assert_eq!(read_back(&whole.replace(line, "")), None, "without {line}");
        }
        assert_eq!(read_back(""), None);
        assert_eq!(Header::read(Path::new("no/such/file.ptx")), None);
    }
}
