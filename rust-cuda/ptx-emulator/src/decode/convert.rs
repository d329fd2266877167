//! `mov`, `cvt`, `cvta`, `isspacep`.

use super::{Decoder, opcode::Opcode, special};
use crate::float::{Bf16, Canonical, F16, Pair, Real, Round, round_f32};
use crate::lanes::{LaneFn, Reg, SetPredicate, binary, compare, unary};
use crate::parse::{Operand, ParseError, Space};
use crate::program::Op;
use crate::run::window;
use crate::types::{Class, Type};

/// Evaluates an expression with `$t` standing for the unsigned type of a register class.
macro_rules! by_class {
    ($op:expr, $class:expr, $t:ident => $e:expr) => {
        match $class {
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
    pub fn conversion(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        match op.name {
            "mov" => self.mov(op, args),
            "cvta" => self.convert_address(op, args),
            "isspacep" => self.is_space(op, args),
            _ => {
                let ftz = op.take("ftz");
                let (sat, relu) = (op.take("sat"), op.take("relu"));
                let rounding = op.take_with(|m| {
                    matches!(m, "rn" | "rz" | "rm" | "rp" | "rni" | "rzi" | "rmi" | "rpi").then(|| m.to_string())
                });
                let (to, from) = (op.ty()?, op.ty()?);
                let how = How { to, from, rounding, ftz, sat, relu };
                self.convert(op, how, args).map(Op::Lanes)
            }
        }
    }

    fn mov(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        self.expect(op, args, 2)?;
        let ty = op.ty()?;
        match (&args[0], &args[1]) {
            (Operand::Vector(parts), whole) => return self.unpack(op, ty, parts, whole),
            (whole, Operand::Vector(parts)) => return self.pack(op, ty, whole, parts),
            (d, Operand::Name(name)) if special::is_clock(name) => {
                let d = Reg { class: ty.class(), slot: self.dst(d, ty)? };
                return Ok(Op::Clock { d });
            }
            _ => {}
        }
        let (d, a) = (self.dst(&args[0], ty)?, self.src(&args[1], ty)?);
        Ok(Op::Lanes(match ty.class() {
            Class::Pred => Box::new(move |regs, mask| regs.set_pred(d, mask, regs.pred[a as usize])),
            class => by_class!(op, class, T => unary::<T, T>(d, a, |a| a)),
        }))
    }

    /// `mov.b64 {lo, hi}, a`
    fn unpack(&mut self, op: &Opcode, ty: Type, parts: &[Operand], whole: &Operand) -> Result<Op, ParseError> {
        let a = Reg { class: ty.class(), slot: self.src(whole, ty)? };
        let part = self.part(op, ty, parts.len())?;
        let mut to = Vec::new();
        for operand in parts {
            to.push(Reg { class: part.class(), slot: self.dst(operand, part)? });
        }
        let bits = part.bits();
        Ok(Op::Lanes(Box::new(move |regs, mask| {
            for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
                let whole = regs.bits(a, lane);
                to.iter().zip(0..).for_each(|(&reg, i)| regs.set_bits(reg, lane, whole >> (bits * i)));
            }
        })))
    }

    /// `mov.b64 d, {lo, hi}`
    fn pack(&mut self, op: &Opcode, ty: Type, whole: &Operand, parts: &[Operand]) -> Result<Op, ParseError> {
        let d = Reg { class: ty.class(), slot: self.dst(whole, ty)? };
        let part = self.part(op, ty, parts.len())?;
        let mut from = Vec::new();
        for operand in parts {
            from.push(Reg { class: part.class(), slot: self.src(operand, part)? });
        }
        let bits = part.bits();
        let mask = (1u64 << bits) - 1;
        Ok(Op::Lanes(Box::new(move |regs, lanes| {
            for lane in (0..32).filter(|l| lanes >> l & 1 == 1) {
                let parts = from.iter().zip(0..);
                let whole = parts.fold(0, |w, (&reg, i)| w | (regs.bits(reg, lane) & mask) << (bits * i));
                regs.set_bits(d, lane, whole);
            }
        })))
    }

    /// The type of each of `count` equal parts.
    fn part(&self, op: &Opcode, ty: Type, count: usize) -> Result<Type, ParseError> {
        match (ty.bytes(), count) {
            (8, 2) => Ok(Type::B32),
            (8, 4) | (4, 2) => Ok(Type::B16),
            (2, 2) | (4, 4) => Ok(Type::B8),
            _ => op.unknown(),
        }
    }

    /// Generic addresses place the other spaces at windows; global ones are generic as they are.
    fn convert_address(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        self.expect(op, args, 2)?;
        let back = op.take("to");
        let base = self.window(op)?;
        let ty = op.ty()?;
        let (d, a) = (self.dst(&args[0], ty)?, self.src(&args[1], ty)?);
        Ok(Op::Lanes(match (ty.class(), back) {
            (Class::R64, false) => unary::<u64, u64>(d, a, move |a| a.wrapping_add(base)),
            (Class::R64, true) => unary::<u64, u64>(d, a, move |a| a.wrapping_sub(base)),
            _ => return op.unknown(),
        }))
    }

    fn window(&mut self, op: &mut Opcode) -> Result<u64, ParseError> {
        match op.take_any(&["global", "const", "shared", "shared::cta", "local", "param", "param::entry"]) {
            Some("global" | "const") => Ok(0),
            Some("shared" | "shared::cta") => Ok(window::of(Space::Shared)),
            Some("local") => Ok(window::of(Space::Local)),
            Some(_) => Ok(window::of(Space::Param)),
            None => op.unknown(),
        }
    }

    fn is_space(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        self.expect(op, args, 2)?;
        let base = self.window(op)?;
        let set = SetPredicate { p: Some(self.dst(&args[0], Type::Pred)?), q: None, combine: None };
        let a = self.src(&args[1], Type::U64)?;
        Ok(Op::Lanes(compare::<u64>(set, [a, a], move |a, _| window::base(a) == base)))
    }

    fn convert(&mut self, op: &Opcode, how: How, args: &[Operand]) -> Result<LaneFn, ParseError> {
        if matches!(how.to, Type::Bf16x2 | Type::F16x2) {
            return self.convert_pair(op, how, args);
        }
        self.expect(op, args, 2)?;
        let d = self.dst_any(&args[0], how.to)?;
        let a = self.src_any(&args[1], how.from)?;
        match (how.from.is_float(), how.to.is_float()) {
            (false, false) => integer_to_integer(op, how, d, a),
            (false, true) => integer_to_float(op, how, d, a),
            (true, false) => float_to_integer(op, how, d, a),
            (true, true) => float_to_float(op, how, d, a),
        }
    }

    /// `cvt.rn.bf16x2.f32 d, a, b`: `a` goes to the upper half.
    fn convert_pair(&mut self, op: &Opcode, how: How, args: &[Operand]) -> Result<LaneFn, ParseError> {
        if how.from == Type::E4m3x2 {
            return self.convert_codes(op, how, args);
        }
        self.expect(op, args, 3)?;
        let Some(mode) = how.mode().filter(|_| how.from == Type::F32) else { return op.unknown() };
        let (d, ab) = (self.dst(&args[0], how.to)?, self.srcs(&args[1..], Type::F32)?);
        let relu = move |x: f32| if how.relu && x < 0.0 { 0.0 } else { x };
        Ok(match (how.to, mode) {
            (Type::Bf16x2, Round::Nearest) => {
                binary::<Pair<Bf16>, f32, f32>(d, ab, move |a, b| Pair(Bf16::nearest(relu(b)), Bf16::nearest(relu(a))))
            }
            (Type::Bf16x2, _) => binary::<Pair<Bf16>, f32, f32>(d, ab, move |a, b| {
                Pair(Bf16::round(f64::from(relu(b)), mode), Bf16::round(f64::from(relu(a)), mode))
            }),
            _ => binary::<Pair<F16>, f32, f32>(d, ab, move |a, b| {
                Pair(F16::round(f64::from(relu(b)), mode), F16::round(f64::from(relu(a)), mode))
            }),
        })
    }

    /// `cvt.rn.f16x2.e4m3x2 d, a`: the lower byte goes to the lower half.
    fn convert_codes(&mut self, op: &Opcode, how: How, args: &[Operand]) -> Result<LaneFn, ParseError> {
        self.expect(op, args, 2)?;
        let is_plain = !how.ftz && !how.sat && !how.relu && how.rounding.as_deref() == Some("rn");
        if how.to != Type::F16x2 || !is_plain {
            return op.unknown();
        }
        let (d, a) = (self.dst(&args[0], how.to)?, self.src(&args[1], how.from)?);
        Ok(unary::<Pair<F16>, u16>(d, a, |codes| {
            let [low, high] = codes.to_le_bytes().map(F16::of_e4m3);
            Pair(low, high)
        }))
    }
}

/// The unsigned words of the register classes, zero-extended.
trait Word {
    fn into_u64(self) -> u64;
}

impl Word for u16 {
    #[inline(always)]
    fn into_u64(self) -> u64 {
        u64::from(self)
    }
}

impl Word for u32 {
    #[inline(always)]
    fn into_u64(self) -> u64 {
        u64::from(self)
    }
}

impl Word for u64 {
    #[inline(always)]
    fn into_u64(self) -> u64 {
        self
    }
}

/// A conversion's types and modifiers.
struct How {
    to: Type,
    from: Type,
    rounding: Option<String>,
    ftz: bool,
    sat: bool,
    relu: bool,
}

impl How {
    fn mode(&self) -> Option<Round> {
        self.rounding.as_deref().map_or(Some(Round::Nearest), Round::parse)
    }
}

/// The low `bits` bits of `x` with the sign (or zeros) above.
#[inline(always)]
fn extend(x: u64, bits: u32, signed: bool) -> u64 {
    let shift = 64 - bits;
    if signed { ((x << shift) as i64 >> shift) as u64 } else { x << shift >> shift }
}

/// The smallest and largest number of an integer type.
fn range(ty: Type) -> (i128, i128) {
    let bits = ty.bits();
    if ty.is_signed() { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
}

fn integer_to_integer(op: &Opcode, how: How, d: Reg, a: Reg) -> Result<LaneFn, ParseError> {
    let (from, to) = ((how.from.bits(), how.from.is_signed()), (how.to.bits(), how.to.is_signed()));
    if how.sat {
        let (low, high) = range(how.to);
        return Ok(by_class!(op, a.class, A => by_class!(op, d.class, D => unary::<D, A>(d.slot, a.slot, move |a| {
            let x = extend(a.into_u64(), from.0, from.1);
            let x = if from.1 { i128::from(x as i64) } else { i128::from(x) };
            x.clamp(low, high) as D
        }))));
    }
    if to.0 >= d.class.bytes() as u32 * 8 {
        return Ok(by_class!(op, a.class, A => by_class!(op, d.class, D => unary::<D, A>(d.slot, a.slot, move |a| {
            extend(a.into_u64(), from.0, from.1) as D
        }))));
    }
    Ok(by_class!(op, a.class, A => by_class!(op, d.class, D => unary::<D, A>(d.slot, a.slot, move |a| {
        extend(extend(a.into_u64(), from.0, from.1), to.0, to.1) as D
    }))))
}

fn integer_to_float(op: &Opcode, how: How, d: Reg, a: Reg) -> Result<LaneFn, ParseError> {
    let (bits, signed) = (how.from.bits(), how.from.is_signed());
    let Some(mode) = how.mode() else { return op.unknown() };
    // The value as a rounded f64 and what that leaves, which together are exact.
    let wide = move |x: u64| {
        let x = extend(x, bits, signed);
        let x = if signed { i128::from(x as i64) } else { i128::from(x) };
        let hi = x as f64;
        (hi, (x - hi as i128) as f64)
    };
    Ok(by_class!(op, a.class, A => match how.to {
        Type::F32 if mode == Round::Nearest && signed => unary::<f32, A>(d.slot, a.slot, move |a| {
            extend(a.into_u64(), bits, true) as i64 as f32
        }),
        Type::F32 if mode == Round::Nearest => unary::<f32, A>(d.slot, a.slot, move |a| {
            extend(a.into_u64(), bits, false) as f32
        }),
        Type::F32 => unary::<f32, A>(d.slot, a.slot, move |a| {
            let (hi, lo) = wide(a.into_u64());
            round_f32(hi, lo, mode)
        }),
        Type::F64 if mode == Round::Nearest => unary::<f64, A>(d.slot, a.slot, move |a| wide(a.into_u64()).0),
        Type::F16 => unary::<F16, A>(d.slot, a.slot, move |a| F16::round(wide(a.into_u64()).0, mode)),
        Type::Bf16 => unary::<Bf16, A>(d.slot, a.slot, move |a| Bf16::round(wide(a.into_u64()).0, mode)),
        _ => return op.unknown(),
    }))
}

/// Rounds to an integer as `rni`, `rzi`, `rmi` and `rpi` say.
#[inline(always)]
fn integral(x: f64, mode: Round) -> f64 {
    match mode {
        Round::Nearest => x.round_ties_even(),
        Round::Zero => x.trunc(),
        Round::Down => x.floor(),
        Round::Up => x.ceil(),
    }
}

fn integral_mode(how: &How) -> Option<Round> {
    Round::parse(how.rounding.as_deref()?.strip_suffix('i')?)
}

fn float_to_integer(op: &Opcode, how: How, d: Reg, a: Reg) -> Result<LaneFn, ParseError> {
    let Some(mode) = integral_mode(&how) else { return op.unknown() };
    let (low, high) = range(how.to);
    let wide = how.from == Type::F64 || how.to.bits() == 64;
    let nan = if wide { 1i128 << (how.to.bits() - 1) } else { 0 };
    let ftz = how.ftz;
    let f = move |x: f64| {
        let x = if ftz && x.abs() < f64::from(f32::MIN_POSITIVE) { 0.0 } else { x };
        if x.is_nan() { nan as u64 } else { (integral(x, mode) as i128).clamp(low, high) as u64 }
    };
    Ok(by_class!(op, d.class, D => match how.from {
        Type::F32 if how.to == Type::U32 => unary::<D, f32>(d.slot, a.slot, move |a| integral(f64::from(a), mode) as u32 as D),
        Type::F32 if how.to == Type::S32 => {
            unary::<D, f32>(d.slot, a.slot, move |a| integral(f64::from(a), mode) as i32 as D)
        }
        Type::F32 => unary::<D, f32>(d.slot, a.slot, move |a| f(f64::from(a)) as D),
        Type::F64 => unary::<D, f64>(d.slot, a.slot, move |a| f(a) as D),
        Type::F16 => unary::<D, F16>(d.slot, a.slot, move |a| f(f64::from(a.to_f32())) as D),
        Type::Bf16 => unary::<D, Bf16>(d.slot, a.slot, move |a| f(f64::from(a.to_f32())) as D),
        _ => return op.unknown(),
    }))
}

fn float_to_float(op: &Opcode, how: How, d: Reg, a: Reg) -> Result<LaneFn, ParseError> {
    let to_integer = integral_mode(&how);
    let Some(mode) = how.mode().or(to_integer) else { return op.unknown() };
    let (ftz, sat, relu) = (how.ftz, how.sat, how.relu);
    let plain = !ftz && !sat && !relu && to_integer.is_none();
    if plain && (how.from, how.to, mode) == (Type::F32, Type::Bf16, Round::Nearest) {
        return Ok(unary::<Bf16, f32>(d.slot, a.slot, Bf16::nearest));
    }
    let before = move |x: f64| {
        let x = if ftz && x.abs() < f64::from(f32::MIN_POSITIVE) { 0f64.copysign(x) } else { x };
        let x = to_integer.map_or(x, |mode| integral(x, mode));
        let x = if relu && x < 0.0 { 0.0 } else { x };
        if sat { x.saturate() } else { x }
    };
    macro_rules! from {
        ($d:ty, $f:expr) => {
            match how.from {
                Type::F32 => unary::<$d, f32>(d.slot, a.slot, move |a| $f(before(f64::from(a)))),
                Type::F64 => unary::<$d, f64>(d.slot, a.slot, move |a| $f(before(a))),
                Type::F16 => unary::<$d, F16>(d.slot, a.slot, move |a| $f(before(f64::from(a.to_f32())))),
                Type::Bf16 => unary::<$d, Bf16>(d.slot, a.slot, move |a| $f(before(f64::from(a.to_f32())))),
                _ => return op.unknown(),
            }
        };
    }
    let narrow = move |x: f64| {
        let x = round_f32(x, 0.0, mode);
        let x = if ftz { Real::flush(x) } else { x };
        x.canonical()
    };
    Ok(match how.to {
        Type::F32 => from!(f32, narrow),
        Type::F64 => from!(f64, |x: f64| x),
        Type::F16 => from!(F16, |x: f64| F16::round(x, mode)),
        Type::Bf16 => from!(Bf16, |x: f64| Bf16::round(x, mode)),
        _ => return op.unknown(),
    })
}
