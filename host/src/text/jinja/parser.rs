//! `Parser`: tokens → statements, by Jinja's grammar. Expressions are in `grammar.rs`.
use std::sync::Arc;

use super::ast::{Arguments, Block, Expression, Filter, For, MacroNode, Statement, StatementKind, Target};
use super::fault::{Fault, Kind, Result};
use super::lexer::tokens;
use super::names;
use super::token::{Token, TokenKind};

/// What jinja2 has and no chat template can use: there are no other templates to take from.
const REFUSED: [&str; 6] = ["extends", "include", "import", "from", "block", "autoescape"];

/// The statements of a template.
pub(super) fn parse(source: &str) -> Result<Block> {
    let mut parser =
        Parser { tokens: tokens(source)?, at: 0, depth: 0, links: 0, soft: false, loops: 0, reads: [false; 3] };
    let (block, _) = parser.block(&[])?;
    Ok(block)
}

type Parameters = Vec<(Arc<str>, Option<Expression>)>;

pub(super) struct Parser {
    pub tokens: Vec<Token>,
    pub at: usize,
    pub depth: usize,
    /// Operators of the tag so far.
    pub links: usize,
    /// In a branch: an unknown filter fails only where it is reached.
    pub soft: bool,
    /// Loops around the statement, as far as `break` sees them.
    loops: usize,
    /// Whether `caller`, `varargs`, `kwargs` were read since the current macro began.
    pub reads: [bool; 3],
}

impl Parser {
    /// Statements up to a tag of one of `ends`, or to the end of the template; and that tag's word.
    fn block(&mut self, ends: &[&str]) -> Result<(Block, Arc<str>)> {
        self.deeper(|parser| parser.statements(ends))
    }

    fn statements(&mut self, ends: &[&str]) -> Result<(Block, Arc<str>)> {
        let mut statements = Vec::new();
        loop {
            let line = self.line();
            self.links = 0;
            let kind = match self.kind().clone() {
                TokenKind::Data(text) => {
                    self.advance();
                    StatementKind::Data(text)
                }
                TokenKind::OutputBegin => {
                    self.advance();
                    let value = self.tuple(true)?;
                    self.expect_kind(&TokenKind::OutputEnd)?;
                    StatementKind::Output(value)
                }
                TokenKind::BlockBegin => {
                    self.advance();
                    let word = self.name()?;
                    if ends.contains(&&*word) {
                        return Ok((statements, word));
                    }
                    self.statement(&word, line)?
                }
                TokenKind::End if ends.is_empty() => return Ok((statements, "".into())),
                _ => return Err(self.fault(format!("expected {}", ends.join(" or ")))),
            };
            statements.push(Statement { line, kind });
        }
    }

    fn statement(&mut self, word: &str, line: usize) -> Result<StatementKind> {
        match word {
            "for" => return self.hard(Parser::for_loop),
            "if" => return self.branches(),
            "set" => return self.set(),
            "macro" => return self.hard(Parser::macro_definition),
            "call" => return self.hard(Parser::call_block),
            "filter" => return self.hard(Parser::filter_block),
            "with" => return self.hard(Parser::with),
            "generation" => {
                self.end_tag()?;
                let loops = std::mem::take(&mut self.loops);
                let body = self.hard(|parser| parser.block(&["endgeneration"]))?.0;
                self.loops = loops;
                self.end_tag()?;
                return Ok(StatementKind::Scoped(body));
            }
            _ => (),
        }
        let statement = match word {
            "print" => StatementKind::Output(self.printed()?),
            "break" if self.loops > 0 => StatementKind::Break,
            "continue" if self.loops > 0 => StatementKind::Continue,
            _ if REFUSED.contains(&word) => return Err(Fault::unsupported(format!("'{word}'")).at(line)),
            _ => return Err(Fault::new(Kind::Syntax, format!("Encountered unknown tag '{word}'.")).at(line)),
        };
        self.end_tag()?;
        Ok(statement)
    }

    fn printed(&mut self) -> Result<Expression> {
        let mut values = vec![self.expression()?];
        while self.skip(",") {
            values.push(self.expression()?);
        }
        Ok(if values.len() == 1 { values.remove(0) } else { Expression::Concat(values) })
    }

    fn end_tag(&mut self) -> Result<()> {
        self.expect_kind(&TokenKind::BlockEnd)
    }

    /// Parses what is no branch, though it may stand in one.
    fn hard<T>(&mut self, parse: impl FnOnce(&mut Parser) -> Result<T>) -> Result<T> {
        let soft = std::mem::take(&mut self.soft);
        let parsed = parse(self);
        self.soft = soft;
        parsed
    }

    pub fn softly<T>(&mut self, parse: impl FnOnce(&mut Parser) -> Result<T>) -> Result<T> {
        let soft = std::mem::replace(&mut self.soft, true);
        let parsed = parse(self);
        self.soft = soft;
        parsed
    }

    fn for_loop(&mut self) -> Result<StatementKind> {
        let target = self.target(false)?;
        if matches!(&target, Target::Name(name) if **name == *"loop") {
            return Err(self.fault("can't assign to special loop variable in for-loop target"));
        }
        self.expect_word("in")?;
        let items = self.tuple(false)?;
        let condition = if self.skip_word("if") { Some(self.expression()?) } else { None };
        let recursive = self.skip_word("recursive");
        self.end_tag()?;
        self.loops += 1;
        let (body, end) = self.block(&["endfor", "else"])?;
        self.loops -= 1;
        self.end_tag()?;
        let mut otherwise = Vec::new();
        if &*end == "else" {
            otherwise = self.block(&["endfor"])?.0;
            self.end_tag()?;
        }
        Ok(StatementKind::For(Arc::new(For { target, items, condition, recursive, body, otherwise })))
    }

