//! `Vocabulary`: the words that Tab completes: commands, what may follow them, and file names.
use std::path::Path;

use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

/// The words of a line that is a command.
pub struct Vocabulary {
    /// The commands, each with its slash.
    pub commands: Vec<&'static str>,
    /// Words that may follow a command.
    pub arguments: Vec<(&'static str, Vec<&'static str>)>,
    /// Commands that a file name follows.
    pub files: Vec<&'static str>,
}

impl Vocabulary {
    /// Where the word begins that `typed` ends with, and what it may become.
    fn candidates(&self, typed: &str) -> (usize, Vec<String>) {
        let like = |words: &[&str], begun: &str| -> Vec<String> {
            words.iter().filter(|word| word.starts_with(begun)).map(|word| format!("{word} ")).collect()
        };
        let Some((command, rest)) = typed.split_once(' ') else {
            return (0, if typed.starts_with('/') { like(&self.commands, typed) } else { Vec::new() });
        };
        let start = command.len() + 1;
        if self.files.contains(&command) {
            return (start, file_names(rest));
        }
        let words = self.arguments.iter().find(|(of, _)| *of == command);
        (start, words.map_or_else(Vec::new, |(_, words)| like(words, rest)))
    }
}

/// Paths that begin as `begun` does; those of directories end with a slash.
fn file_names(begun: &str) -> Vec<String> {
    let cut = begun.rfind('/').map_or(0, |at| at + 1);
    let (folder, name) = begun.split_at(cut);
    let home = || std::env::var("HOME").unwrap_or_default();
    let looked_at = match folder.strip_prefix("~/") {
        Some(rest) => format!("{}/{rest}", home()),
        None if folder.is_empty() => ".".to_owned(),
        None => folder.to_owned(),
    };
    let Ok(entries) = Path::new(&looked_at).read_dir() else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let found = entry.file_name().into_string().ok()?;
            let hidden = found.starts_with('.') && !name.starts_with('.');
            let slash = if entry.path().is_dir() { "/" } else { "" };
            (found.starts_with(name) && !hidden).then(|| format!("{folder}{found}{slash}"))
        })
        .collect();
    names.sort();
    names
}

impl Completer for Vocabulary {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, words) = self.candidates(&line[..at]);
        let pair = |word: String| Pair { display: word.trim_end().to_owned(), replacement: word };
        Ok((start, words.into_iter().map(pair).collect()))
    }
}

impl Hinter for Vocabulary {
    type Hint = String;
}

impl Highlighter for Vocabulary {}
impl Validator for Vocabulary {}
impl Helper for Vocabulary {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_their_words_and_files_are_completed() {
        let words = Vocabulary {
            commands: vec!["/save", "/set", "/help"],
            arguments: vec![("/set", vec!["top_k", "top_p", "seed"])],
            files: vec!["/save"],
        };
        let found = |typed: &str| words.candidates(typed);
        assert_eq!(found("/s"), (0, vec!["/save ".into(), "/set ".into()]));
        assert_eq!(found("/set top"), (5, vec!["top_k ".into(), "top_p ".into()]));
        assert_eq!((found("hello"), found("/help x").1), ((0, vec![]), vec![]));
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("talk one.json"), "").unwrap();
        std::fs::write(directory.path().join(".talk"), "").unwrap();
        std::fs::create_dir(directory.path().join("talks")).unwrap();
        let folder = format!("{}/", directory.path().display());
        let all = vec![format!("{folder}talk one.json"), format!("{folder}talks/")];
        assert_eq!(found(&format!("/save {folder}")), (6, all.clone()));
        assert_eq!(found(&format!("/save {folder}talk ")), (6, all[..1].to_vec()));
        assert_eq!(found("/save /no/such/").1, Vec::<String>::new());
    }
}
