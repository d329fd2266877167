//! Operands of instructions.

use super::{Operand, ParseError, lexer::Token, tokens::Tokens};

/// One operand, with the destination pairs `a|b` joined.
pub fn operand(tokens: &mut Tokens) -> Result<Operand, ParseError> {
    let first = single(tokens)?;
    if tokens.accept('|') {
        return Ok(Operand::Pair(Box::new(first), Box::new(single(tokens)?)));
    }
    Ok(first)
}

fn single(tokens: &mut Tokens) -> Result<Operand, ParseError> {
    match tokens.peek() {
        Some(Token::Punct('{')) => Ok(Operand::Vector(enclosed(tokens, '{', '}')?)),
        Some(Token::Punct('(')) => Ok(Operand::List(enclosed(tokens, '(', ')')?)),
        Some(Token::Punct('[')) => address(tokens),
        Some(Token::Punct('!')) => {
            tokens.next();
            Ok(Operand::Not(Box::new(single(tokens)?)))
        }
        Some(Token::Word(word)) => {
            tokens.next();
            match offset(tokens)? {
                0 => Ok(Operand::Name(word.to_string())),
                offset => Ok(Operand::Offset(word.to_string(), offset)),
            }
        }
        _ => number(tokens),
    }
}

fn number(tokens: &mut Tokens) -> Result<Operand, ParseError> {
    let negative = tokens.accept('-');
    let operand = match tokens.peek() {
        Some(Token::Int(value)) => Operand::Int(if negative { -i128::from(value) } else { i128::from(value) }),
        Some(Token::F32(bits)) => Operand::F32(bits ^ (u32::from(negative) << 31)),
        Some(Token::F64(bits)) => Operand::F64(bits ^ (u64::from(negative) << 63)),
        _ => return tokens.error(format!("expected an operand, found {}", tokens.shown())),
    };
    tokens.next();
    Ok(operand)
}

fn enclosed(tokens: &mut Tokens, open: char, close: char) -> Result<Vec<Operand>, ParseError> {
    tokens.expect(open)?;
    let mut items = Vec::new();
    while !tokens.accept(close) {
        items.push(operand(tokens)?);
        if !tokens.accept(',') {
            tokens.expect(close)?;
            break;
        }
    }
    Ok(items)
}

fn address(tokens: &mut Tokens) -> Result<Operand, ParseError> {
    tokens.expect('[')?;
    let base = match single(tokens)? {
        Operand::Offset(name, offset) => Operand::Address(Box::new(Operand::Name(name)), offset),
        base => Operand::Address(Box::new(base), offset(tokens)?),
    };
    if tokens.accept(',') {
        // Coordinates of a tensor copy.
        let rest = operand(tokens)?;
        tokens.expect(']')?;
        return Ok(Operand::List(vec![base, rest]));
    }
    tokens.expect(']')?;
    Ok(base)
}

/// `+8`, `-8`, `+-8`, or nothing (0).
fn offset(tokens: &mut Tokens) -> Result<i64, ParseError> {
    let plus = tokens.accept('+');
    let minus = tokens.accept('-');
    if !plus && !minus {
        return Ok(0);
    }
    let value = tokens.int()? as i64;
    Ok(if minus { -value } else { value })
}
