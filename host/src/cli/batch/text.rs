//! `Text`: a file or stdin, line by line, no line longer than is wanted. An object may stand over several lines, as
//! pretty-printers write it.
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, stdin};
use std::path::Path;

use crate::error::{Category, Error, Result, size};

/// What an editor may put in front of a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A text that was opened.
pub struct Text {
    name: String,
    reader: Box<dyn BufRead + Send>,
    is_file: bool,
}

/// What was read.
pub enum Read {
    /// The text at a line, without its end.
    Line(u64, String),
    /// A line that is no text, and why.
    Bad(u64, String),
    /// Reading failed: nothing follows.
    Failed(u64, io::Error),
}

impl Read {
    /// Bytes of the text.
    pub fn bytes(&self) -> usize {
        if let Read::Line(_, text) = self { text.len() } else { 0 }
    }
}

impl Text {
    /// Opens a file, or stdin for `-`.
    ///
    /// # Errors
    /// It is a directory, cannot be opened, or is a JSON array; stdin is something else already.
    pub fn open(path: &Path) -> Result<Text> {
        if path == Path::new("-") {
            super::super::stdin::take("batch")?;
            return Ok(Text { name: "stdin".to_owned(), reader: Box::new(BufReader::new(stdin())), is_file: false });
        }
        let open = || {
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            if metadata.is_dir() {
                return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
            }
            Ok((BufReader::new(file), metadata.is_file()))
        };
        let (mut reader, is_file) = open().map_err(|error| unreadable(path, &error))?;
        if is_file && begins_array(reader.fill_buf().map_err(|error| unreadable(path, &error))?) {
            return Err(Error::new(Category::Input, "The batch is a JSON array")
                .details(format_args!("{}: expected a prompt or an object per line, found [", path.display()))
                .hint("write each object in a line of its own, without the brackets: jq -c '.[]' does"));
        }
        Ok(Text { name: path.display().to_string(), reader: Box::new(reader), is_file })
    }

    /// The file's name, or `stdin`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a file with an end, not a pipe.
    pub fn is_file(&self) -> bool {
        self.is_file
    }

    /// Its lines but blank ones, each of at most `most` bytes.
    pub fn lines(self, most: usize) -> impl Iterator<Item = Read> {
        let mut lines = TextLines { reader: self.reader, most, number: 0, ahead: VecDeque::new(), failed: false };
        std::iter::from_fn(move || lines.next())
    }
}

/// Whether a text begins as an array of objects or of texts does.
fn begins_array(text: &[u8]) -> bool {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text).trim_ascii_start();
    let Some(inside) = text.strip_prefix(b"[") else { return false };
    matches!(inside.trim_ascii_start().first(), Some(b'{' | b'['))
        || inside.first().is_some_and(|byte| b"\r\n".contains(byte))
}

struct TextLines {
    reader: Box<dyn BufRead + Send>,
    most: usize,
    number: u64,
    /// Lines that were read to see where an object ends.
    ahead: VecDeque<Read>,
    failed: bool,
}

impl TextLines {
    fn next(&mut self) -> Option<Read> {
        match self.line()? {
            Read::Line(number, text) if text.trim_end() == "{" => Some(self.object(number, text)),
            read => Some(read),
        }
    }

    /// The next line that is not blank.
    fn line(&mut self) -> Option<Read> {
        if let Some(read) = self.ahead.pop_front() {
            return Some(read);
        }
        while !self.failed {
            let mut line = Vec::new();
            self.number += 1;
            match read_line(&mut *self.reader, self.most, &mut line) {
                Ok(0) => return None,
                Ok(bytes) if bytes > self.most => {
                    let what = format!("it has {}, a line may have {}", size(bytes as u64), size(self.most as u64));
                    return Some(Read::Bad(self.number, what));
                }
                Ok(_) => {
                    let text = plain(&line, self.number);
                    if !text.trim_ascii().is_empty() {
                        return Some(self.utf8(text));
                    }
                }
                Err(error) => {
                    self.failed = true;
                    return Some(Read::Failed(self.number, error));
                }
            }
        }
        None
    }

    fn utf8(&self, line: &[u8]) -> Read {
        match str::from_utf8(line) {
            Ok(text) => Read::Line(self.number, text.to_owned()),
            Err(error) => {
                let what = format!("byte {} of the line starts no character of UTF-8", error.valid_up_to());
                Read::Bad(self.number, what)
            }
        }
    }

