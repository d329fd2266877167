//! `mma.sync`

use super::{Decoder, opcode::Opcode};
use crate::lanes::Slot;
use crate::parse::{Operand, ParseError};
use crate::program::{Mma, Op};
use crate::types::Type;

impl Decoder<'_> {
    pub fn mma(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        self.expect(op, args, 4)?;
        let form = op.take("sync") && op.take("aligned") && op.take("row") && op.take("col");
        let halves = match op.take_any(&["m16n8k16", "m16n8k8"]) {
            Some("m16n8k16") => 2,
            Some(_) => 1,
            None => return op.unknown(),
        };
        let types = [op.ty()?, op.ty()?, op.ty()?, op.ty()?];
        let half = types[1];
        if !form || types != [Type::F32, half, half, Type::F32] || !matches!(half, Type::Bf16 | Type::F16) {
            return op.unknown();
        }
        let c = self.registers(op, &args[3], 4)?;
        let a = self.registers(op, &args[1], 2 * halves)?;
        let b = self.registers(op, &args[2], halves)?;
        let Operand::Vector(results) = &args[0] else { return op.error("four registers are expected") };
        self.expect(op, results, 4)?;
        let mut d = [0; 4];
        for (slot, operand) in d.iter_mut().zip(results) {
            *slot = self.dst(operand, Type::F32)?;
        }
        Ok(Op::Mma(Box::new(Mma { half, d, a, b, c: [c[0], c[1], c[2], c[3]] })))
    }

    fn registers(&mut self, op: &Opcode, operand: &Operand, count: usize) -> Result<Vec<Slot>, ParseError> {
        let operands = match operand {
            Operand::Vector(operands) => operands.as_slice(),
            single => std::slice::from_ref(single),
        };
        self.expect(op, operands, count)?;
        operands.iter().map(|operand| self.src(operand, Type::B32)).collect()
    }
}
