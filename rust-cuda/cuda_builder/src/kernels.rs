//! The kernels of a crate, and for each the files that its PTX is made from.
//!
//! A kernel is a module of the crate's root that calls `kernel!`, with all files of its folder. It is compiled without
//! the kernels that it does not need, so a kernel that it needs unnoticed is an error of the compiler.
use std::collections::{BTreeMap, BTreeSet};

use crate::Arch;
use crate::sources::{self, Source};

/// A kernel, or the whole of a crate whose kernels are not in modules of their own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// The module; empty for a whole crate.
    pub(crate) name: String,
    /// The kernels that its code names, directly or not, without itself.
    pub(crate) needs: BTreeSet<String>,
    /// Hash of all files and flags that its PTX is made from.
    pub(crate) hash: String,
}

/// The crate's kernels by name.
pub(crate) fn find(sources: &[Source], arch: Arch) -> Vec<Kernel> {
    let mut words: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut modules = BTreeSet::new();
    for source in sources.iter().filter(|source| source.own) {
        let code = std::str::from_utf8(&source.bytes).unwrap_or_default();
        words.entry(module(source)).or_default().extend(words_of(code));
        if code.contains("kernel! {") && source.name != "lib.rs" {
            modules.insert(module(source));
        }
    }
    if modules.is_empty() {
        let hash = sources::hash(sources, arch);
        return vec![Kernel { name: String::new(), needs: BTreeSet::new(), hash }];
    }
    // What a file of all kernels names, every kernel needs. The root names each because it declares it.
    let shared = words.iter().filter(|(module, _)| !modules.contains(*module) && **module != "lib");
    let shared: BTreeSet<&str> = shared.flat_map(|(_, words)| named(words, &modules)).collect();
    let kernel = |name: &&str| {
        let mut needs = shared.clone();
        needs.insert(*name);
        close(&mut needs, &words, &modules);
        let hash = sources::hash(sources.iter().filter(|source| counts(source, &modules, &needs)), arch);
        let needs = needs.iter().filter(|need| *need != name).map(|need| (*need).to_owned()).collect();
        Kernel { name: (*name).to_owned(), needs, hash }
    };
    modules.iter().map(kernel).collect()
}

/// The kernel of an entry point, which has its kernel's name, or that and a variant: `gemv`, `gemv_narrow`.
pub(crate) fn owner<'k>(kernels: &'k [Kernel], entry: &str) -> Option<&'k Kernel> {
    let owns = |name: &str| {
        let rest = entry.strip_prefix(name);
        name.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    };
    let owners = kernels.iter().filter(|kernel| owns(&kernel.name));
    owners.max_by_key(|kernel| kernel.name.len())
}

/// The module of the crate's root that a file belongs to.
fn module(source: &Source) -> &str {
    let first = source.name.split('/').next().unwrap_or_default();
    first.strip_suffix(".rs").unwrap_or(first)
}

fn counts(source: &Source, modules: &BTreeSet<&str>, needs: &BTreeSet<&str>) -> bool {
    !source.own || !modules.contains(module(source)) || needs.contains(module(source))
}

/// Adds what is needed by those that are needed.
fn close<'s>(needs: &mut BTreeSet<&'s str>, words: &BTreeMap<&str, BTreeSet<&'s str>>, modules: &BTreeSet<&'s str>) {
    let mut open: Vec<&str> = needs.iter().copied().collect();
    while let Some(next) = open.pop() {
        for name in words.get(next).into_iter().flat_map(|words| named(words, modules)) {
            if needs.insert(name) {
                open.push(name);
            }
        }
    }
}

/// The kernels that code of these words names: by the module, or by the struct that the root exports again.
fn named<'s>(words: &BTreeSet<&'s str>, modules: &BTreeSet<&'s str>) -> Vec<&'s str> {
    let is_named = |module: &&&str| words.contains(**module) || words.contains(camel_case(module).as_str());
    modules.iter().filter(is_named).copied().collect()
}

/// `rms_norm` as `RmsNorm`.
fn camel_case(module: &str) -> String {
    let capital = |part: &str| part[..1].to_uppercase() + &part[1..];
    module.split('_').filter(|part| !part.is_empty()).map(capital).collect()
}

/// The words of code, without those of its comments.
fn words_of(code: &str) -> impl Iterator<Item = &str> {
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_')).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests;
