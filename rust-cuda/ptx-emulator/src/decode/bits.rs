//! Logic, shifts and bit fields.

use super::{Decoder, integer::integer, opcode::Opcode};
use crate::lanes::{LaneFn, Reg, binary, ternary, unary};
use crate::parse::{Operand, ParseError};
use crate::program::Op;
use crate::types::{Class, Type};

/// Evaluates an expression with `$t` standing for the unsigned type of a PTX type's width.
macro_rules! word {
    ($op:expr, $ty:expr, $t:ident => $e:expr) => {
        match $ty.class() {
            Class::R16 => {
                type $t = u16;
                $e
            }
            Class::R32 => {
                type $t = u32;
                $e
            }
            Class::R64 => {
                type $t = u64;
                $e
            }
            Class::Pred => return $op.unknown(),
        }
    };
}

impl Decoder<'_> {
    pub fn bits(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        let ty = match op.name {
            "shf" | "lop3" | "prmt" => None,
            _ => Some(op.ty()?),
        };
        Ok(Op::Lanes(match (op.name, ty) {
            ("and" | "or" | "xor" | "not", Some(Type::Pred)) => self.predicate_logic(op, args)?,
            ("and" | "or" | "xor" | "not" | "cnot", Some(ty)) => self.logic(op, ty, args)?,
            ("shl" | "shr", Some(ty)) => self.shift(op, ty, args)?,
            ("popc" | "clz" | "brev" | "bfind", Some(ty)) => self.count(op, ty, args)?,
            ("bfe" | "bfi" | "bmsk" | "szext", Some(ty)) => self.field(op, ty, args)?,
            ("shf", _) => self.funnel(op, args)?,
            ("lop3", _) => self.lop3(op, args)?,
            ("prmt", _) => self.permute(op, args)?,
            _ => return op.unknown(),
        }))
    }

    fn logic(&mut self, op: &mut Opcode, ty: Type, args: &[Operand]) -> Result<LaneFn, ParseError> {
        let unary_form = matches!(op.name, "not" | "cnot");
        self.expect(op, args, if unary_form { 2 } else { 3 })?;
        let d = self.dst(&args[0], ty)?;
        if unary_form {
            let a = self.src(&args[1], ty)?;
            return Ok(match op.name {
                "not" => word!(op, ty, T => unary::<T, T>(d, a, |a| !a)),
                _ => word!(op, ty, T => unary::<T, T>(d, a, |a| T::from(a == 0))),
            });
        }
        let ab = self.srcs(&args[1..], ty)?;
        Ok(match op.name {
            "and" => word!(op, ty, T => binary::<T, T, T>(d, ab, |a, b| a & b)),
            "or" => word!(op, ty, T => binary::<T, T, T>(d, ab, |a, b| a | b)),
            _ => word!(op, ty, T => binary::<T, T, T>(d, ab, |a, b| a ^ b)),
        })
    }

    fn predicate_logic(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<LaneFn, ParseError> {
        self.expect(op, args, if op.name == "not" { 2 } else { 3 })?;
        let d = self.dst(&args[0], Type::Pred)?;
        let a = self.src(&args[1], Type::Pred)? as usize;
        let b = if op.name == "not" { a } else { self.src(&args[2], Type::Pred)? as usize };
        let f: fn(u32, u32) -> u32 = match op.name {
            "and" => |a, b| a & b,
            "or" => |a, b| a | b,
            "xor" => |a, b| a ^ b,
            _ => |a, _| !a,
        };
        Ok(Box::new(move |regs, mask| regs.set_pred(d, mask, f(regs.pred[a], regs.pred[b]))))
    }

    /// Amounts beyond the width clamp to it.
    fn shift(&mut self, op: &mut Opcode, ty: Type, args: &[Operand]) -> Result<LaneFn, ParseError> {
        self.expect(op, args, 3)?;
        let (d, a, n) = (self.dst(&args[0], ty)?, self.src(&args[1], ty)?, self.src(&args[2], Type::U32)?);
        Ok(match op.name {
            "shl" => word!(op, ty, T => binary::<T, T, u32>(d, [a, n], |a, n| {
                if n < T::BITS { a << (n % T::BITS) } else { 0 }
            })),
            _ if ty.is_signed() => {
                integer!(op, ty, T => binary::<T, T, u32>(d, [a, n], |a, n| a >> n.min(T::BITS - 1)))
            }
            _ => word!(op, ty, T => binary::<T, T, u32>(d, [a, n], |a, n| {
                if n < T::BITS { a >> (n % T::BITS) } else { 0 }
            })),
        })
    }

    fn count(&mut self, op: &mut Opcode, ty: Type, args: &[Operand]) -> Result<LaneFn, ParseError> {
        self.expect(op, args, 2)?;
        let a = self.src(&args[1], ty)?;
        if op.name == "brev" {
            let d = self.dst(&args[0], ty)?;
            return Ok(word!(op, ty, T => unary::<T, T>(d, a, |a| a.reverse_bits())));
        }
        let d = self.dst(&args[0], Type::U32)?;
        let (distance, signed) = (op.take("shiftamt"), ty.is_signed());
        Ok(match op.name {
            "popc" => word!(op, ty, T => unary::<u32, T>(d, a, |a| a.count_ones())),
            "clz" => word!(op, ty, T => unary::<u32, T>(d, a, |a| a.leading_zeros())),
            // The highest bit that differs from the sign, counted from the right, or from the left with `.shiftamt`.
            _ => word!(op, ty, T => unary::<u32, T>(d, a, move |a| {
                let a = if signed && a >> (T::BITS - 1) == 1 { !a } else { a };
                match a.leading_zeros() {
                    zeros if zeros == T::BITS => u32::MAX,
                    zeros if distance => zeros,
                    zeros => T::BITS - 1 - zeros,
                }
            })),
        })
    }

    fn field(&mut self, op: &mut Opcode, ty: Type, args: &[Operand]) -> Result<LaneFn, ParseError> {
        let d = self.dst(&args[0], ty)?;
        match op.name {
            "bfe" => {
                self.expect(op, args, 4)?;
                let (a, [start, len]) = (self.src(&args[1], ty)?, self.srcs(&args[2..], Type::U32)?);
                let abc = [a, start, len];
                let (signed, bits) = (ty.is_signed(), ty.bits());
                let extract = move |a, start, len| bit_field(a, start & 255, len & 255, bits, signed);
                Ok(match ty.class() {
                    Class::R32 => {
                        ternary::<u32, u32, u32, u32>(d, abc, move |a, s, l| extract(u64::from(a), s, l) as u32)
                    }
                    _ => ternary::<u64, u64, u32, u32>(d, abc, extract),
                })
            }
            "bfi" => {
                self.expect(op, args, 5)?;
                let class = ty.class();
                let [a, b] = self.srcs(&args[1..3], ty)?.map(|slot| Reg { class, slot });
                let [start, len] = self.srcs(&args[3..], Type::U32)?;
                let bits = ty.bits();
                Ok(Box::new(move |regs, mask| {
                    for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
                        let (start, len) = (regs.r32[start as usize][lane] & 255, regs.r32[len as usize][lane] & 255);
                        let field = ones(len.min(bits)).checked_shl(start).unwrap_or(0);
                        let shifted = regs.bits(a, lane).checked_shl(start).unwrap_or(0);
                        let value = regs.bits(b, lane) & !field | shifted & field;
                        regs.set_bits(Reg { class, slot: d }, lane, value);
                    }
                }))
            }
            "bmsk" => {
                if !op.take("clamp") {
                    return op.unknown();
                }
                self.expect(op, args, 3)?;
                let ab = self.srcs(&args[1..], Type::U32)?;
                Ok(binary::<u32, u32, u32>(d, ab, |at, len| (ones(len.min(32)) << at.min(32)) as u32))
            }
            _ => op.unknown(),
        }
    }

    fn funnel(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<LaneFn, ParseError> {
        self.expect(op, args, 4)?;
        let (left, right, clamp) = (op.take("l"), op.take("r"), op.take("clamp"));
        if left == right || !clamp && !op.take("wrap") || op.ty()? != Type::B32 {
            return op.unknown();
        }
        let (d, abc) = (self.dst(&args[0], Type::B32)?, self.srcs(&args[1..], Type::B32)?);
        Ok(ternary::<u32, u32, u32, u32>(d, abc, move |low, high, n| {
            let whole = u64::from(high) << 32 | u64::from(low);
            let n = if clamp { n.min(32) } else { n & 31 };
            if left { (whole << n >> 32) as u32 } else { (whole >> n) as u32 }
        }))
    }

    fn lop3(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<LaneFn, ParseError> {
        self.expect(op, args, 5)?;
        if op.ty()? != Type::B32 {
            return op.unknown();
        }
        let (d, abc) = (self.dst(&args[0], Type::B32)?, self.srcs(&args[1..4], Type::B32)?);
        let Operand::Int(table) = args[4] else { return op.error("the table must be a number") };
        Ok(ternary::<u32, u32, u32, u32>(d, abc, move |a, b, c| {
            (0..8).filter(|row| table >> row & 1 == 1).fold(0, |x, row| {
                let pick = |v: u32, bit: u32| if row >> bit & 1 == 1 { v } else { !v };
                x | pick(a, 2) & pick(b, 1) & pick(c, 0)
            })
        }))
    }

    fn permute(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<LaneFn, ParseError> {
        self.expect(op, args, 4)?;
        let mode = op.take_any(&["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"]);
        if op.ty()? != Type::B32 {
            return op.unknown();
        }
        let (d, abc) = (self.dst(&args[0], Type::B32)?, self.srcs(&args[1..], Type::B32)?);
        Ok(ternary::<u32, u32, u32, u32>(d, abc, move |a, b, selector| {
            let bytes = (u64::from(b) << 32 | u64::from(a)).to_le_bytes();
            let selector = mode.map_or(selector, |mode| permutation(mode, selector & 3));
            u32::from_le_bytes(std::array::from_fn(|i| {
                let nibble = selector >> (4 * i) & 15;
                let byte = bytes[nibble as usize & 7];
                // Bit 3 asks for the sign, replicated.
                if nibble & 8 == 8 { (byte as i8 >> 7) as u8 } else { byte }
            }))
        }))
    }
}

/// The selector that a `prmt` mode stands for, by the control's two low bits.
fn permutation(mode: &str, control: u32) -> u32 {
    let i = control as usize;
    match mode {
        "f4e" => [0x3210, 0x4321, 0x5432, 0x6543][i],
        "b4e" => [0x5670, 0x6701, 0x7012, 0x0123][i],
        "rc8" => [0x0000, 0x1111, 0x2222, 0x3333][i],
        "ecl" => [0x3210, 0x3211, 0x3222, 0x3333][i],
        "ecr" => [0x0000, 0x1110, 0x2210, 0x3210][i],
        _ => [0x1010, 0x3232, 0x1010, 0x3232][i],
    }
}

fn ones(count: u32) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

/// `bfe`: bits beyond the number are its sign (or zero).
fn bit_field(a: u64, start: u32, len: u32, bits: u32, signed: bool) -> u64 {
    let wide = if signed { i128::from(a as i64) << (128 - bits) >> (128 - bits) } else { i128::from(a) };
    if len == 0 {
        return 0;
    }
    let shifted = wide >> start.min(127);
    let top = (start + len - 1).min(bits - 1);
    let sign = signed && a >> top & 1 == 1;
    let field = shifted as u64 & ones(len);
    if sign { field | !ones(len.min(64)) | !ones(bits.saturating_sub(start)) } else { field }
}
