//! Extended-precision integer arithmetic: `.cc` sets the carry flag, `addc`, `subc` and `madc` take it in.

use super::{Decoder, opcode::Opcode};
use crate::lanes::{LANES, Reg, Registers};
use crate::parse::{Operand, ParseError};
use crate::program::Op;
use crate::types::{Class, Type};

impl Decoder<'_> {
    pub fn carry_chain(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        // For `add.cc` the caller took the modifier already; for `addc.cc` it may still be there.
        let takes = op.name.ends_with('c');
        let sets = !takes || op.take("cc");
        let (ty, high) = (op.ty()?, op.take("hi"));
        op.take("lo");
        if !matches!(ty, Type::U32 | Type::S32 | Type::U64 | Type::S64 | Type::B32 | Type::B64) {
            return op.unknown();
        }
        let multiplies = op.name.starts_with("mad");
        self.expect(op, args, if multiplies { 4 } else { 3 })?;
        let class = ty.class();
        let d = Reg { class, slot: self.dst(&args[0], ty)? };
        let mut operands = Vec::new();
        for operand in &args[1..] {
            operands.push(Reg { class, slot: self.src(operand, ty)? });
        }
        let carry = match self.carry {
            Some(carry) => carry,
            None => self.new_register(Class::Pred),
        };
        self.carry = Some(carry);
        takes.then(|| self.reads.push(carry));
        sets.then(|| self.writes.push(carry));
        let subtracts = op.name.starts_with("sub");
        let (bits, signed) = (ty.bits(), ty.is_signed());
        Ok(Op::Lanes(Box::new(move |regs: &mut Registers, mask| {
            for lane in (0..LANES).filter(|l| mask >> l & 1 == 1) {
                let of = |i: usize| u128::from(regs.bits(operands[i], lane));
                let (a, b) = match (multiplies, high) {
                    (false, _) => (of(0), of(1)),
                    (true, high) => (product(of(0), of(1), bits, signed, high), of(2)),
                };
                let flag = u128::from(takes && regs.bits(carry, lane) == 1);
                let whole = if subtracts { a.wrapping_sub(b).wrapping_sub(flag) } else { a + b + flag };
                regs.set_bits(d, lane, whole as u64);
                if sets {
                    regs.set_bits(carry, lane, (whole >> bits & 1) as u64);
                }
            }
        })))
    }
}

/// The low or high half of a product of two numbers of `bits` bits.
fn product(a: u128, b: u128, bits: u32, signed: bool, high: bool) -> u128 {
    let mask = (1u128 << bits) - 1;
    let extend = |x: u128| if signed { ((x << (128 - bits)) as i128 >> (128 - bits)) as u128 } else { x };
    let whole = extend(a).wrapping_mul(extend(b));
    if high { whole >> bits & mask } else { whole & mask }
}
