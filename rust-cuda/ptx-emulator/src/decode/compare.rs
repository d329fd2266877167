//! Comparisons and selections.

use super::{Decoder, integer::integer, opcode::Opcode};
use crate::float::{Bf16, F16, Real};
use crate::lanes::{Combine, Reg, SetPredicate, Slot, compare, select};
use crate::parse::{Operand, ParseError};
use crate::program::Op;
use crate::types::{Class, Type};
use std::cmp::Ordering;

/// A comparison as a table over the outcomes less, equal, greater and unordered.
#[derive(Clone, Copy)]
struct Relation {
    less: bool,
    equal: bool,
    greater: bool,
    unordered: bool,
}

impl Relation {
    /// `lo`, `ls`, `hi` and `hs` are the unsigned names; `…u` and `nan` hold for unordered operands too.
    fn parse(word: &str) -> Option<Relation> {
        let (less, equal, greater, unordered) = match word {
            "eq" => (false, true, false, false),
            "ne" => (true, false, true, false),
            "lt" | "lo" => (true, false, false, false),
            "le" | "ls" => (true, true, false, false),
            "gt" | "hi" => (false, false, true, false),
            "ge" | "hs" => (false, true, true, false),
            "equ" => (false, true, false, true),
            "neu" => (true, false, true, true),
            "ltu" => (true, false, false, true),
            "leu" => (true, true, false, true),
            "gtu" => (false, false, true, true),
            "geu" => (false, true, true, true),
            "num" => (true, true, true, false),
            "nan" => (false, false, false, true),
            _ => return None,
        };
        Some(Relation { less, equal, greater, unordered })
    }

    #[inline(always)]
    fn holds<T: PartialOrd>(self, a: T, b: T) -> bool {
        let (less, greater) = (a < b, a > b);
        let equal = a == b;
        self.less & less | self.equal & equal | self.greater & greater | self.unordered & !(less | equal | greater)
    }
}

impl PartialEq for F16 {
    fn eq(&self, other: &F16) -> bool {
        self.to_f32() == other.to_f32()
    }
}

impl PartialOrd for F16 {
    fn partial_cmp(&self, other: &F16) -> Option<Ordering> {
        self.to_f32().partial_cmp(&other.to_f32())
    }
}

impl PartialEq for Bf16 {
    fn eq(&self, other: &Bf16) -> bool {
        self.to_f32() == other.to_f32()
    }
}

impl PartialOrd for Bf16 {
    fn partial_cmp(&self, other: &Bf16) -> Option<Ordering> {
        self.to_f32().partial_cmp(&other.to_f32())
    }
}

