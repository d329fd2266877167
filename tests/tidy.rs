//! Taste, tested: first lines, sizes, names, who imports whom, and that no listed kernel lacks a part.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "tidy/cycles.rs"]
mod cycles;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const MOST_LINES: usize = 400;
const MOST_FUNCTION_LINES: usize = 60;

/// Modules of `host` and `backend`, and what each may import besides itself and `error`. Tests beside the code may import anything.
const IMPORTS: [(&str, &[&str]); 16] = [
    ("server", &["session"]),
    ("bench", &["checkpoint", "device", "engine", "forward", "models", "quantized", "session", "synthetic", "weights"]),
    ("synthetic", &["checkpoint", "device", "models", "quantized", "text", "weights"]),
    ("export", &["checkpoint", "device", "files", "models", "quantized", "weights"]),
    ("engine", &["forward", "sample", "models", "device"]),
    ("forward", &["models", "sample", "device"]),
    ("sample", &["device"]),
    ("weights", &["checkpoint", "models", "quantized", "device"]),
    ("models", &["checkpoint", "quantized"]),
    ("quantized", &["checkpoint", "device"]),
    ("cpu", &["device"]),
    ("device", &[]),
    ("checkpoint", &["files"]),
    ("text", &["files"]),
    ("traffic", &[]),
    ("files", &[]),
];

/// Parts of a module that it keeps to itself, and who else may import them.
const GUARDED: [(&str, &[&str]); 1] = [("device::cuda", &["device", "session", "cli"])];

/// Names that several public types of `host` and `backend` have.
const SHARED_NAMES: [&str; 4] = ["Activation", "Arguments", "Finish", "Progress"];

/// Files in folders that hold this project's own Rust code.
fn sources() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for folder in ["backend", "gpu-kernels", "host", "rust-cuda", "tests", "benches"] {
        collect(&Path::new(ROOT).join(folder), &mut files);
    }
    files.push(Path::new(ROOT).join("build.rs"));
    files.sort();
    let read = |path: PathBuf| fs::read_to_string(&path).ok().map(|text| (path, text));
    files.into_iter().filter_map(read).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn name(path: &Path) -> String {
    path.strip_prefix(ROOT).unwrap_or(path).display().to_string()
}

fn assert_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_first_line_says_what_a_file_is() {
    let bad = sources().into_iter().filter(|(_, text)| !text.starts_with("//! "));
    assert_none(bad.map(|(path, _)| format!("{}: the first line is no `//! …`", name(&path))).collect());
}

#[test]
fn files_and_functions_are_short() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() > MOST_LINES {
            faults.push(format!("{}: {} lines, at most {MOST_LINES}", name(&path), lines.len()));
        }
        let long = functions(&lines).into_iter().filter(|(_, length)| *length > MOST_FUNCTION_LINES);
        faults.extend(long.map(|(start, length)| format!("{}:{start}: a function of {length} lines", name(&path))));
    }
    assert_none(faults);
}

/// First line and length of every function, found by its closing brace at the indentation of its `fn`.
fn functions(lines: &[&str]) -> Vec<(usize, usize)> {
    let indentation = |line: &str| line.len() - line.trim_start().len();
    let is_function = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().take(6).collect();
        !line.trim_start().starts_with("//")
            && words.contains(&"fn")
            && ![";", "{}"].iter().any(|end| line.trim_end().ends_with(end))
    };
    let starts = lines.iter().enumerate().filter(|(_, line)| is_function(line));
    let length = |(start, line): (usize, &&str)| {
        let end = format!("{}}}", " ".repeat(indentation(line)));
        let length = lines[start..].iter().position(|line| line.trim_end() == end);
        (start + 1, length.map_or(1, |length| length + 1))
    };
    starts.map(length).collect()
}

/// Every path behind a `crate::` in `text`, braces written out, with its line: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn imports(text: &str) -> Vec<(usize, String)> {
    paths_behind("crate::", text)
}

fn paths_behind(word: &str, text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, word) in text.match_indices(word) {
        let line = text[..at].lines().count();
        let begun = text[..at].rsplit('\n').next().unwrap_or_default();
        let within = begun.ends_with(|c: char| c == '$' || c == ':' || c == '_' || c.is_alphanumeric());
        if !within && !begun.trim_start().starts_with("//") {
            let mut paths = Vec::new();
            expand("", &text[at + word.len()..], &mut paths);
            found.extend(paths.into_iter().map(|path| (line.max(1), path)));
        }
    }
    found
}

/// Appends the paths that `text` starts with, each behind `prefix`; returns what follows them.
fn expand<'a>(prefix: &str, text: &'a str, paths: &mut Vec<String>) -> &'a str {
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let end = text.find(|c| !part(c)).unwrap_or(text.len());
    let (path, mut rest) = (format!("{prefix}{}", &text[..end]), &text[end..]);
    if !rest.starts_with('{') || !(path.is_empty() || path.ends_with("::")) {
        paths.push(path.trim_end_matches(':').to_owned());
        return rest;
    }
    rest = &rest[1..];
    loop {
        rest = expand(&path, rest.trim_start(), paths).trim_start_matches(|c| c != ',' && c != '}');
        match rest.strip_prefix(',') {
            Some(next) if !next.trim_start().starts_with('}') => rest = next,
            _ => return rest.find('}').map_or("", |end| &rest[end + 1..]),
        }
    }
}