    /// The object that begins with a brace alone in a line: indented lines belong to it, up to the brace that ends it.
    /// Where other lines follow it is no object, and each line is what it is.
    fn object(&mut self, number: u64, first: String) -> Read {
        let mut parts = vec![(number, first)];
        let mut bytes = 0;
        while let Some(read) = self.line() {
            match read {
                Read::Line(at, text) if text.starts_with([' ', '\t']) && bytes + text.len() <= self.most => {
                    bytes += text.len() + 1;
                    parts.push((at, text));
                }
                Read::Line(_, text) if text.starts_with('}') => {
                    let lines = parts.iter().map(|(_, part)| part.as_str()).chain([text.as_str()]);
                    return Read::Line(number, lines.collect::<Vec<_>>().join("\n"));
                }
                other => {
                    self.ahead.push_front(other);
                    break;
                }
            }
        }
        for (at, text) in parts.drain(1..).rev() {
            self.ahead.push_front(Read::Line(at, text));
        }
        Read::Line(number, parts.remove(0).1)
    }
}

/// A line without its end, and the first without a byte order mark.
fn plain(line: &[u8], number: u64) -> &[u8] {
    let line = if number == 1 { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line) } else { line };
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Reads up to the end of a line, and keeps at most `most` bytes of it; returns how many it has, 0 at the end of the text.
fn read_line(reader: &mut dyn BufRead, most: usize, line: &mut Vec<u8>) -> io::Result<usize> {
    let mut bytes = 0;
    loop {
        let buffer = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            buffer => buffer?,
        };
        let end = buffer.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let taken = end.unwrap_or(buffer.len());
        bytes += taken;
        if bytes <= most {
            line.extend(&buffer[..taken]);
        } else {
            line.clear();
        }
        reader.consume(taken);
        if end.is_some() || taken == 0 {
            return Ok(bytes);
        }
    }
}

/// The error of a batch that cannot be read.
pub fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::new(Category::Io, "The batch cannot be read")
        .details(format_args!("{}: {error}", path.display()))
        .hint("name a text file with --batch, or - for stdin")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers and texts of what is read.
    fn read(content: &str, most: usize) -> Vec<(u64, String)> {
        let reader = Box::new(BufReader::with_capacity(3, io::Cursor::new(content.to_owned())));
        let text = Text { name: "x".into(), reader, is_file: true };
        let said = |read| match read {
            Read::Line(number, text) => (number, text),
            Read::Bad(number, what) => (number, format!("bad: {what}")),
            Read::Failed(number, error) => (number, format!("failed: {error}")),
        };
        text.lines(most).map(said).collect()
    }

    fn numbered(lines: &[(u64, &str)]) -> Vec<(u64, String)> {
        lines.iter().map(|(number, text)| (*number, (*text).to_owned())).collect()
    }

    #[test]
    fn marks_blank_lines_and_line_ends_are_no_text() {
        let lines = read("\u{feff}one\r\n\r\n \t\n  two \n\nthree", 99);
        assert_eq!(lines, numbered(&[(1, "one"), (4, "  two "), (6, "three")]));
        assert_eq!(read("\u{feff}\r\n", 99), []);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_not_kept() {
        let lines = read(&format!("one\n{}\ntwo\n{}", "x".repeat(1500), "y".repeat(9)), 8);
        let long = "bad: it has 1.5 kB, a line may have 8 B";
        assert_eq!(lines, numbered(&[(1, "one"), (2, long), (3, "two"), (4, "bad: it has 9 B, a line may have 8 B")]));
    }

    #[test]
    fn an_object_may_stand_over_several_lines() {
        let pretty = "{\n  \"a\": [\n    1\n  ]\n}";
        assert_eq!(read(&format!("{pretty}\n\nx\r\n{pretty}"), 99), numbered(&[(1, pretty), (7, "x"), (8, pretty)]));
        assert_eq!(read("{\n  a\nb\n}", 99), numbered(&[(1, "{"), (2, "  a"), (3, "b"), (4, "}")]));
        assert_eq!(read("{\n  a\n", 99), numbered(&[(1, "{"), (2, "  a")]));
        assert_eq!(read("{\n{\"a\": 1}\n", 99), numbered(&[(1, "{"), (2, "{\"a\": 1}")]));
    }

    #[test]
    fn arrays_are_known_by_their_beginning() {
        assert!(["[{\"prompt\"", "\u{feff} \n[\n  {", "[ {", "[["].iter().all(|text| begins_array(text.as_bytes())));
        assert!(["[INST] Hi", "{", "", "[1] says", "[ ] buy milk"].iter().all(|text| !begins_array(text.as_bytes())));
    }
}
