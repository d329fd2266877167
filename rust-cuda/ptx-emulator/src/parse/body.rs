//! Statements of a function's body.

use super::{Instruction, Operand, ParseError, Statement, lexer::Token, module, operand, tokens::Tokens};
use crate::types::Type;

/// The statements between the braces of a function, inner scopes kept as `Open` and `Close`.
pub fn body(tokens: &mut Tokens) -> Result<Vec<Statement>, ParseError> {
    tokens.expect('{')?;
    let (mut statements, mut depth) = (Vec::new(), 1);
    while depth > 0 {
        match tokens.peek() {
            None => return tokens.error("the text ends inside a function"),
            Some(Token::Punct('{')) => {
                tokens.next();
                depth += 1;
                statements.push(Statement::Open);
            }
            Some(Token::Punct('}')) => {
                tokens.next();
                depth -= 1;
                if depth > 0 {
                    statements.push(Statement::Close);
                }
            }
            Some(Token::Punct(';')) => drop(tokens.next()),
            Some(Token::Word(".loc" | ".file")) => tokens.skip_line(),
            Some(Token::Word(".pragma")) => tokens.skip_through(';'),
            Some(Token::Word(".reg")) => registers(tokens, &mut statements)?,
            Some(Token::Word(".local" | ".shared" | ".param" | ".global" | ".const")) => {
                statements.extend(module::variables(tokens, false)?.into_iter().map(Statement::Variable));
            }
            Some(Token::Word(name)) if tokens.peek_second() == Some(Token::Punct(':')) => {
                label(tokens, name, &mut statements)?;
            }
            _ => statements.push(Statement::Instruction(instruction(tokens)?)),
        }
    }
    Ok(statements)
}

fn registers(tokens: &mut Tokens, statements: &mut Vec<Statement>) -> Result<(), ParseError> {
    tokens.next();
    let word = tokens.word()?;
    let Some(ty) = word.strip_prefix('.').and_then(Type::parse) else {
        return tokens.error(format!("unknown register type `{word}`"));
    };
    loop {
        let name = tokens.word()?.to_string();
        let mut count = None;
        if tokens.accept('<') {
            count = Some(tokens.int()? as u32);
            tokens.expect('>')?;
        }
        statements.push(Statement::Register(ty, name, count));
        if !tokens.accept(',') {
            return tokens.expect(';');
        }
    }
}

fn label(tokens: &mut Tokens, name: &str, statements: &mut Vec<Statement>) -> Result<(), ParseError> {
    tokens.next();
    tokens.next();
    if !tokens.accept_word(".branchtargets") {
        if matches!(tokens.peek(), Some(Token::Word(".callprototype" | ".calltargets"))) {
            tokens.skip_through(';');
        }
        statements.push(Statement::Label(name.to_string()));
        return Ok(());
    }
    let mut targets = vec![tokens.word()?.to_string()];
    while tokens.accept(',') {
        targets.push(tokens.word()?.to_string());
    }
    statements.push(Statement::Targets(name.to_string(), targets));
    tokens.expect(';')
}

fn instruction(tokens: &mut Tokens) -> Result<Instruction, ParseError> {
    let line = tokens.line();
    let mut guard = None;
    if tokens.accept('@') {
        let negated = tokens.accept('!');
        guard = Some((tokens.word()?.to_string(), negated));
    }
    let opcode = tokens.word()?.to_string();
    let mut operands: Vec<Operand> = Vec::new();
    if !tokens.accept(';') {
        loop {
            operands.push(operand::operand(tokens)?);
            if !tokens.accept(',') {
                break;
            }
        }
        tokens.expect(';')?;
    }
    Ok(Instruction { line, guard, opcode, operands })
}
