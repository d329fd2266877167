//! Operands to register slots: immediates and special registers become registers that are set before the first instruction.

use super::{Decoder, opcode::Opcode, scope::Symbol, special};
use crate::lanes::{Reg, Slot};
use crate::parse::{Operand, ParseError, Space};
use crate::program::{Address, Special};
use crate::types::{Class, Type};

impl Decoder<'_> {
    /// The register that always holds `bits`.
    pub fn constant(&mut self, class: Class, bits: u64) -> Reg {
        if let Some(&slot) = self.constants.get(&(class, bits)) {
            return Reg { class, slot };
        }
        let reg = self.new_register(class);
        self.constants.insert((class, bits), reg.slot);
        self.program.constants.push((reg, bits));
        reg
    }

    pub fn special(&mut self, special: Special, class: Class) -> Reg {
        if let Some(&reg) = self.specials.get(&special).filter(|r| r.class == class) {
            return reg;
        }
        let reg = self.new_register(class);
        self.specials.insert(special, reg);
        self.program.specials.push((reg, special));
        reg
    }

    /// The slot to read for an operand of type `ty`.
    pub fn src(&mut self, operand: &Operand, ty: Type) -> Result<Slot, ParseError> {
        Ok(self.src_class(operand, ty, ty.class())?.slot)
    }

    /// Like `src`, in the register's own class where that is wider than the type.
    pub fn src_any(&mut self, operand: &Operand, ty: Type) -> Result<Reg, ParseError> {
        let class = match operand {
            Operand::Name(name) => match self.scopes.find(name) {
                Some(Symbol::Register(_, reg)) if reg.class >= ty.class() => reg.class,
                _ => ty.class(),
            },
            _ => ty.class(),
        };
        self.src_class(operand, ty, class)
    }

    fn src_class(&mut self, operand: &Operand, ty: Type, class: Class) -> Result<Reg, ParseError> {
        match operand {
            Operand::Name(name) => match self.scopes.find(name).cloned() {
                Some(Symbol::Register(..)) => {
                    let reg = self.named(name, class)?;
                    self.reads.push(reg);
                    Ok(reg)
                }
                Some(Symbol::Address(_, address)) => Ok(self.constant(class, address)),
                Some(_) => self.error(format!("`{name}` is not a value")),
                None => match special::parse(name) {
                    Some(special) => Ok(self.special(special, class)),
                    None => self.error(format!("unknown name `{name}`")),
                },
            },
            Operand::Offset(name, offset) => match self.scopes.find(name).cloned() {
                Some(Symbol::Address(_, address)) => Ok(self.constant(class, address.wrapping_add_signed(*offset))),
                _ => self.error(format!("`{name}` is not a symbol with an address")),
            },
            _ => {
                let bits = self.immediate(operand, ty)?;
                Ok(self.constant(class, bits))
            }
        }
    }

    fn immediate(&self, operand: &Operand, ty: Type) -> Result<u64, ParseError> {
        let bits = match (operand, ty) {
            (Operand::Int(value), Type::F32) => u64::from((*value as f32).to_bits()),
            (Operand::Int(value), Type::F64) => (*value as f64).to_bits(),
            (Operand::Int(value), _) => *value as u64,
            (Operand::F32(bits), Type::F64) => f64::from(f32::from_bits(*bits)).to_bits(),
            (Operand::F32(bits), _) => u64::from(*bits),
            (Operand::F64(bits), Type::F32 | Type::B32) => u64::from((f64::from_bits(*bits) as f32).to_bits()),
            (Operand::F64(bits), _) => *bits,
            _ => return self.error("a register or a number is expected here"),
        };
        Ok(match ty.class() {
            Class::Pred => u64::from(bits != 0),
            class if class.bytes() == 8 => bits,
            class => bits & ((1 << (class.bytes() * 8)) - 1),
        })
    }

    pub fn srcs<const N: usize>(&mut self, operands: &[Operand], ty: Type) -> Result<[Slot; N], ParseError> {
        let mut slots = [0; N];
        for (slot, operand) in slots.iter_mut().zip(operands) {
            *slot = self.src(operand, ty)?;
        }
        Ok(slots)
    }

    /// A predicate and whether it is negated.
    pub fn predicate(&mut self, operand: &Operand) -> Result<(Slot, bool), ParseError> {
        match operand {
            Operand::Not(inner) => Ok((self.src(inner, Type::Pred)?, true)),
            other => Ok((self.src(other, Type::Pred)?, false)),
        }
    }

    /// The slot to write for a result of type `ty`.
    pub fn dst(&mut self, operand: &Operand, ty: Type) -> Result<Slot, ParseError> {
        match operand {
            // A result that goes nowhere gets a register that nothing reads.
            Operand::Name(name) if name == "_" => Ok(self.new_register(ty.class()).slot),
            Operand::Name(name) => {
                let reg = self.named(name, ty.class())?;
                self.writes.push(reg);
                Ok(reg.slot)
            }
            _ => self.error("the destination must be a register"),
        }
    }

    /// The register to write, of whatever class it was declared with (at least that of `ty`).
    pub fn dst_any(&mut self, operand: &Operand, ty: Type) -> Result<Reg, ParseError> {
        let Operand::Name(name) = operand else { return self.error("the destination must be a register") };
        let (_, reg) = self.register(name)?;
        if reg.class < ty.class() {
            return self.error(format!("register `{name}` is too narrow for {ty:?}"));
        }
        self.writes.push(reg);
        Ok(reg)
    }

    /// `[base + offset]` in `space`.
    pub fn address(&mut self, operand: &Operand, space: Space) -> Result<Address, ParseError> {
        let Operand::Address(base, offset) = operand else {
            return self.error("an address in brackets is expected here");
        };
        let (base, found) = match base.as_ref() {
            Operand::Name(name) => match self.scopes.find(name).cloned() {
                Some(Symbol::Address(found, address)) => (self.constant(Class::R64, address), Some(found)),
                _ => {
                    let (_, reg) = self.register(name)?;
                    if reg.class < Class::R32 {
                        return self.error(format!("register `{name}` is too narrow for an address"));
                    }
                    self.reads.push(reg);
                    (reg, None)
                }
            },
            Operand::Int(value) => (self.constant(Class::R64, *value as u64), None),
            _ => return self.error("this is not an address"),
        };
        // A parameter of a called function, or one passed to it, lives in the caller's local memory; a variable
        // that is named in a generic access says its own space.
        let space = match (space, found) {
            (Space::Param | Space::Generic, Some(found)) => found,
            (Space::Const, _) => Space::Global,
            (space, _) => space,
        };
        Ok(Address { base, offset: *offset, space })
    }

    /// Checks the number of operands.
    pub fn expect(&self, opcode: &Opcode, operands: &[Operand], count: usize) -> Result<(), ParseError> {
        if operands.len() == count {
            return Ok(());
        }
        opcode.error(format!("{count} operands expected, {} found", operands.len()))
    }
}
