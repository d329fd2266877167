//! From statements to a runnable [`Program`]: one entry, with the functions that it calls decoded in place.

mod bits;
mod call;
mod carry;
mod cfg;
mod cluster;
mod compare;
mod control;
mod convert;
mod float;
mod integer;
mod memory;
mod opcode;
mod operands;
mod product;
mod scope;
mod select;
mod special;
mod tensor;
mod undefined;
mod warp;

use crate::lanes::{Reg, Slot};
use crate::parse::{Function, Instruction, ParseError, Source, Space, Statement, Variable};
use crate::program::{Guard, Inst, Meta, Op, Program};
use crate::types::{Class, Type};
use opcode::Opcode;
use scope::{Scopes, Symbol};
use std::collections::HashMap;

/// Decodes `entry`. `addresses` holds the module's `.global` and `.const` variables.
pub fn entry(source: &Source, addresses: &HashMap<String, u64>, entry: &Function) -> Result<Program, ParseError> {
    let mut decoder = Decoder::new(source, addresses, entry);
    let end = decoder.new_label();
    decoder.declare_params(entry)?;
    decoder.function(entry, None)?;
    decoder.place_label(end);
    decoder.line = entry.body.as_ref().and_then(|b| last_line(b)).unwrap_or(1);
    decoder.emit(None, Op::Exit);
    decoder.finish()
}

fn last_line(body: &[Statement]) -> Option<u32> {
    body.iter().rev().find_map(|s| if let Statement::Instruction(i) = s { Some(i.line) } else { None })
}

/// Label number, resolved to an instruction's index when everything is decoded.
type Label = u32;

pub(crate) struct Decoder<'s> {
    source: &'s Source,
    addresses: &'s HashMap<String, u64>,
    scopes: Scopes,
    program: Program,
    line: u32,
    reads: Vec<Reg>,
    writes: Vec<Reg>,
    constants: HashMap<(Class, u64), Slot>,
    specials: HashMap<crate::program::Special, Reg>,
    /// Index of the instruction that each label stands before.
    labels: Vec<u32>,
    /// The carry flag of `add.cc` and its like.
    carry: Option<Reg>,
    /// Functions being decoded, innermost last; where the innermost's `ret` leads (`None`: ends the thread).
    calls: Vec<String>,
    /// Offsets of shared variables declared inside functions, by line and name.
    inner_shared: HashMap<(u32, String), u64>,
    return_to: Option<Label>,
}