    fn branches(&mut self) -> Result<StatementKind> {
        self.softly(|parser| {
            let mut branches = Vec::new();
            loop {
                let condition = parser.tuple(false)?;
                parser.end_tag()?;
                let (body, end) = parser.block(&["elif", "else", "endif"])?;
                branches.push((condition, body));
                let mut otherwise = Vec::new();
                match &*end {
                    "elif" => continue,
                    "else" => {
                        parser.end_tag()?;
                        otherwise = parser.block(&["endif"])?.0;
                    }
                    _ => (),
                }
                parser.end_tag()?;
                return Ok(StatementKind::If { branches, otherwise });
            }
        })
    }

    fn set(&mut self) -> Result<StatementKind> {
        let target = self.target(true)?;
        if self.skip("=") {
            let value = self.tuple(true)?;
            self.end_tag()?;
            return Ok(StatementKind::Set { target, value });
        }
        let filters = self.filters()?;
        self.end_tag()?;
        let (body, _) = self.hard(|parser| parser.block(&["endset"]))?;
        self.end_tag()?;
        Ok(StatementKind::SetBlock { target, filters, body })
    }

    fn macro_definition(&mut self) -> Result<StatementKind> {
        let name = self.name()?;
        let parameters = self.signature()?;
        Ok(StatementKind::Macro(Arc::new(self.macro_body(name, parameters, "endmacro")?)))
    }

    fn macro_body(&mut self, name: Arc<str>, parameters: Parameters, end: &str) -> Result<MacroNode> {
        self.end_tag()?;
        let loops = std::mem::take(&mut self.loops);
        let outer = std::mem::take(&mut self.reads);
        let (body, _) = self.block(&[end])?;
        let reads = self.reads;
        // What an inner macro reads counts for the outer one too.
        self.reads = [0, 1, 2].map(|at| outer[at] || reads[at]);
        self.loops = loops;
        self.end_tag()?;
        Ok(MacroNode { name, parameters, body, reads })
    }

    fn signature(&mut self) -> Result<Parameters> {
        self.expect("(")?;
        let mut parameters: Parameters = Vec::new();
        while !self.is(")") {
            if !parameters.is_empty() {
                self.expect(",")?;
            }
            let name = self.name()?;
            let default = if self.skip("=") { Some(self.expression()?) } else { None };
            if default.is_none() && parameters.last().is_some_and(|(_, default)| default.is_some()) {
                return Err(self.fault("non-default argument follows default argument"));
            }
            if parameters.iter().any(|(known, _)| *known == name) {
                return Err(self.fault(format!("duplicate argument '{name}'")));
            }
            if default.is_none() && *name == *"caller" {
                return Err(self.fault("the argument 'caller' must be omitted or have a default"));
            }
            parameters.push((name, default));
        }
        self.expect(")")?;
        Ok(parameters)
    }

    fn call_block(&mut self) -> Result<StatementKind> {
        let parameters = if self.is("(") { self.signature()? } else { Vec::new() };
        let call = self.expression()?;
        if !matches!(call, Expression::Call(..)) {
            return Err(self.fault("expected call"));
        }
        let caller = self.macro_body("caller".into(), parameters, "endcall")?;
        Ok(StatementKind::Call { call, caller: Arc::new(caller) })
    }

    fn filter_block(&mut self) -> Result<StatementKind> {
        let first = self.filter()?;
        let mut filters = vec![first];
        filters.extend(self.filters()?);
        self.end_tag()?;
        let (body, _) = self.block(&["endfilter"])?;
        self.end_tag()?;
        Ok(StatementKind::FilterBlock { filters, body })
    }

    fn with(&mut self) -> Result<StatementKind> {
        let mut names = Vec::new();
        while *self.kind() != TokenKind::BlockEnd {
            if !names.is_empty() {
                self.expect(",")?;
            }
            let target = self.target(false)?;
            self.expect("=")?;
            names.push((target, self.expression()?));
        }
        self.end_tag()?;
        let (body, _) = self.block(&["endwith"])?;
        self.end_tag()?;
        Ok(StatementKind::With { names, body })
    }

    fn filters(&mut self) -> Result<Vec<Filter>> {
        let mut filters = Vec::new();
        while self.skip("|") {
            filters.push(self.filter()?);
        }
        Ok(filters)
    }

    pub fn filter(&mut self) -> Result<Filter> {
        let name = self.name()?;
        if !names::FILTERS.contains(&&*name) && !self.soft {
            return Err(self.fault(format!("No filter named '{name}'.")));
        }
        let arguments = if self.is("(") { self.arguments()? } else { Arguments::default() };
        Ok(Filter { name, arguments })
    }

    /// What a value is given to: a name, names, or `name.attribute` of a namespace.
    fn target(&mut self, with_namespace: bool) -> Result<Target> {
        let mut targets = vec![self.one_target(with_namespace)?];
        let mut is_tuple = false;
        while self.skip(",") {
            is_tuple = true;
            if matches!(self.kind(), TokenKind::BlockEnd | TokenKind::Operator(")")) {
                break;
            }
            targets.push(self.one_target(with_namespace)?);
        }
        Ok(if is_tuple { Target::Tuple(targets) } else { targets.remove(0) })
    }

    fn one_target(&mut self, with_namespace: bool) -> Result<Target> {
        if self.skip("(") {
            let target = self.deeper(|parser| parser.target(with_namespace))?;
            self.expect(")")?;
            return Ok(target);
        }
        let name = self.name()?;
        if ["true", "false", "none", "True", "False", "None"].contains(&&*name) {
            return Err(self.fault("can't assign to a constant"));
        }
        if with_namespace && self.skip(".") {
            return Ok(Target::Attribute(name, self.name()?));
        }
        Ok(Target::Name(name))
    }
}
