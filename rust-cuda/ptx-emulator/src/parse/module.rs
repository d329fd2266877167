//! Module-level declarations: variables, entries and functions.

use super::{Function, Initial, ParseError, Source, Space, Variable, body, lexer, lexer::Token, tokens::Tokens};
use crate::types::Type;

/// Parses a whole PTX module.
pub fn parse(text: &str) -> Result<Source, ParseError> {
    let mut tokens = Tokens::new(lexer::lex(text)?);
    let mut source = Source::default();
    while tokens.peek().is_some() {
        item(&mut tokens, &mut source)?;
    }
    Ok(source)
}

fn item(tokens: &mut Tokens, source: &mut Source) -> Result<(), ParseError> {
    let mut is_extern = false;
    loop {
        match tokens.peek() {
            Some(Token::Word(".visible" | ".weak" | ".common")) => drop(tokens.next()),
            Some(Token::Word(".extern")) => {
                is_extern = true;
                tokens.next();
            }
            _ => break,
        }
    }
    match tokens.peek() {
        Some(Token::Word(".version" | ".target" | ".address_size" | ".file" | ".loc")) => tokens.skip_line(),
        Some(Token::Word(".pragma" | ".alias")) => tokens.skip_through(';'),
        Some(Token::Word(".section")) => tokens.skip_through('}'),
        Some(Token::Word(".entry" | ".func")) => source.functions.push(function(tokens)?),
        Some(Token::Word(".global" | ".const" | ".shared")) => {
            source.variables.extend(variables(tokens, is_extern)?);
        }
        Some(Token::Punct(';')) => drop(tokens.next()),
        _ => return tokens.error(format!("expected a declaration, found {}", tokens.shown())),
    }
    Ok(())
}

fn function(tokens: &mut Tokens) -> Result<Function, ParseError> {
    let is_entry = tokens.word()? == ".entry";
    let results = if tokens.peek() == Some(Token::Punct('(')) { parameters(tokens)? } else { Vec::new() };
    let name = tokens.word()?.to_string();
    let params = if tokens.peek() == Some(Token::Punct('(')) { parameters(tokens)? } else { Vec::new() };
    loop {
        match tokens.peek() {
            Some(Token::Punct('{')) => {
                let body = Some(body::body(tokens)?);
                return Ok(Function { name, is_entry, results, params, body });
            }
            Some(Token::Punct(';')) => {
                tokens.next();
                return Ok(Function { name, is_entry, results, params, body: None });
            }
            Some(Token::Word(
                ".maxntid" | ".reqntid" | ".minnctapersm" | ".maxnctapersm" | ".maxnreg" | ".noreturn"
                | ".maxclusterrank" | ".explicitcluster" | ".reqnctapercluster",
            )) => {
                tokens.next();
                while matches!(tokens.peek(), Some(Token::Int(_) | Token::Punct(','))) {
                    tokens.next();
                }
            }
            Some(Token::Word(".pragma")) => tokens.skip_through(';'),
            _ => return tokens.error(format!("expected the body of `{name}`, found {}", tokens.shown())),
        }
    }
}

fn parameters(tokens: &mut Tokens) -> Result<Vec<Variable>, ParseError> {
    tokens.expect('(')?;
    let mut params = Vec::new();
    while !tokens.accept(')') {
        params.push(variable(tokens, false)?);
        if !tokens.accept(',') {
            tokens.expect(')')?;
            break;
        }
    }
    Ok(params)
}

/// `.space .align n .type name[…] = …, name…;`
pub fn variables(tokens: &mut Tokens, is_extern: bool) -> Result<Vec<Variable>, ParseError> {
    let mut found = vec![variable(tokens, is_extern)?];
    while tokens.accept(',') {
        let mut next = found[0].clone();
        declarator(tokens, &mut next)?;
        found.push(next);
    }
    tokens.expect(';')?;
    Ok(found)
}

fn variable(tokens: &mut Tokens, is_extern: bool) -> Result<Variable, ParseError> {
    let line = tokens.line();
    let space = match tokens.word()? {
        ".global" => Space::Global,
        ".const" => Space::Const,
        ".shared" => Space::Shared,
        ".local" => Space::Local,
        ".param" | ".reg" => Space::Param,
        other => return tokens.error(format!("expected a state space, found `{other}`")),
    };
    let (mut align, mut ty, mut is_pointer, mut lanes) = (None, None, false, 1);
    while let Some(Token::Word(word)) = tokens.peek() {
        let Some(modifier) = word.strip_prefix('.') else { break };
        tokens.next();
        match modifier {
            "align" if is_pointer => drop(tokens.int()?),
            "align" => align = Some(tokens.int()? as usize),
            "ptr" => is_pointer = true,
            "global" | "shared" | "const" | "local" if is_pointer => {}
            "v2" => lanes = 2,
            "v4" => lanes = 4,
            "attribute" => tokens.skip_through(')'),
            _ => match Type::parse(modifier) {
                Some(found) => ty = Some(found),
                None => return tokens.error(format!("unknown type or modifier `.{modifier}`")),
            },
        }
    }
    let Some(ty) = ty else { return tokens.error("a variable without a type") };
    let align = align.unwrap_or(ty.bytes() * lanes);
    let mut variable =
        Variable { space, name: String::new(), ty, align, count: lanes, is_extern, initial: Vec::new(), line };
    declarator(tokens, &mut variable)?;
    Ok(variable)
}

fn declarator(tokens: &mut Tokens, variable: &mut Variable) -> Result<(), ParseError> {
    variable.name = tokens.word()?.to_string();
    while tokens.accept('[') {
        if tokens.accept(']') {
            variable.count = 0;
        } else {
            variable.count *= tokens.int()? as usize;
            tokens.expect(']')?;
        }
    }
    if tokens.accept('=') {
        initialiser(tokens, &mut variable.initial)?;
        if variable.count == 0 {
            variable.count = variable.initial.len();
        }
    }
    Ok(())
}

fn initialiser(tokens: &mut Tokens, initial: &mut Vec<Initial>) -> Result<(), ParseError> {
    if tokens.accept('{') {
        while !tokens.accept('}') {
            initialiser(tokens, initial)?;
            tokens.accept(',');
        }
        return Ok(());
    }
    let negative = tokens.accept('-');
    match tokens.next() {
        Some(Token::Int(value)) => initial.push(Initial::Bits(if negative { value.wrapping_neg() } else { value })),
        Some(Token::F32(bits)) => initial.push(Initial::Bits(u64::from(bits))),
        Some(Token::F64(bits)) => initial.push(Initial::Bits(bits)),
        Some(Token::Word("generic")) => {
            tokens.expect('(')?;
            let name = tokens.word()?.to_string();
            tokens.expect(')')?;
            let offset = if tokens.accept('+') { tokens.int()? as i64 } else { 0 };
            initial.push(Initial::Address(name, offset));
        }
        Some(Token::Word(name)) => {
            let offset = if tokens.accept('+') { tokens.int()? as i64 } else { 0 };
            initial.push(Initial::Address(name.to_string(), offset));
        }
        _ => return tokens.error("expected an initialiser"),
    }
    Ok(())
}
