//! From text to statements: tokens, declarations and instructions, with the line of each kept.

mod body;
mod lexer;
mod module;
mod operand;
mod tokens;

use crate::types::Type;
pub use module::parse;

/// A module's text that could not be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Line of the PTX text, from 1.
    pub line: u32,
    /// What was expected or is not known.
    pub message: String,
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PTX line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ParseError {}

impl ParseError {
    pub(crate) fn new(line: u32, message: impl Into<String>) -> ParseError {
        ParseError { line, message: message.into() }
    }
}

/// State space of a declared variable or of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Space {
    Generic,
    Global,
    Const,
    Shared,
    Local,
    Param,
}

/// One element of an initialiser.
#[derive(Clone, Debug)]
pub enum Initial {
    /// Bits of a number, to be cut to the element's width.
    Bits(u64),
    /// Address of a symbol plus an offset.
    Address(String, i64),
}

/// A declared variable or parameter.
#[derive(Clone, Debug)]
pub struct Variable {
    pub space: Space,
    pub name: String,
    pub ty: Type,
    pub align: usize,
    /// Elements; 0 for `name[]`, whose size comes from elsewhere.
    pub count: usize,
    /// `.extern`: defined elsewhere; for `.shared`, the dynamic shared memory.
    pub is_extern: bool,
    pub initial: Vec<Initial>,
    pub line: u32,
}

impl Variable {
    pub fn bytes(&self) -> usize {
        self.count * self.ty.bytes()
    }
}

/// An operand as written.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A register, special register, label or symbol.
    Name(String),
    /// A symbol and a byte offset.
    Offset(String, i64),
    /// An integer, two's complement.
    Int(i128),
    /// `0f…`: bits of a 32-bit float.
    F32(u32),
    /// `0d…` or decimal: bits of a 64-bit float.
    F64(u64),
    /// `{a, b, …}`
    Vector(Vec<Operand>),
    /// `[base + offset]`
    Address(Box<Operand>, i64),
    /// `a|b`
    Pair(Box<Operand>, Box<Operand>),
    /// `!p`
    Not(Box<Operand>),
    /// `(a, b, …)` of a call
    List(Vec<Operand>),
}

impl Operand {
    fn names(&self, symbol: &str) -> bool {
        match self {
            Operand::Name(name) | Operand::Offset(name, _) => name == symbol,
            Operand::Int(_) | Operand::F32(_) | Operand::F64(_) => false,
            Operand::Vector(all) | Operand::List(all) => all.iter().any(|one| one.names(symbol)),
            Operand::Address(of, _) | Operand::Not(of) => of.names(symbol),
            Operand::Pair(one, other) => one.names(symbol) || other.names(symbol),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Instruction {
    pub line: u32,
    /// Register of the guard and whether it is negated.
    pub guard: Option<(String, bool)>,
    /// The opcode with its modifiers, as written.
    pub opcode: String,
    pub operands: Vec<Operand>,
}

#[derive(Clone, Debug)]
pub enum Statement {
    Open,
    Close,
    Label(String),
    /// `.reg .b32 %r<9>` (Some(9)) or `.reg .b32 x` (None)
    Register(Type, String, Option<u32>),
    Variable(Variable),
    /// `name: .branchtargets a, b;`
    Targets(String, Vec<String>),
    Instruction(Instruction),
}

/// An `.entry` or a `.func`.
#[derive(Clone, Debug)]
pub struct Function {
    pub name: String,
    pub is_entry: bool,
    pub results: Vec<Variable>,
    pub params: Vec<Variable>,
    pub body: Option<Vec<Statement>>,
}

impl Function {
    /// Whether an operand of its instructions is `symbol`, or a place in it.
    pub fn names(&self, symbol: &str) -> bool {
        let mut instructions =
            self.body.iter().flatten().filter_map(|s| if let Statement::Instruction(i) = s { Some(i) } else { None });
        instructions.any(|instruction| instruction.operands.iter().any(|operand| operand.names(symbol)))
    }
}

/// A whole module as written.
#[derive(Clone, Debug, Default)]
pub struct Source {
    pub functions: Vec<Function>,
    pub variables: Vec<Variable>,
}
