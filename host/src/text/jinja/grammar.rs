//! Expressions of the grammar, from the loosest binding to the tightest.
use std::sync::Arc;

use super::ast::{Arguments, Comparison, Constant, Expression, Filter, Operator};
use super::fault::{Fault, Result};
use super::names;
use super::parser::Parser;
use super::tag::is_name;
use super::token::TokenKind;

impl Parser {
    /// An expression, or several with commas between them.
    pub fn tuple(&mut self, with_condition: bool) -> Result<Expression> {
        let mut items = vec![self.one(with_condition)?];
        let mut is_tuple = false;
        while self.skip(",") {
            is_tuple = true;
            if self.is_tuple_end() {
                break;
            }
            items.push(self.one(with_condition)?);
        }
        Ok(if is_tuple { Expression::Tuple(items) } else { items.remove(0) })
    }

    fn is_tuple_end(&self) -> bool {
        matches!(self.kind(), TokenKind::OutputEnd | TokenKind::BlockEnd | TokenKind::Operator(")"))
            || self.is_word("recursive")
    }

    fn one(&mut self, with_condition: bool) -> Result<Expression> {
        if with_condition { self.expression() } else { self.deeper(Parser::or) }
    }

    pub fn expression(&mut self) -> Result<Expression> {
        self.deeper(|parser| {
            let mut value = parser.or()?;
            while parser.skip_word("if") {
                parser.link()?;
                let condition = parser.softly(Parser::or)?;
                let otherwise = if parser.skip_word("else") { Some(parser.softly(Parser::expression)?) } else { None };
                value = Expression::Conditional(Box::new((condition, value, otherwise)));
            }
            Ok(value)
        })
    }

    /// `parse (separator parse)*`, bound to the left.
    fn chain(
        &mut self,
        parse: fn(&mut Parser) -> Result<Expression>,
        link: impl Fn(&mut Parser) -> Option<fn([Expression; 2]) -> Expression>,
    ) -> Result<Expression> {
        let mut left = parse(self)?;
        while let Some(join) = link(self) {
            self.link()?;
            left = join([left, parse(self)?]);
        }
        Ok(left)
    }

    fn or(&mut self) -> Result<Expression> {
        self.chain(Parser::and, |parser| {
            parser
                .skip_word("or")
                .then_some((|pair| Expression::Or(Box::new(pair))) as fn([Expression; 2]) -> Expression)
        })
    }

    fn and(&mut self) -> Result<Expression> {
        self.chain(Parser::not, |parser| {
            parser
                .skip_word("and")
                .then_some((|pair| Expression::And(Box::new(pair))) as fn([Expression; 2]) -> Expression)
        })
    }

    fn not(&mut self) -> Result<Expression> {
        if self.skip_word("not") {
            return Ok(Expression::Not(Box::new(self.deeper(Parser::not)?)));
        }
        let first = self.sum()?;
        let mut rest = Vec::new();
        while let Some(comparison) = self.comparison() {
            rest.push((comparison, self.sum()?));
        }
        Ok(if rest.is_empty() { first } else { Expression::Compare(Box::new(first), rest) })
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let comparison = match self.kind() {
            TokenKind::Operator("==") => Comparison::Equal,
            TokenKind::Operator("!=") => Comparison::NotEqual,
            TokenKind::Operator("<") => Comparison::Less,
            TokenKind::Operator("<=") => Comparison::LessEqual,
            TokenKind::Operator(">") => Comparison::Greater,
            TokenKind::Operator(">=") => Comparison::GreaterEqual,
            TokenKind::Name(word) if **word == *"in" => Comparison::In,
            TokenKind::Name(word) if **word == *"not" => {
                if !matches!(self.ahead(), TokenKind::Name(word) if **word == *"in") {
                    return None;
                }
                self.advance();
                Comparison::NotIn
            }
            _ => return None,
        };
        self.advance();
        Some(comparison)
    }

    fn sum(&mut self) -> Result<Expression> {
        self.chain(Parser::concat, |parser| {
            let join: fn([Expression; 2]) -> Expression = match parser.kind() {
                TokenKind::Operator("+") => |pair| Expression::Binary(Operator::Add, Box::new(pair)),
                TokenKind::Operator("-") => |pair| Expression::Binary(Operator::Subtract, Box::new(pair)),
                _ => return None,
            };
            parser.advance();
            Some(join)
        })
    }

