//! The text of a PTX file as parts: what it declares, and its entry points, which may come from several compilations.
use std::collections::BTreeMap;

use crate::Error;

/// What each entry point begins with in LLVM's text.
const START: &str = "\t// .globl\t";

/// A label of an entry point is `$L__BB`, the number of the entry point, `_`, the number of the block.
const LABEL: &str = "$L__BB";

/// How a comment begins that is a directive of the entry it stands in: instructions are all that Rust can write.
const DIRECTIVE: &str = "//entry: ";

/// PTX in parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Module {
    /// Version, target and size of addresses.
    preamble: String,
    /// Shared memory and constants, by name.
    declarations: BTreeMap<String, String>,
    /// The entry points by name.
    entries: BTreeMap<String, String>,
}

impl Module {
    /// The parts of LLVM's text; an error names a function, which the module of a single kernel has not.
    pub(crate) fn parse(text: &str) -> Result<Module, String> {
        if let Some(name) = function(text) {
            return Err(name);
        }
        let mut parts = text.split(START);
        let mut module = Module::default();
        for line in parts.next().unwrap_or_default().lines().filter(|line| !line.is_empty() && !line.starts_with("//"))
        {
            if [".version ", ".target ", ".address_size "].iter().any(|start| line.starts_with(start)) {
                module.preamble.push_str(&format!("{line}\n"));
            } else {
                module.declarations.insert(declared_name(line).to_owned(), line.to_owned());
            }
        }
        for part in parts {
            let (name, body) = part.split_once('\n').unwrap_or((part, ""));
            module.entries.insert(name.to_owned(), format!("{}\n", hoisted(body.trim_matches('\n'))));
        }
        Ok(module)
    }

    /// The names of the entry points.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Bytes of the entry points with these names.
    pub(crate) fn len(&self, wanted: impl Fn(&str) -> bool) -> usize {
        self.entries.iter().filter(|(name, _)| wanted(name)).map(|(_, body)| body.len()).sum()
    }

    /// The entry points with these names, and what they use.
    pub(crate) fn only(&self, wanted: impl Fn(&str) -> bool) -> Module {
        let entries: BTreeMap<_, _> = self
            .entries
            .iter()
            .filter(|(name, _)| wanted(name))
            .map(|(name, body)| (name.clone(), body.clone()))
            .collect();
        let used = |name: &str| entries.values().any(|body| body.contains(name));
        let declarations = self.declarations.iter().filter(|(name, _)| used(name));
        let declarations = declarations.map(|(name, line)| (name.clone(), line.clone())).collect();
        Module { preamble: self.preamble.clone(), declarations, entries }
    }

    /// Adds the parts of another module.
    pub(crate) fn join(&mut self, other: Module) -> Result<(), Error> {
        self.preamble = other.preamble;
        for (name, line) in other.declarations {
            let before = self.declarations.insert(name, line.clone());
            if let Some(before) = before.filter(|before| *before != line) {
                return Err(Error::Declared { lines: [before, line] });
            }
        }
        self.entries.extend(other.entries);
        Ok(())
    }

    /// The text: declarations and entry points by name, whatever compilation they come from.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("\n{}\n", self.preamble);
        text.extend(self.declarations.values().map(|line| format!("{line}\n")));
        for (number, (name, body)) in self.entries.iter().enumerate() {
            text.push_str(&format!("\n{START}{name}\n{}", with_number(body, number)));
        }
        text
    }
}

/// The last word of a declaration before its size or value.
fn declared_name(line: &str) -> &str {
    let head = line.split(['[', '=', ';']).next().unwrap_or(line).trim_end();
    head.rsplit([' ', '\t']).next().unwrap_or(head)
}

/// A function of its own in the PTX, for example one that panics.
fn function(text: &str) -> Option<String> {
    let name = text.lines().find_map(|line| line.trim_start_matches(".extern ").strip_prefix(".func "))?;
    Some(name.trim_end_matches(['(', ')', ';']).to_owned())
}

/// The body with the labels of the entry point that is the `number`th.
fn with_number(body: &str, number: usize) -> String {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let Some(at) = body.find(LABEL).map(|at| at + LABEL.len()) else { return body.to_owned() };
    let old = format!("{LABEL}{}_", &body[at..at + digits(&body[at..])]);
    let new = format!("{LABEL}{number}_");
    if old == new { body.to_owned() } else { body.replace(&old, &new) }
}

/// An entry with its directives in front of its body.
fn hoisted(entry: &str) -> String {
    let directive = |line: &str| line.trim_start().strip_prefix(DIRECTIVE).map(str::to_owned);
    let directives: Vec<String> = entry.lines().filter_map(directive).chain(["{".to_owned()]).collect();
    let lines = entry.lines().filter(|line| directive(line).is_none());
    let lines: Vec<String> =
        lines.map(|line| if line == "{" { directives.join("\n") } else { line.to_owned() }).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests;
