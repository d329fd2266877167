//! Integer arithmetic.

use super::{Decoder, opcode::Opcode};
use crate::lanes::{LaneFn, binary, ternary, unary};
use crate::parse::{Operand, ParseError};
use crate::program::Op;
use crate::types::Type;

/// Evaluates an expression with `$t` standing for the Rust type of a PTX integer type.
macro_rules! integer {
    ($op:expr, $ty:expr, $t:ident => $e:expr) => {
        match $ty {
            Type::U16 | Type::B16 => {
                type $t = u16;
                $e
            }
            Type::S16 => {
                type $t = i16;
                $e
            }
            Type::U32 | Type::B32 => {
                type $t = u32;
                $e
            }
            Type::S32 => {
                type $t = i32;
                $e
            }
            Type::U64 | Type::B64 => {
                type $t = u64;
                $e
            }
            Type::S64 => {
                type $t = i64;
                $e
            }
            _ => return $op.unknown(),
        }
    };
}
pub(super) use integer;

impl Decoder<'_> {
    pub fn arithmetic(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        if op.name.ends_with('c') && op.name != "rcp" || op.take("cc") {
            return self.carry_chain(op, args);
        }
        let ty = op.ty()?;
        if ty.is_float() {
            return self.float_arithmetic(op, ty, args);
        }
        let count = match op.name {
            "abs" | "neg" => 2,
            "mad" | "mad24" | "sad" => 4,
            _ => 3,
        };
        self.expect(op, args, count)?;
        Ok(Op::Lanes(match op.name {
            "mul" | "mad" => self.multiply(op, ty, args)?,
            "mul24" | "mad24" => self.multiply24(op, ty, args)?,
            "abs" | "neg" => self.sign(op, ty, args)?,
            "sad" => {
                let (d, abc) = (self.dst(&args[0], ty)?, self.srcs(&args[1..], ty)?);
                integer!(op, ty, T => ternary::<T, T, T, T>(d, abc, |a, b, c| {
                    c.wrapping_add(if a < b { b.wrapping_sub(a) } else { a.wrapping_sub(b) })
                }))
            }
            _ => self.two_operands(op, ty, args)?,
        }))
    }

    fn two_operands(&mut self, op: &mut Opcode, ty: Type, args: &[Operand]) -> Result<LaneFn, ParseError> {
        let (d, ab) = (self.dst(&args[0], ty)?, self.srcs(&args[1..], ty)?);
        if op.take("sat") {
            return match (op.name, ty) {
                ("add", Type::S32) => Ok(binary::<i32, i32, i32>(d, ab, |a, b| a.saturating_add(b))),
                ("sub", Type::S32) => Ok(binary::<i32, i32, i32>(d, ab, |a, b| a.saturating_sub(b))),
                _ => op.unknown(),
            };
        }
        Ok(match op.name {
            "add" => integer!(op, ty, T => binary::<T, T, T>(d, ab, |a, b| a.wrapping_add(b))),
            "sub" => integer!(op, ty, T => binary::<T, T, T>(d, ab, |a, b| a.wrapping_sub(b))),
            "min" => integer!(op, ty, T => binary::<T, T, T>(d, ab, |a, b| a.min(b))),
            "max" => integer!(op, ty, T => binary::<T, T, T>(d, ab, |a, b| a.max(b))),
            // Division by zero is unspecified; all ones is what the hardware's routine leaves.
            "div" => integer!(op, ty, T => binary::<T, T, T>(d, ab, |a, b| {
                if b == 0 { !0 } else { a.wrapping_div(b) }
            })),
            "rem" => integer!(op, ty, T => binary::<T, T, T>(d, ab, |a, b| if b == 0 { a } else { a.wrapping_rem(b) })),
            _ => return op.unknown(),
        })
    }

    fn sign(&mut self, op: &mut Opcode, ty: Type, args: &[Operand]) -> Result<LaneFn, ParseError> {
        let (d, a) = (self.dst(&args[0], ty)?, self.src(&args[1], ty)?);
        Ok(match (op.name, ty) {
            ("neg", _) => integer!(op, ty, T => unary::<T, T>(d, a, |a| a.wrapping_neg())),
            (_, Type::S16) => unary::<i16, i16>(d, a, i16::wrapping_abs),
            (_, Type::S32) => unary::<i32, i32>(d, a, i32::wrapping_abs),
            (_, Type::S64) => unary::<i64, i64>(d, a, i64::wrapping_abs),
            _ => return op.unknown(),
        })
    }

    /// `mul` and `mad` in their forms `.lo`, `.hi` and `.wide`.
    fn multiply(&mut self, op: &mut Opcode, ty: Type, args: &[Operand]) -> Result<LaneFn, ParseError> {
        let mad = op.name == "mad";
        if op.take("wide") {
            return self.multiply_wide(op, ty, args);
        }
        let high = op.take("hi");
        if !high && !op.take("lo") {
            return op.unknown();
        }
        let d = self.dst(&args[0], ty)?;
        if !mad {
            let ab = self.srcs(&args[1..], ty)?;
            return Ok(match high {
                false => integer!(op, ty, T => binary::<T, T, T>(d, ab, |a, b| a.wrapping_mul(b))),
                true => integer!(op, ty, T => binary::<T, T, T>(d, ab, |a, b| {
                    (i128::from(a).wrapping_mul(i128::from(b)) >> T::BITS) as T
                })),
            });
        }
        let abc = self.srcs(&args[1..], ty)?;
        Ok(match high {
            false => integer!(op, ty, T => ternary::<T, T, T, T>(d, abc, |a, b, c| a.wrapping_mul(b).wrapping_add(c))),
            true => integer!(op, ty, T => ternary::<T, T, T, T>(d, abc, |a, b, c| {
                ((i128::from(a).wrapping_mul(i128::from(b)) >> T::BITS) as T).wrapping_add(c)
            })),
        })
    }

    fn multiply_wide(&mut self, op: &mut Opcode, ty: Type, args: &[Operand]) -> Result<LaneFn, ParseError> {
        macro_rules! wide {
            ($narrow:ty, $wide:ty, $ty:expr) => {{
                let (d, ab) = (self.dst(&args[0], $ty)?, self.srcs::<2>(&args[1..3], ty)?);
                if op.name == "mad" {
                    let abc = [ab[0], ab[1], self.src(&args[3], $ty)?];
                    ternary::<$wide, $narrow, $narrow, $wide>(d, abc, |a, b, c| {
                        <$wide>::from(a).wrapping_mul(<$wide>::from(b)).wrapping_add(c)
                    })
                } else {
                    binary::<$wide, $narrow, $narrow>(d, ab, |a, b| <$wide>::from(a).wrapping_mul(<$wide>::from(b)))
                }
            }};
        }
        Ok(match ty {
            Type::U16 => wide!(u16, u32, Type::U32),
            Type::S16 => wide!(i16, i32, Type::S32),
            Type::U32 => wide!(u32, u64, Type::U64),
            Type::S32 => wide!(i32, i64, Type::S64),
            _ => return op.unknown(),
        })
    }

    fn multiply24(&mut self, op: &mut Opcode, ty: Type, args: &[Operand]) -> Result<LaneFn, ParseError> {
        let shift = if op.take("hi") { 16 } else { 0 };
        if shift == 0 && !op.take("lo") {
            return op.unknown();
        }
        let narrow = match ty {
            Type::U32 => |a: u32| i64::from(a & 0xff_ffff),
            Type::S32 => |a: u32| i64::from((a << 8) as i32 >> 8),
            _ => return op.unknown(),
        };
        let product = move |a, b| (narrow(a).wrapping_mul(narrow(b)) >> shift) as u32;
        let d = self.dst(&args[0], ty)?;
        if op.name == "mul24" {
            return Ok(binary::<u32, u32, u32>(d, self.srcs(&args[1..], ty)?, product));
        }
        Ok(ternary::<u32, u32, u32, u32>(d, self.srcs(&args[1..], ty)?, move |a, b, c| product(a, b).wrapping_add(c)))
    }
}
