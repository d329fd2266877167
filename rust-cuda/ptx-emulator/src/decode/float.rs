//! Floating-point arithmetic and the approximate functions.

use super::{Decoder, opcode::Opcode};
use crate::float::{Bf16, Canonical, F16, Kind, Pair, Real, Round, fma_f32, round_f32};
use crate::lanes::{LaneFn, SetPredicate, binary, compare, ternary, unary};
use crate::parse::{Operand, ParseError};
use crate::program::Op;
use crate::types::Type;

/// Evaluates an expression with `$t` standing for the Rust type of a PTX floating-point type.
macro_rules! real {
    ($op:expr, $ty:expr, $t:ident => $e:expr) => {
        match $ty {
            Type::F32 => {
                type $t = f32;
                $e
            }
            Type::F64 => {
                type $t = f64;
                $e
            }
            Type::F16 => {
                type $t = F16;
                $e
            }
            Type::Bf16 => {
                type $t = Bf16;
                $e
            }
            Type::F16x2 => {
                type $t = Pair<F16>;
                $e
            }
            Type::Bf16x2 => {
                type $t = Pair<Bf16>;
                $e
            }
            _ => return $op.unknown(),
        }
    };
}

/// What surrounds an operation: subnormals to zero before and after, clamping after.
#[derive(Clone, Copy)]
struct Edges {
    ftz: bool,
    sat: bool,
}

impl Edges {
    fn take(op: &mut Opcode) -> Edges {
        Edges { ftz: op.take("ftz"), sat: op.take("sat") }
    }

    fn is_plain(self) -> bool {
        !self.ftz && !self.sat
    }

    #[inline(always)]
    fn before<T: Real>(self, x: T) -> T {
        if self.ftz { x.flush() } else { x }
    }

    #[inline(always)]
    fn after<T: Real>(self, x: T) -> T {
        let x = self.before(x);
        if self.sat { x.saturate() } else { x }
    }
}

