//! Calls: the callee is decoded in place, its parameters bound to the caller's.

use super::{Decoder, scope::Symbol};
use crate::parse::{Function, Operand, ParseError, Variable};
use crate::program::{Guard, NOWHERE, Op};

impl Decoder<'_> {
    /// `call (results), function, (params);` each part but the function optional.
    pub fn call(&mut self, guard: Option<Guard>, args: &[Operand]) -> Result<(), ParseError> {
        let at = args.iter().position(|a| matches!(a, Operand::Name(_)));
        let Some((at, Operand::Name(name))) = at.map(|at| (at, &args[at])) else {
            return self.error("a call needs the name of a function");
        };
        let source = self.source;
        // A declaration may stand before the definition.
        let found = source.functions.iter().filter(|f| f.name == *name && !f.is_entry).max_by_key(|f| f.body.is_some());
        let Some(function) = found else {
            self.emit(guard, Op::Unknown(format!("a call through `{name}`, which is not a function of this module,")));
            return Ok(());
        };
        if self.calls.contains(name) || function.body.is_none() {
            self.emit(guard, Op::Unknown(format!("a call of `{name}`, which is recursive or not defined,")));
            return Ok(());
        }
        let list = |operand: Option<&Operand>| match operand {
            Some(Operand::List(items)) => items.clone(),
            _ => Vec::new(),
        };
        let results = list(args[..at].last());
        let params = list(args.get(at + 1));
        let after = self.new_label();
        if let Some(guard) = guard {
            let skip = Guard { negated: !guard.negated, ..guard };
            self.emit(Some(skip), Op::Branch { target: after, reconverge: NOWHERE });
        }
        let line = self.line;
        self.inline(function, &results, &params, after)?;
        self.line = line;
        self.place_label(after);
        // The point of return is an instruction of its own, so that it lies inside the program.
        self.emit(None, Op::Nothing);
        Ok(())
    }

    fn inline(
        &mut self,
        function: &Function,
        results: &[Operand],
        params: &[Operand],
        after: u32,
    ) -> Result<(), ParseError> {
        if results.len() != function.results.len() || params.len() != function.params.len() {
            return self.error(format!("the call does not fit the declaration of `{}`", function.name));
        }
        let operands = results.iter().chain(params);
        let declared = function.results.iter().chain(&function.params);
        let mut bound = Vec::new();
        for (operand, variable) in operands.zip(declared) {
            bound.push((variable, self.bind(operand, variable)?));
        }
        self.scopes.open();
        for (variable, symbol) in bound {
            self.scopes.declare(&variable.name, symbol);
        }
        let decoded = self.function(function, Some(after));
        self.scopes.close();
        decoded
    }

    /// What a parameter's name stands for inside the callee: the caller's variable or register.
    fn bind(&self, operand: &Operand, variable: &Variable) -> Result<Symbol, ParseError> {
        let Operand::Name(name) = operand else {
            return self.error(format!("`{}` must be passed as a parameter variable", variable.name));
        };
        match self.scopes.find(name) {
            Some(symbol @ (Symbol::Address(..) | Symbol::Register(..))) => Ok(symbol.clone()),
            _ => self.error(format!("unknown name `{name}`")),
        }
    }
}
