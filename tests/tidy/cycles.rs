//! No file of `host` imports what imports it: a file can be read, and changed, with what it imports alone.
use std::collections::{BTreeMap, BTreeSet};

use super::{assert_none, module_path, paths_behind, sources};

/// The files of a crate by module path, without comments and tests.
type Modules = BTreeMap<String, String>;

/// Names that a module exports again, and the module that each is of.
type Exports = BTreeMap<(String, String), String>;

fn modules() -> Modules {
    let files = sources().into_iter().filter(|(path, _)| !path.ends_with("tests.rs") && !path.ends_with("main.rs"));
    let module = |(path, text): (std::path::PathBuf, String)| {
        let file = module_path(&path).filter(|_| path.to_string_lossy().contains("host/src/"))?;
        let parts = file.iter().map(|part| part.to_string_lossy()).filter(|part| part != "mod" && part != "lib");
        Some((parts.collect::<Vec<_>>().join("::"), code(&text)))
    };
    files.filter_map(module).collect()
}

/// The text without comments, and without the tests at its end.
fn code(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let is_tests = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{');
    let end = lines.windows(2).position(is_tests).unwrap_or(lines.len());
    lines[..end].join("\n")
}

/// The module that a path leads to from the module `from`, with the names that are left of the path.
fn resolve(from: &str, path: &str, modules: &Modules) -> (String, Vec<String>) {
    let mut at = from.to_owned();
    let mut parts = path.split("::").filter(|part| !part.is_empty() && *part != "self").peekable();
    while parts.next_if(|part| *part == "super").is_some() {
        at = parent(&at);
    }
    while let Some(next) = parts.peek().map(|part| inside(&at, part)).filter(|next| modules.contains_key(next)) {
        at = next;
        parts.next();
    }
    (at, parts.map(str::to_owned).collect())
}

fn parent(module: &str) -> String {
    module.rsplit_once("::").map_or(String::new(), |(parent, _)| parent.to_owned())
}

fn inside(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") }
}

/// Every path of a module, from the crate's root or from the module around it, with the module that it starts in.
fn paths(module: &str, code: &str) -> Vec<(String, String)> {
    let from_root = paths_behind("crate::", code).into_iter().map(|(_, path)| (String::new(), path));
    let from_parent = paths_behind("super::", code).into_iter().map(|(_, path)| (parent(module), path));
    from_root.chain(from_parent).collect()
}

/// The code without its `pub use`, and those.
fn split_exports(code: &str) -> (String, Vec<&str>) {
    let mut rest = String::new();
    let mut exports = Vec::new();
    for statement in code.split_inclusive(';') {
        let start = statement.trim_start();
        let behind =
            start.strip_prefix("pub").map(|start| start.trim_start_matches("(crate)").trim_start_matches("(super)"));
        match behind.and_then(|start| start.strip_prefix(" use ")) {
            Some(export) => exports.push(export),
            None => rest.push_str(statement),
        }
    }
    (rest, exports)
}

fn exports(modules: &Modules) -> Exports {
    let mut found = Exports::new();
    for (module, code) in modules {
        for export in split_exports(code).1 {
            let (start, export) = match (export.strip_prefix("crate::"), export.strip_prefix("super::")) {
                (Some(rest), _) => (String::new(), rest),
                (_, Some(rest)) => (parent(module), rest),
                _ => (module.clone(), export),
            };
            let mut paths = Vec::new();
            super::expand("", export, &mut paths);
            for path in paths {
                let (of, names) = resolve(&start, &path, modules);
                names.last().into_iter().for_each(|name| {
                    found.insert((module.clone(), name.clone()), of.clone());
                });
            }
        }
    }
    found
}

/// What each module imports. What a module takes from its own folder does not count: it is made of that.
fn edges(modules: &Modules) -> BTreeMap<&str, BTreeSet<String>> {
    let exports = exports(modules);
    let imported = |module: &str, code: &str| {
        let (code, _) = split_exports(code);
        let mut found = BTreeSet::new();
        for (start, path) in paths(module, &code) {
            let (mut at, names) = resolve(&start, &path, modules);
            // A name may be exported again more than once on its way up.
            while let Some(of) =
                names.first().and_then(|name| exports.get(&(at.clone(), name.clone()))).filter(|of| **of != at)
            {
                at = of.clone();
            }
            if modules.contains_key(&at) && !super::is_within(&at, module) {
                found.insert(at);
            }
        }
        found
    };
    modules.iter().map(|(module, code)| (module.as_str(), imported(module, code))).collect()
}

/// All modules that are imported, directly or not.
fn reached<'e>(from: &str, edges: &'e BTreeMap<&str, BTreeSet<String>>) -> BTreeSet<&'e str> {
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(next) = open.pop() {
        for module in edges.get(next).into_iter().flatten() {
            if found.insert(module.as_str()) {
                open.push(module);
            }
        }
    }
    found
}

/// The modules in cycles, each with those of its imports that lead back to it.
fn cycles(modules: &Modules) -> BTreeMap<String, Vec<String>> {
    let edges = edges(modules);
    let back = |module: &&str| {
        let leads_back = |import: &&String| reached(import, &edges).contains(*module);
        edges[*module].iter().filter(leads_back).cloned().collect::<Vec<_>>()
    };
    edges.keys().map(|module| ((*module).to_owned(), back(module))).filter(|(_, back)| !back.is_empty()).collect()
}

#[test]
fn no_import_leads_back() {
    let found = cycles(&modules());
    let faults = found
        .iter()
        .map(|(module, back)| format!("{module} imports {}, which leads back to it", back.join(", ")))
        .collect();
    assert_none(faults);
}

#[test]
fn a_cycle_is_found_whatever_its_paths_look_like() {
    let files = [
        ("a", "pub use inner::Deep;\nmod inner;"),
        ("a::inner", "use super::super::b::{self, Thing};"),
        ("b", "use crate::{c::{d, e}, f};"),
        ("c", "pub(crate) use d::Late;"),
        ("c::d", "fn x() { crate::a::Deep::new() }\n// use crate::f::Y;"),
        ("c::e", "use super::Late;"),
        ("f", "use crate::c::Late;\n#[cfg(test)]\nmod tests {\n    use crate::g;\n}"),
        ("g", "use crate::f;"),
    ];
    let modules: Modules = files.into_iter().map(|(module, text)| (module.to_owned(), code(text))).collect();
    let found: Vec<String> =
        cycles(&modules).into_iter().map(|(module, back)| format!("{module}: {}", back.join(" "))).collect();
    assert_eq!(found, ["a::inner: b", "b: c::d c::e f", "c::d: a::inner", "c::e: c::d", "f: c::d"]);
}