impl<'s> Decoder<'s> {
    fn new(source: &'s Source, addresses: &'s HashMap<String, u64>, entry: &Function) -> Decoder<'s> {
        let program = Program { name: entry.name.clone(), ..Program::default() };
        let mut decoder = Decoder {
            source,
            addresses,
            scopes: Scopes::default(),
            program,
            line: 1,
            reads: Vec::new(),
            writes: Vec::new(),
            constants: HashMap::new(),
            specials: HashMap::new(),
            labels: Vec::new(),
            carry: None,
            calls: Vec::new(),
            inner_shared: HashMap::new(),
            return_to: None,
        };
        decoder.declare_module(entry);
        decoder
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError::new(self.line, message))
    }

    /// Names that every function of the module sees.
    fn declare_module(&mut self, entry: &Function) {
        for (name, &address) in self.addresses {
            self.scopes.declare(name, Symbol::Address(Space::Global, address));
        }
        let shared = |v: &&Variable| v.space == Space::Shared;
        let module = self.source.variables.iter().filter(shared);
        // A variable takes memory of the entries that name it, or might by a function, and of no others.
        let functions = self.source.functions.iter().filter(|f| !f.is_entry).chain([entry]);
        let is_named = |v: &&Variable| functions.clone().any(|function| function.names(&v.name));
        for variable in module.clone().filter(|v| !is_dynamic(v)).filter(is_named) {
            let offset = self.place_shared(variable);
            self.scopes.declare(&variable.name, Symbol::Address(Space::Shared, offset));
        }
        for variable in functions.flat_map(inner_variables).filter(shared).filter(|v| !is_dynamic(v)) {
            let offset = self.place_shared(variable);
            self.inner_shared.insert((variable.line, variable.name.clone()), offset);
        }
        // The dynamic memory starts behind every static variable, inner ones too.
        let align = module.clone().filter(|v| is_dynamic(v)).map(|v| v.align).max().unwrap_or(1).max(16);
        self.program.static_shared = self.program.static_shared.next_multiple_of(align);
        let start = self.program.static_shared as u64;
        for variable in module.filter(|v| is_dynamic(v)) {
            self.scopes.declare(&variable.name, Symbol::Address(Space::Shared, start));
        }
    }

    fn place_shared(&mut self, variable: &Variable) -> u64 {
        let offset = self.program.static_shared.next_multiple_of(variable.align.max(1));
        self.program.static_shared = offset + variable.bytes();
        offset as u64
    }

    fn declare_params(&mut self, entry: &Function) -> Result<(), ParseError> {
        for param in &entry.params {
            let offset = self.program.params.next_multiple_of(param.align.max(1));
            self.program.params = offset + param.bytes();
            self.scopes.declare(&param.name, Symbol::Address(Space::Param, offset as u64));
        }
        Ok(())
    }

    /// Reserves local memory for a variable of one call.
    fn declare_local(&mut self, variable: &Variable) {
        let offset = self.program.local.next_multiple_of(variable.align.max(1));
        self.program.local = offset + variable.bytes();
        self.scopes.declare(&variable.name, Symbol::Address(Space::Local, offset as u64));
    }

    fn new_register(&mut self, class: Class) -> Reg {
        let count = &mut self.program.registers[class as usize];
        *count += 1;
        Reg { class, slot: *count - 1 }
    }

    fn new_label(&mut self) -> Label {
        self.labels.push(u32::MAX);
        self.labels.len() as u32 - 1
    }

    fn place_label(&mut self, label: Label) {
        self.labels[label as usize] = self.program.insts.len() as u32;
    }

    /// The statements of a function; `return_to`: where `ret` leads, `None` for an entry.
    fn function(&mut self, function: &Function, return_to: Option<Label>) -> Result<(), ParseError> {
        let Some(body) = &function.body else {
            return self.error(format!("`{}` is declared but not defined", function.name));
        };
        let outer = std::mem::replace(&mut self.return_to, return_to);
        self.calls.push(function.name.clone());
        self.open_scope(body);
        for (at, statement) in body.iter().enumerate() {
            self.statement(statement, &body[at + 1..])?;
        }
        self.scopes.close();
        self.calls.pop();
        self.return_to = outer;
        Ok(())
    }

    /// Opens a scope and declares the labels of its own level, which may be used before they stand.
    fn open_scope(&mut self, statements: &[Statement]) {
        self.scopes.open();
        let mut depth = 0;
        for statement in statements {
            match statement {
                Statement::Open => depth += 1,
                Statement::Close if depth == 0 => return,
                Statement::Close => depth -= 1,
                Statement::Label(name) if depth == 0 => {
                    let label = self.new_label();
                    self.scopes.declare(name, Symbol::Label(label));
                }
                Statement::Targets(name, targets) if depth == 0 => {
                    self.scopes.declare(name, Symbol::Targets(targets.clone()));
                }
                _ => {}
            }
        }
    }

    fn statement(&mut self, statement: &Statement, rest: &[Statement]) -> Result<(), ParseError> {
        match statement {
            Statement::Open => self.open_scope(rest),
            Statement::Close => self.scopes.close(),
            Statement::Label(name) => {
                if let Some(Symbol::Label(label)) = self.scopes.find(name).cloned() {
                    self.place_label(label);
                }
            }
            Statement::Targets(..) => {}
            Statement::Register(ty, name, count) => self.declare_registers(*ty, name, *count),
            Statement::Variable(variable) => {
                self.line = variable.line;
                match variable.space {
                    Space::Shared => {
                        let key = (variable.line, variable.name.clone());
                        let offset = self.inner_shared.get(&key).copied();
                        let offset = offset.unwrap_or(self.program.static_shared as u64);
                        self.scopes.declare(&variable.name, Symbol::Address(Space::Shared, offset));
                    }
                    Space::Local | Space::Param => self.declare_local(variable),
                    _ => return self.error("a variable of this state space belongs at module level"),
                }
            }
            Statement::Instruction(instruction) => self.instruction(instruction)?,
        }
        Ok(())
    }

    fn declare_registers(&mut self, ty: Type, name: &str, count: Option<u32>) {
        let names: Vec<String> = match count {
            None => vec![name.to_string()],
            Some(count) => (0..count).map(|i| format!("{name}{i}")).collect(),
        };
        for name in names {
            let reg = self.new_register(ty.class());
            self.scopes.declare(&name, Symbol::Register(ty, reg));
        }
    }

    fn instruction(&mut self, instruction: &Instruction) -> Result<(), ParseError> {
        self.line = instruction.line;
        let guard = match &instruction.guard {
            None => None,
            Some((name, negated)) => Some(Guard { slot: self.named(name, Class::Pred)?.slot, negated: *negated }),
        };
        let mut opcode = Opcode::new(instruction.line, &instruction.opcode);
        if opcode.is_beyond() {
            self.emit(guard, Op::Unknown(format!("`{}`", instruction.opcode)));
            return Ok(());
        }
        if opcode.name == "call" {
            return self.call(guard, &instruction.operands);
        }
        if let Some(op) = self.decode(&mut opcode, &instruction.operands)? {
            opcode.finish()?;
            self.emit(guard, op);
        }
        Ok(())
    }

    /// Appends an instruction with the registers noted since the last one.
    fn emit(&mut self, guard: Option<Guard>, op: Op) {
        let mut reads = std::mem::take(&mut self.reads);
        if let Some(guard) = guard {
            reads.push(Reg { class: Class::Pred, slot: guard.slot });
        }
        let writes = std::mem::take(&mut self.writes);
        self.program.metas.push(Meta { line: self.line, reads, writes });
        self.program.insts.push(Inst { guard, tracked: false, op });
    }

    fn finish(mut self) -> Result<Program, ParseError> {
        self.resolve_labels();
        cfg::reconverge(&mut self.program);
        undefined::mark(&mut self.program);
        product::mark(&mut self.program);
        Ok(self.program)
    }
}

fn is_dynamic(variable: &Variable) -> bool {
    variable.is_extern || variable.count == 0
}

fn inner_variables(function: &Function) -> impl Iterator<Item = &Variable> {
    let statements = function.body.iter().flatten();
    statements.filter_map(|s| if let Statement::Variable(v) = s { Some(v) } else { None })
}