#[test]
fn imports_are_found_whole() {
    let text =
        "use crate::a;\nuse crate::b::{self, c, d::{e, f}};\n// crate::g\n  $crate::h; call(crate::i::j(k), crate::l);";
    let found: Vec<String> = imports(text).into_iter().map(|(line, path)| format!("{line} {path}")).collect();
    assert_eq!(found, ["1 a", "2 b::self", "2 b::c", "2 b::d::e", "2 b::d::f", "4 i::j", "4 l"]);
}

/// Whether `path` is `of` or lies below it.
fn is_within(path: &str, of: &str) -> bool {
    path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The path of a source file of `host` or `backend` below its `src`, without an ending.
fn module_path(path: &Path) -> Option<PathBuf> {
    let below = ["host/src", "backend/src"].iter().find_map(|root| path.strip_prefix(Path::new(ROOT).join(root)).ok());
    below.map(|path| path.with_extension(""))
}

#[test]
fn modules_import_what_the_table_allows() {
    let mut faults = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| !path.ends_with("tests.rs")) {
        let Some(file) = module_path(&path) else { continue };
        let module = file.iter().next().and_then(|part| part.to_str()).unwrap_or_default();
        let allowed = IMPORTS.iter().find(|(listed, _)| *listed == module).map(|(_, allowed)| *allowed);
        for (line, imported) in imports(&text) {
            let may = |listed: &&str| is_within(&imported, listed);
            let own = [module, "error"];
            let known = allowed.is_none_or(|allowed| allowed.iter().chain(&own).any(may));
            let guarded = GUARDED.iter().any(|(guarded, to)| is_within(&imported, guarded) && !to.contains(&module));
            if !known || guarded {
                faults.push(format!("{}:{line}: `{module}` may not import `{imported}`", name(&path)));
            }
        }
    }
    assert_none(faults);
}

#[test]
fn a_public_type_has_a_name_of_its_own() {
    let mut owners: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| module_path(path).is_some()) {
        for line in text.lines() {
            let mut words = line.trim_start().split(|c: char| !(c.is_alphanumeric() || c == '_'));
            let is_type = ["struct", "enum", "trait", "type", "union"];
            if let (Some("pub"), Some(kind), Some(found)) = (words.next(), words.next(), words.next())
                && is_type.contains(&kind)
            {
                owners.entry(found.to_owned()).or_default().push(name(&path));
            }
        }
    }
    owners.retain(|_, files| files.len() > 1);
    let unlisted = owners.iter().filter(|(found, _)| !SHARED_NAMES.contains(&found.as_str()));
    let mut faults: Vec<String> = unlisted.map(|(found, files)| format!("`{found}`: {}", files.join(", "))).collect();
    let gone = SHARED_NAMES.iter().filter(|listed| !owners.contains_key(**listed));
    faults.extend(gone.map(|listed| format!("`{listed}` has one owner now: take it off the list")));
    assert_none(faults);
}

#[test]
fn the_device_side_knows_nothing_of_the_host() {
    let bad = sources().into_iter().filter(|(path, text)| {
        let name = name(path);
        (name.starts_with("gpu-kernels") || name.starts_with("rust-cuda")) && text.contains("nemotron::")
    });
    assert_none(bad.map(|(path, _)| format!("{} names `nemotron`", name(&path))).collect());
}

#[test]
fn no_file_is_a_drawer() {
    let drawers = ["utils.rs", "util.rs", "common.rs", "helpers.rs", "misc.rs"];
    let bad = sources().into_iter().filter(|(path, _)| drawers.iter().any(|drawer| path.ends_with(drawer)));
    assert_none(bad.map(|(path, _)| name(&path)).collect());
}

#[test]
fn nothing_is_left_for_later() {
    let words = [
        "TO".to_string() + "DO",
        "FIX".to_string() + "ME",
        "to".to_string() + "do!(",
        "unimpl".to_string() + "emented!(",
    ];
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let bad = text.lines().enumerate().filter(|(_, line)| words.iter().any(|word| line.contains(word.as_str())));
        faults.extend(bad.map(|(number, line)| format!("{}:{}: {}", name(&path), number + 1, line.trim())));
    }
    assert_none(faults);
}

macro_rules! kernel_files {
    ($($file:ident $kernel:ident,)*) => { [$(stringify!($file),)*] };
}

#[test]
fn every_kernel_has_doc_block_entry_point_reference_and_rows() {
    let sections =
        ["# Formula", "# Arguments", "# Launch", "# Requires", "# Moves", "# Numerics"].map(|s| format!("//! {s}\n"));
    let mut faults = Vec::new();
    for kernel in gpu_kernels::for_each_kernel!(kernel_files) {
        let read = |file: String| fs::read_to_string(Path::new(ROOT).join(file)).unwrap_or_default();
        let source = read(format!("gpu-kernels/src/{kernel}.rs"));
        let found: Vec<_> = sections.iter().map(|section| source.find(section.as_str())).collect();
        if !found.is_sorted() || found.contains(&None) {
            faults.push(format!("{kernel}: the doc block lacks a section or has them in another order"));
        }
        let entry = read(format!("gpu-kernels/src/{kernel}/entry.rs"));
        if ![&source, &entry].iter().any(|file| file.contains("kernel!") || file.contains("ptx-kernel")) {
            faults.push(format!("{kernel}: no entry point"));
        }
        for place in ["backend/src/cpu", "tests/kernels"] {
            if read(format!("{place}/{kernel}.rs")).is_empty() {
                faults.push(format!("{kernel}: {place}/{kernel}.rs is missing"));
            }
        }
    }
    assert_none(faults);
}
