//! Names and what they stand for, scope in scope.

use super::{Decoder, Label};
use crate::lanes::Reg;
use crate::parse::{ParseError, Space};
use crate::types::{Class, Type};
use std::collections::HashMap;

#[derive(Clone)]
pub enum Symbol {
    Register(Type, Reg),
    /// A variable's address within its state space.
    Address(Space, u64),
    Label(Label),
    Targets(Vec<String>),
}

/// The innermost scope is last; the first holds the module's names.
pub struct Scopes(Vec<HashMap<String, Symbol>>);

impl Default for Scopes {
    fn default() -> Scopes {
        Scopes(vec![HashMap::new()])
    }
}

impl Scopes {
    pub fn open(&mut self) {
        self.0.push(HashMap::new());
    }

    pub fn close(&mut self) {
        self.0.pop();
    }

    pub fn declare(&mut self, name: &str, symbol: Symbol) {
        if let Some(scope) = self.0.last_mut() {
            scope.insert(name.to_string(), symbol);
        }
    }

    pub fn find(&self, name: &str) -> Option<&Symbol> {
        self.0.iter().rev().find_map(|scope| scope.get(name))
    }
}

impl Decoder<'_> {
    /// The register called `name`, which must be of `class`.
    pub fn named(&self, name: &str, class: Class) -> Result<Reg, ParseError> {
        match self.register(name)? {
            (_, reg) if reg.class == class => Ok(reg),
            (ty, _) => self.error(format!("register `{name}` is of type {ty:?}, but {class:?} is needed here")),
        }
    }

    pub fn register(&self, name: &str) -> Result<(Type, Reg), ParseError> {
        match self.scopes.find(name) {
            Some(Symbol::Register(ty, reg)) => Ok((*ty, *reg)),
            Some(_) => self.error(format!("`{name}` is not a register")),
            None => self.error(format!("unknown name `{name}`")),
        }
    }

    pub fn label(&self, name: &str) -> Result<Label, ParseError> {
        match self.scopes.find(name) {
            Some(Symbol::Label(label)) => Ok(*label),
            _ => self.error(format!("unknown label `{name}`")),
        }
    }
}
