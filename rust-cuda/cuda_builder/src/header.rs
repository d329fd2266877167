//! The comment at the top of a PTX file: what it was made from, and by what.
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
}

impl Header {
    /// The header of a file; none where there is no such file or it does not begin with a whole header.
    pub fn read(path: &Path) -> Option<Header> {
        let mut lines = BufReader::new(File::open(path).ok()?).lines();
        let mut field = |name: &str| {
            let line = lines.next()?.ok()?;
            Some(line.strip_prefix("// ")?.strip_prefix(name)?.strip_prefix(": ")?.to_owned())
        };
        Some(Header {
            source: field("source")?,
            compiler: field("compiler")?,
            llvm: field("llvm")?,
            arch: field("arch")?,
        })
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Header { source, compiler, llvm, arch } = self;
        write!(f, "// source: {source}\n// compiler: {compiler}\n// llvm: {llvm}\n// arch: {arch}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let text = |s: &str| s.to_owned();
        Header { source: text("00ff"), compiler: text("rustc 1.96.0 (x)"), llvm: text("22.1.8"), arch: text("sm_80") }
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
        for line in whole.lines() {
            assert_eq!(read_back(&whole.replace(line, "")), None, "without {line}");
        }
        assert_eq!(read_back(""), None);
        assert_eq!(Header::read(Path::new("no/such/file.ptx")), None);
    }
}
