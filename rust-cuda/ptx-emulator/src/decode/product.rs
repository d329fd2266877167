//! `wgmma`

use super::{Decoder, opcode::Opcode};
use crate::lanes::{Reg, Slot};
use crate::parse::{Operand, ParseError};
use crate::program::{Left, Op, Product, Program};
use crate::types::{Class, Type};

impl Decoder<'_> {
    pub fn product(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        if !op.take("sync") || !op.take("aligned") {
            return op.unknown();
        }
        match op.take_any(&["fence", "commit_group", "wait_group", "mma_async"]) {
            Some("fence") => {
                self.expect(op, args, 0)?;
                Ok(Op::ProductFence)
            }
            Some("commit_group") => {
                self.expect(op, args, 0)?;
                Ok(Op::ProductCommit)
            }
            Some("wait_group") => {
                self.expect(op, args, 1)?;
                let Operand::Int(newest @ 0..=7) = args[0] else { return op.error("a number from 0 to 7 is expected") };
                Ok(Op::ProductWait(newest as u32))
            }
            Some(_) => self.multiplication(op, args),
            None => op.unknown(),
        }
    }

    fn multiplication(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        let Some(columns) = op.take_with(columns) else { return op.unknown() };
        if [op.ty()?, op.ty()?, op.ty()?] != [Type::F32, Type::Bf16, Type::Bf16] {
            return op.unknown();
        }
        let [Operand::Vector(results), left, b, flags @ ..] = args else {
            return op.error("registers of the result, two matrices and their flags are expected");
        };
        let flags = flags.iter().map(|flag| if let Operand::Int(value) = flag { Some(*value) } else { None });
        let (accumulates, by_rows) = match (left, &flags.collect::<Vec<_>>()[..]) {
            (Operand::Vector(_), [Some(d @ 0..=1), Some(1), Some(1), Some(rows @ 0..=1)])
            | (Operand::Name(_), [Some(d @ 0..=1), Some(1), Some(1), Some(0), Some(rows @ 0..=1)]) => {
                (*d == 1, *rows == 1)
            }
            _ => return op.error("the flags must be numbers: 0 or 1, 1, 1, for a in memory 0, and 0 or 1"),
        };
        self.expect(op, results, columns / 2)?;
        let mut d = Vec::new();
        for operand in results {
            if accumulates {
                self.src(operand, Type::F32)?;
            }
            d.push(self.dst(operand, Type::F32)?);
        }
        let a = match left {
            Operand::Vector(registers) => {
                self.expect(op, registers, 4)?;
                Left::Registers(self.srcs(registers, Type::B32)?)
            }
            descriptor => Left::Memory(self.src(descriptor, Type::B64)?),
        };
        let b = self.src(b, Type::B64)?;
        Ok(Op::Product(Box::new(Product { d, a, b, accumulates, by_rows })))
    }
}

/// The columns of a shape that there is.
fn columns(shape: &str) -> Option<usize> {
    let columns = shape.strip_prefix("m64n")?.strip_suffix("k16")?.parse().ok()?;
    (8..=256usize).contains(&columns).then_some(columns).filter(|columns| columns.is_multiple_of(8))
}

/// Notes the registers that products own while they run, and the instructions that touch them.
pub fn mark(program: &mut Program) {
    let mut owned: Vec<Slot> = Vec::new();
    for inst in &program.insts {
        if let Op::Product(product) = &inst.op {
            owned.extend(&product.d);
            if let Left::Registers(a) = &product.a {
                owned.extend(a);
            }
        }
    }
    if owned.is_empty() {
        return;
    }
    program.owned = vec![false; program.class_count(Class::R32)];
    owned.into_iter().for_each(|slot| program.owned[slot as usize] = true);
    let owned = |reg: &Reg| reg.class == Class::R32 && program.owned[reg.slot as usize];
    for (inst, meta) in program.insts.iter_mut().zip(&program.metas) {
        inst.tracked |= meta.reads.iter().chain(&meta.writes).any(owned);
    }
}