    fn concat(&mut self) -> Result<Expression> {
        let mut parts = vec![self.product()?];
        while self.skip("~") {
            parts.push(self.product()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::Concat(parts) })
    }

    fn product(&mut self) -> Result<Expression> {
        self.chain(Parser::power, |parser| {
            let join: fn([Expression; 2]) -> Expression = match parser.kind() {
                TokenKind::Operator("*") => |pair| Expression::Binary(Operator::Multiply, Box::new(pair)),
                TokenKind::Operator("/") => |pair| Expression::Binary(Operator::Divide, Box::new(pair)),
                TokenKind::Operator("//") => |pair| Expression::Binary(Operator::FloorDivide, Box::new(pair)),
                TokenKind::Operator("%") => |pair| Expression::Binary(Operator::Modulo, Box::new(pair)),
                _ => return None,
            };
            parser.advance();
            Some(join)
        })
    }

    fn power(&mut self) -> Result<Expression> {
        self.chain(
            |parser| parser.unary(true),
            |parser| {
                let join: fn([Expression; 2]) -> Expression =
                    |pair| Expression::Binary(Operator::Power, Box::new(pair));
                parser.skip("**").then_some(join)
            },
        )
    }

    fn unary(&mut self, with_filters: bool) -> Result<Expression> {
        let value = if self.skip("-") {
            Expression::Negative(Box::new(self.deeper(|parser| parser.unary(false))?))
        } else if self.skip("+") {
            Expression::Positive(Box::new(self.deeper(|parser| parser.unary(false))?))
        } else {
            self.primary()?
        };
        let value = self.postfix(value)?;
        if with_filters { self.filtered(value) } else { Ok(value) }
    }

    fn primary(&mut self) -> Result<Expression> {
        let kind = self.kind().clone();
        self.advance();
        Ok(match kind {
            TokenKind::Name(name) => self.named(&name)?,
            TokenKind::Text(first) => {
                let mut text = first.to_string();
                while let TokenKind::Text(more) = self.kind().clone() {
                    text += &more;
                    self.advance();
                }
                Expression::Constant(Constant::Text(text.into()))
            }
            TokenKind::Int(value) => Expression::Constant(Constant::Int(value)),
            TokenKind::Float(value) => Expression::Constant(Constant::Float(value)),
            TokenKind::Operator("(") => {
                let value = if self.is(")") { Expression::Tuple(Vec::new()) } else { self.tuple(true)? };
                self.expect(")")?;
                value
            }
            TokenKind::Operator("[") => Expression::List(self.items("]", Parser::expression)?),
            TokenKind::Operator("{") => Expression::Dict(self.items("}", |parser| {
                let key = parser.expression()?;
                parser.expect(":")?;
                Ok((key, parser.expression()?))
            })?),
            _ => return self.unexpected(),
        })
    }

    fn named(&mut self, name: &Arc<str>) -> Result<Expression> {
        if !is_name(name) {
            return Err(self.fault(format!("unexpected '{name}'")));
        }
        let constant = match &**name {
            "true" | "True" => Constant::Bool(true),
            "false" | "False" => Constant::Bool(false),
            "none" | "None" => Constant::None,
            "self" | "super" => return Err(Fault::unsupported(format!("'{name}'"))),
            _ => {
                for (read, word) in self.reads.iter_mut().zip(["caller", "varargs", "kwargs"]) {
                    *read |= **name == *word;
                }
                return Ok(Expression::Name(name.clone()));
            }
        };
        Ok(Expression::Constant(constant))
    }

    /// Items with commas between them, up to and with `end`.
    fn items<T>(&mut self, end: &str, parse: impl Fn(&mut Parser) -> Result<T>) -> Result<Vec<T>> {
        let mut items = Vec::new();
        while !self.is(end) {
            if !items.is_empty() {
                self.expect(",")?;
                if self.is(end) {
                    break;
                }
            }
            items.push(parse(self)?);
        }
        self.expect(end)?;
        Ok(items)
    }