impl Decoder<'_> {
    pub fn float_arithmetic(&mut self, op: &mut Opcode, ty: Type, args: &[Operand]) -> Result<Op, ParseError> {
        let edges = Edges::take(op);
        Ok(Op::Lanes(match op.name {
            "add" | "sub" | "mul" | "fma" | "mad" => self.sums(op, ty, edges, args)?,
            "min" | "max" => self.extremes(op, ty, edges, args)?,
            "abs" | "neg" => {
                self.expect(op, args, 2)?;
                let (d, a, abs) = (self.dst(&args[0], ty)?, self.src(&args[1], ty)?, op.name == "abs");
                real!(op, ty, T => unary::<T, T>(d, a, move |a| {
                    edges.before(if abs { Real::abs(a) } else { Real::neg(a) })
                }))
            }
            "div" => self.divide(op, ty, edges, args)?,
            _ => return op.unknown(),
        }))
    }

    fn sums(&mut self, op: &mut Opcode, ty: Type, edges: Edges, args: &[Operand]) -> Result<LaneFn, ParseError> {
        let mode = op.rounding();
        if mode != Round::Nearest {
            return self.directed(op, ty, edges, mode, args);
        }
        let fused = matches!(op.name, "fma" | "mad");
        self.expect(op, args, if fused { 4 } else { 3 })?;
        let d = self.dst(&args[0], ty)?;
        if fused {
            let abc = self.srcs(&args[1..], ty)?;
            return Ok(match edges.is_plain() {
                true => real!(op, ty, T => ternary::<T, T, T, T>(d, abc, |a, b, c| a.fma(b, c))),
                false => real!(op, ty, T => ternary::<T, T, T, T>(d, abc, move |a, b, c| {
                    edges.after(edges.before(a).fma(edges.before(b), edges.before(c)))
                })),
            });
        }
        let ab = self.srcs(&args[1..], ty)?;
        Ok(match (op.name, edges.is_plain()) {
            ("add", true) => real!(op, ty, T => binary::<T, T, T>(d, ab, Real::add)),
            ("sub", true) => real!(op, ty, T => binary::<T, T, T>(d, ab, |a, b| Real::add(a, Real::neg(b)))),
            ("mul", true) => real!(op, ty, T => binary::<T, T, T>(d, ab, Real::mul)),
            ("add", _) => real!(op, ty, T => binary::<T, T, T>(d, ab, move |a, b| {
                edges.after(Real::add(edges.before(a), edges.before(b)))
            })),
            ("sub", _) => real!(op, ty, T => binary::<T, T, T>(d, ab, move |a, b| {
                edges.after(Real::add(edges.before(a), Real::neg(edges.before(b))))
            })),
            _ => real!(op, ty, T => binary::<T, T, T>(d, ab, move |a, b| {
                edges.after(Real::mul(edges.before(a), edges.before(b)))
            })),
        })
    }

    /// f32 sums and products that do not round to nearest.
    fn directed(
        &mut self,
        op: &mut Opcode,
        ty: Type,
        edges: Edges,
        mode: Round,
        args: &[Operand],
    ) -> Result<LaneFn, ParseError> {
        if ty != Type::F32 {
            return op.unknown();
        }
        let d = self.dst(&args[0], ty)?;
        if matches!(op.name, "fma" | "mad") {
            self.expect(op, args, 4)?;
            let abc = self.srcs(&args[1..], ty)?;
            return Ok(ternary::<f32, f32, f32, f32>(d, abc, move |a, b, c| {
                edges.after(fma_f32(edges.before(a), edges.before(b), edges.before(c), mode))
            }));
        }
        self.expect(op, args, 3)?;
        let ab = self.srcs(&args[1..], ty)?;
        let f: fn(f32, f32, Round) -> f32 = match op.name {
            "add" => |a, b, mode| fma_f32(a, 1.0, b, mode),
            "sub" => |a, b, mode| fma_f32(a, 1.0, -b, mode),
            _ => |a, b, mode| fma_f32(a, b, 0.0, mode),
        };
        Ok(binary::<f32, f32, f32>(d, ab, move |a, b| edges.after(f(edges.before(a), edges.before(b), mode))))
    }

    fn extremes(&mut self, op: &mut Opcode, ty: Type, edges: Edges, args: &[Operand]) -> Result<LaneFn, ParseError> {
        let (nan, max) = (op.take("NaN"), op.name == "max");
        let d = self.dst(&args[0], ty)?;
        if args.len() == 4 {
            let abc = self.srcs(&args[1..], ty)?;
            return Ok(real!(op, ty, T => ternary::<T, T, T, T>(d, abc, move |a, b, c| {
                let [a, b, c] = [a, b, c].map(|x| edges.before(x));
                match max {
                    true => Real::max(Real::max(a, b, nan), c, nan),
                    false => Real::min(Real::min(a, b, nan), c, nan),
                }
            })));
        }
        self.expect(op, args, 3)?;
        let ab = self.srcs(&args[1..], ty)?;
        Ok(match max {
            true => real!(op, ty, T => binary::<T, T, T>(d, ab, move |a, b| {
                Real::max(edges.before(a), edges.before(b), nan)
            })),
            false => real!(op, ty, T => binary::<T, T, T>(d, ab, move |a, b| {
                Real::min(edges.before(a), edges.before(b), nan)
            })),
        })
    }

    fn divide(&mut self, op: &mut Opcode, ty: Type, edges: Edges, args: &[Operand]) -> Result<LaneFn, ParseError> {
        self.expect(op, args, 3)?;
        // `.approx` and `.full` promise two ulps; correctly rounded is within that.
        let mode = if op.take("approx") || op.take("full") { Round::Nearest } else { op.rounding() };
        let (d, ab) = (self.dst(&args[0], ty)?, self.srcs(&args[1..], ty)?);
        Ok(match ty {
            Type::F32 => binary::<f32, f32, f32>(d, ab, move |a, b| {
                edges.after(quotient(edges.before(a), edges.before(b), mode))
            }),
            Type::F64 if mode == Round::Nearest => binary::<f64, f64, f64>(d, ab, |a, b| (a / b).canonical()),
            _ => return op.unknown(),
        })
    }

    /// `rcp`, `sqrt`, `rsqrt`, `sin`, `cos`, `lg2`, `ex2`, `tanh`, `copysign`, `testp`
    pub fn transcendental(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        let edges = Edges::take(op);
        if op.name == "testp" {
            return self.test(op, args);
        }
        if op.name == "copysign" {
            self.expect(op, args, 3)?;
            let ty = op.ty()?;
            let (d, ab) = (self.dst(&args[0], ty)?, self.srcs(&args[1..], ty)?);
            // PTX takes the sign of `a` and the magnitude of `b`.
            return Ok(Op::Lanes(match ty {
                Type::F32 => binary::<f32, f32, f32>(d, ab, |a, b| b.copysign(a)),
                Type::F64 => binary::<f64, f64, f64>(d, ab, |a, b| b.copysign(a)),
                _ => return op.unknown(),
            }));
        }
        self.expect(op, args, 2)?;
        let approx = op.take("approx");
        let mode = if approx { Round::Nearest } else { op.rounding() };
        let ty = op.ty()?;
        let (d, a) = (self.dst(&args[0], ty)?, self.src(&args[1], ty)?);
        let Some(f) = function(op.name) else { return op.unknown() };
        Ok(Op::Lanes(match ty {
            Type::F32 if op.name == "sqrt" && mode == Round::Nearest => {
                unary::<f32, f32>(d, a, move |a| edges.after(edges.before(a).sqrt().canonical()))
            }
            Type::F32 if op.name == "rcp" => {
                unary::<f32, f32>(d, a, move |a| edges.after(quotient(1.0, edges.before(a), mode)))
            }
            Type::F32 if mode == Round::Nearest => {
                unary::<f32, f32>(d, a, move |a| edges.after((f(f64::from(edges.before(a))) as f32).canonical()))
            }
            Type::F64 if mode == Round::Nearest => unary::<f64, f64>(d, a, move |a| f(a).canonical()),
            Type::F16 => unary::<F16, F16>(d, a, move |a| F16::round(f(f64::from(a.to_f32())), mode)),
            Type::Bf16 => unary::<Bf16, Bf16>(d, a, move |a| Bf16::round(f(f64::from(a.to_f32())), mode)),
            _ => return op.unknown(),
        }))
    }

    fn test(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        let asked: &[Kind] = match op.take_any(&["finite", "infinite", "number", "notanumber", "normal", "subnormal"]) {
            Some("finite") => &[Kind::Zero, Kind::Subnormal, Kind::Normal],
            Some("infinite") => &[Kind::Infinite],
            Some("number") => &[Kind::Zero, Kind::Subnormal, Kind::Normal, Kind::Infinite],
            Some("notanumber") => &[Kind::Nan],
            Some("normal") => &[Kind::Normal],
            Some("subnormal") => &[Kind::Subnormal],
            _ => return op.unknown(),
        };
        self.expect(op, args, 2)?;
        let ty = op.ty()?;
        let set = SetPredicate { p: Some(self.dst(&args[0], Type::Pred)?), q: None, combine: None };
        let a = self.src(&args[1], ty)?;
        Ok(Op::Lanes(real!(op, ty, T => compare::<T>(set, [a, a], move |a, _| asked.contains(&a.tests())))))
    }
}