impl Decoder<'_> {
    pub fn comparison(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        match op.name {
            "setp" => self.set_predicate(op, args),
            "set" => self.set(op, args),
            "selp" => self.select(op, args),
            _ => self.select_by_sign(op, args),
        }
    }

    fn set_predicate(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        let combine = op.take_with(|m| match m {
            "and" => Some(Combine::And),
            "or" => Some(Combine::Or),
            "xor" => Some(Combine::Xor),
            _ => None,
        });
        self.expect(op, args, if combine.is_some() { 4 } else { 3 })?;
        let (p, q) = match &args[0] {
            Operand::Pair(p, q) => (self.dst_predicate(p)?, self.dst_predicate(q)?),
            p => (self.dst_predicate(p)?, None),
        };
        let combine = match combine {
            None => None,
            Some(combine) => {
                let (c, negated) = self.predicate(&args[3])?;
                Some((combine, c, negated))
            }
        };
        self.compared(op, SetPredicate { p, q, combine }, &args[1..3])
    }

    fn dst_predicate(&mut self, operand: &Operand) -> Result<Option<Slot>, ParseError> {
        if *operand == Operand::Name("_".to_string()) {
            return Ok(None);
        }
        self.dst(operand, Type::Pred).map(Some)
    }

    fn compared(&mut self, op: &mut Opcode, set: SetPredicate, args: &[Operand]) -> Result<Op, ParseError> {
        let Some(r) = op.take_with(Relation::parse) else { return op.unknown() };
        let (ftz, ty) = (op.take("ftz"), op.ty()?);
        let ab = self.srcs(args, ty)?;
        Ok(Op::Lanes(match ty {
            Type::F32 if ftz => compare::<f32>(set, ab, move |a, b| r.holds(Real::flush(a), Real::flush(b))),
            Type::F32 => compare::<f32>(set, ab, move |a, b| r.holds(a, b)),
            Type::F64 => compare::<f64>(set, ab, move |a, b| r.holds(a, b)),
            Type::F16 => compare::<F16>(set, ab, move |a, b| r.holds(a, b)),
            Type::Bf16 => compare::<Bf16>(set, ab, move |a, b| r.holds(a, b)),
            _ => integer!(op, ty, T => compare::<T>(set, ab, move |a, b| r.holds(a, b))),
        }))
    }

    /// `set`: all ones or 1.0 where the comparison holds, else zero.
    fn set(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        self.expect(op, args, 3)?;
        let result = op.ty()?;
        let ones = match result {
            Type::F32 => u64::from(1f32.to_bits()),
            Type::U32 | Type::S32 | Type::B32 => u64::from(u32::MAX),
            _ => return op.unknown(),
        };
        let p = self.new_register(Class::Pred).slot;
        let Op::Lanes(test) = self.compared(op, SetPredicate { p: Some(p), q: None, combine: None }, &args[1..])?
        else {
            return op.unknown();
        };
        let d = self.dst(&args[0], result)?;
        let chosen = [self.constant(Class::R32, ones).slot, self.constant(Class::R32, 0).slot];
        let write = select::<u32>(d, chosen, p, false);
        Ok(Op::Lanes(Box::new(move |regs, mask| {
            test(regs, mask);
            write(regs, mask);
        })))
    }

    fn select(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        self.expect(op, args, 4)?;
        let ty = op.ty()?;
        let class = ty.class();
        let (d, ab) = (self.dst(&args[0], ty)?, self.srcs::<2>(&args[1..3], ty)?);
        let (p, negated) = self.predicate(&args[3])?;
        let run = match class {
            Class::R16 => select::<u16>(d, ab, p, negated),
            Class::R32 => select::<u32>(d, ab, p, negated),
            Class::R64 => select::<u64>(d, ab, p, negated),
            Class::Pred => return op.unknown(),
        };
        let [a, b] = ab.map(|slot| Reg { class, slot });
        Ok(Op::Select { run, a, b, p, negated })
    }

    /// `slct`: `c >= 0 ? a : b`
    fn select_by_sign(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        self.expect(op, args, 4)?;
        op.take("ftz");
        let (ty, by) = (op.ty()?, op.ty()?);
        let (d, [a, b]) = (self.dst(&args[0], ty)?, self.srcs(&args[1..3], ty)?);
        let c = self.src(&args[3], by)?;
        let zero = self.constant(Class::R32, 0).slot;
        let p = self.new_register(Class::Pred).slot;
        let set = SetPredicate { p: Some(p), q: None, combine: None };
        let test = match by {
            Type::F32 => compare::<f32>(set, [c, zero], |c, zero| c >= zero),
            Type::S32 => compare::<i32>(set, [c, zero], |c, zero| c >= zero),
            _ => return op.unknown(),
        };
        let write = match ty.class() {
            Class::R16 => select::<u16>(d, [a, b], p, false),
            Class::R32 => select::<u32>(d, [a, b], p, false),
            Class::R64 => select::<u64>(d, [a, b], p, false),
            Class::Pred => return op.unknown(),
        };
        Ok(Op::Lanes(Box::new(move |regs, mask| {
            test(regs, mask);
            write(regs, mask);
        })))
    }
}