    fn postfix(&mut self, mut value: Expression) -> Result<Expression> {
        while matches!(self.kind(), TokenKind::Operator("." | "[" | "(")) {
            self.link()?;
            value = if self.skip(".") {
                self.attribute(value)?
            } else if self.skip("[") {
                let mut items = self.items("]", Parser::subscript)?;
                let index = if items.len() == 1 { items.remove(0) } else { Expression::Tuple(items) };
                Expression::Item(Box::new([value, index]))
            } else {
                Expression::Call(Box::new(value), self.arguments()?)
            };
        }
        Ok(value)
    }

    fn attribute(&mut self, value: Expression) -> Result<Expression> {
        if let TokenKind::Int(index) = *self.kind() {
            self.advance();
            return Ok(Expression::Item(Box::new([value, Expression::Constant(Constant::Int(index))])));
        }
        Ok(Expression::Attribute(Box::new(value), self.name()?))
    }

    fn subscript(&mut self) -> Result<Expression> {
        let mut parts = [None, None, None];
        let mut part = 0;
        loop {
            if !matches!(self.kind(), TokenKind::Operator(":" | "]" | ",")) {
                parts[part] = Some(self.expression()?);
            }
            if part == 2 || !self.skip(":") {
                break;
            }
            part += 1;
        }
        match (part, parts) {
            (0, [Some(index), ..]) => Ok(index),
            (0, _) => self.unexpected(),
            (_, parts) => Ok(Expression::Slice(Box::new(parts))),
        }
    }

    fn filtered(&mut self, mut value: Expression) -> Result<Expression> {
        while self.is("|") || self.is("(") || self.is_word("is") {
            self.link()?;
            value = if self.skip("|") {
                Expression::Filter(Box::new(value), self.filter()?)
            } else if self.skip_word("is") {
                self.test(value)?
            } else {
                Expression::Call(Box::new(value), self.arguments()?)
            };
        }
        Ok(value)
    }

    fn test(&mut self, value: Expression) -> Result<Expression> {
        let negated = self.skip_word("not");
        let name = self.name()?;
        if !names::TESTS.contains(&&*name) && !self.soft {
            return Err(self.fault(format!("No test named '{name}'.")));
        }
        let arguments = if self.is("(") {
            self.arguments()?
        } else if self.begins_argument() {
            if self.is_word("is") {
                return Err(self.fault("You cannot chain multiple tests with is"));
            }
            let value = self.primary()?;
            Arguments { positional: vec![self.postfix(value)?], ..Arguments::default() }
        } else {
            Arguments::default()
        };
        let test = Expression::Test(Box::new(value), Filter { name, arguments });
        Ok(if negated { Expression::Not(Box::new(test)) } else { test })
    }

    fn begins_argument(&self) -> bool {
        match self.kind() {
            TokenKind::Name(word) => !matches!(&**word, "else" | "or" | "and"),
            TokenKind::Operator(operator) => matches!(*operator, "[" | "{"),
            TokenKind::Text(_) | TokenKind::Int(_) | TokenKind::Float(_) => true,
            _ => false,
        }
    }

    pub fn arguments(&mut self) -> Result<Arguments> {
        self.expect("(")?;
        let mut arguments = Arguments::default();
        let mut first = true;
        while !self.is(")") {
            if !std::mem::take(&mut first) {
                self.expect(",")?;
                if self.is(")") {
                    break;
                }
            }
            self.argument(&mut arguments)?;
        }
        self.expect(")")?;
        Ok(arguments)
    }

    fn argument(&mut self, arguments: &mut Arguments) -> Result<()> {
        let (stars, double_stars) = (arguments.star.is_some(), arguments.double_star.is_some());
        let misplaced = |parser: &Parser, wrong: bool| {
            if wrong { Err(parser.fault("invalid syntax for function call expression")) } else { Ok(()) }
        };
        if self.skip("*") {
            misplaced(self, stars || double_stars)?;
            arguments.star = Some(Box::new(self.expression()?));
        } else if self.skip("**") {
            misplaced(self, double_stars)?;
            arguments.double_star = Some(Box::new(self.expression()?));
        } else if let (TokenKind::Name(name), TokenKind::Operator("=")) = (self.kind().clone(), self.ahead()) {
            misplaced(self, double_stars)?;
            self.advance();
            self.advance();
            arguments.named.push((name, self.expression()?));
        } else {
            misplaced(self, stars || double_stars || !arguments.named.is_empty())?;
            arguments.positional.push(self.expression()?);
        }
        Ok(())
    }
}