/// `a / b` rounded in `mode`.
#[inline(always)]
fn quotient(a: f32, b: f32, mode: Round) -> f32 {
    let nearest = (a / b).canonical();
    if mode == Round::Nearest || nearest.is_nan() || !a.is_finite() || !b.is_finite() || a == 0.0 || b == 0.0 {
        return nearest;
    }
    if nearest.is_infinite() {
        return round_f32(f64::from(a) / f64::from(b), 0.0, mode);
    }
    // The remainder is exact in f64, and its sign over b's is that of the error left.
    let rest = (-f64::from(nearest)).mul_add(f64::from(b), f64::from(a));
    let (below, above) = ((rest < 0.0) != (b < 0.0) && rest != 0.0, (rest > 0.0) != (b < 0.0) && rest != 0.0);
    let down = mode == Round::Down || mode == Round::Zero && nearest > 0.0;
    let up = mode == Round::Up || mode == Round::Zero && nearest < 0.0;
    match () {
        _ if down && below => nearest.next_down(),
        _ if up && above => nearest.next_up(),
        _ => nearest,
    }
}

/// The functions of one operand, in f64, whose rounding to f32 is closer than any `.approx` promises.
fn function(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "rcp" => |x| 1.0 / x,
        "sqrt" => f64::sqrt,
        "rsqrt" => |x| 1.0 / x.sqrt(),
        "sin" => f64::sin,
        "cos" => f64::cos,
        "lg2" => f64::log2,
        "ex2" => f64::exp2,
        "tanh" => f64::tanh,
        _ => return None,
    })
}
