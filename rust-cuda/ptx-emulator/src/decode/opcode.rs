//! An opcode with its modifiers, each of which must be asked for: what nobody asks for is unknown.

use crate::float::Round;
use crate::parse::ParseError;
use crate::types::Type;

/// Instructions that exist only from sm_90 on (or serve them): known by name, so that other entries of their module run.
const BEYOND: [&str; 15] = [
    "getctarank",
    "tensormap",
    "setmaxnreg",
    "elect",
    "multimem",
    "tcgen05",
    "stackrestore",
    "clusterlaunchcontrol",
    "wmma",
    "surf",
    "suld",
    "sust",
    "tex",
    "tld4",
    "istypep",
];

pub struct Opcode<'a> {
    line: u32,
    text: &'a str,
    pub name: &'a str,
    modifiers: Vec<&'a str>,
    types: Vec<Type>,
}

impl<'a> Opcode<'a> {
    pub fn new(line: u32, text: &'a str) -> Opcode<'a> {
        let mut parts = text.split('.');
        let name = parts.next().unwrap_or("");
        let (types, modifiers): (Vec<&str>, Vec<&str>) = parts.partition(|p| Type::parse(p).is_some());
        let types = types.into_iter().filter_map(Type::parse).collect();
        Opcode { line, text, name, modifiers, types }
    }

    /// Whether this belongs to the instructions that no sm_80 knows.
    pub fn is_beyond(&self) -> bool {
        let has = |m: &str| self.has(m);
        BEYOND.contains(&self.name)
            || (self.name == "cp" && !(has("async") && (has("ca") || has("cg") || is_wait(&self.modifiers))))
            || (self.name == "red" && has("async"))
            || (self.name == "fence" && has("proxy") && !has("async"))
            || has("bulk")
            || (matches!(self.name, "ld" | "atom" | "cvta" | "isspacep") && has("shared::cluster"))
            || (self.name == "st" && has("shared::cluster") && !has("async"))
            || (self.name == "mapa" && !has("shared::cluster"))
            || (self.name == "mbarrier"
                && !matches!(self.modifiers[..], ["init", ..] | ["arrive", "expect_tx", ..])
                && !(has("try_wait") && has("parity")))
    }

    /// Whether the modifier is there and has not been taken.
    pub fn has(&self, modifier: &str) -> bool {
        self.modifiers.contains(&modifier)
    }

    pub fn error<T>(&self, message: impl std::fmt::Display) -> Result<T, ParseError> {
        Err(ParseError::new(self.line, format!("`{}`: {message}", self.text)))
    }

    /// The error of an instruction, or of a form of one, that is not known.
    pub fn unknown<T>(&self) -> Result<T, ParseError> {
        Err(ParseError::new(self.line, format!("unknown instruction `{}`", self.text)))
    }

    /// Takes the modifier if it is there.
    pub fn take(&mut self, modifier: &str) -> bool {
        match self.modifiers.iter().position(|m| *m == modifier) {
            None => false,
            Some(at) => {
                self.modifiers.remove(at);
                true
            }
        }
    }

    /// Takes whichever of the modifiers is there.
    pub fn take_any(&mut self, modifiers: &[&'static str]) -> Option<&'static str> {
        modifiers.iter().find(|m| self.take(m)).copied()
    }

    /// Takes whatever `f` understands of the modifiers, the first one.
    pub fn take_with<T>(&mut self, f: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (at, found) = self.modifiers.iter().enumerate().find_map(|(at, m)| f(m).map(|found| (at, found)))?;
        self.modifiers.remove(at);
        Some(found)
    }

    /// Takes the modifiers that only hint at caching, scope or alignment and change no result.
    pub fn skip_hints(&mut self) {
        const HINTS: [&str; 16] = [
            "ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc", "cta", "cluster", "gpu", "sys", "aligned", "uni", "weak",
            "full",
        ];
        self.modifiers.retain(|m| !HINTS.contains(m) && !m.starts_with("L1::") && !m.starts_with("L2::"));
    }

    /// Takes a rounding modifier; to nearest where there is none.
    pub fn rounding(&mut self) -> Round {
        self.take_with(Round::parse).unwrap_or(Round::Nearest)
    }

    /// Takes the first type.
    pub fn ty(&mut self) -> Result<Type, ParseError> {
        if self.types.is_empty() {
            return self.error("a type is missing");
        }
        Ok(self.types.remove(0))
    }

    /// Checks that nothing of the opcode was left unread.
    pub fn finish(&self) -> Result<(), ParseError> {
        if self.modifiers.is_empty() && self.types.is_empty() { Ok(()) } else { self.unknown() }
    }
}

fn is_wait(modifiers: &[&str]) -> bool {
    modifiers.iter().any(|m| matches!(*m, "commit_group" | "wait_group" | "wait_all"))
}
