//! Barriers and warp-wide instructions.

use super::{Decoder, memory::atomic_op, opcode::Opcode};
use crate::lanes::Reg;
use crate::parse::{Operand, ParseError};
use crate::program::{AtomicOp, Barrier, BarrierKind, Op, Shuffle, ShuffleMode, Vote};
use crate::types::{Class, Type};

impl Decoder<'_> {
    pub fn barrier(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        op.skip_hints();
        if op.take("warp") {
            self.expect(op, args, 1)?;
            if !op.take("sync") {
                return op.unknown();
            }
            return Ok(Op::WarpBarrier { members: self.src(&args[0], Type::B32)? });
        }
        if op.take("red") {
            return self.reducing_barrier(op, args);
        }
        let kind = match op.take_any(&["sync", "arrive"]) {
            Some("sync") => BarrierKind::Sync,
            Some(_) => BarrierKind::Arrive,
            None => return op.unknown(),
        };
        let [id, rest @ ..] = args else { return op.error("the number of the barrier is missing") };
        let id = self.src(id, Type::U32)?;
        let threads = match rest {
            [] => None,
            [threads] => Some(self.src(threads, Type::U32)?),
            _ => return op.error("too many operands"),
        };
        Ok(Op::Barrier(Box::new(Barrier { id, threads, kind })))
    }

    fn reducing_barrier(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        let mode = match op.take_any(&["popc", "and", "or"]) {
            Some("popc") => Vote::Count,
            Some("and") => Vote::All,
            Some(_) => Vote::Any,
            None => return op.unknown(),
        };
        let ty = op.ty()?;
        if args.len() < 3 || ty != if mode == Vote::Count { Type::U32 } else { Type::Pred } {
            return op.unknown();
        }
        let d = Reg { class: ty.class(), slot: self.dst(&args[0], ty)? };
        let id = self.src(&args[1], Type::U32)?;
        let threads = if args.len() == 4 { Some(self.src(&args[2], Type::U32)?) } else { None };
        let (p, negated) = self.predicate(&args[args.len() - 1])?;
        let kind = BarrierKind::Reduce { mode, d, p, negated };
        Ok(Op::Barrier(Box::new(Barrier { id, threads, kind })))
    }

    pub fn collective(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        if op.name == "activemask" {
            self.expect(op, args, 1)?;
            op.ty()?;
            return Ok(Op::ActiveMask { d: self.dst(&args[0], Type::B32)? });
        }
        if !op.take("sync") {
            return op.unknown();
        }
        match op.name {
            "shfl" => self.shuffle(op, args),
            "vote" => self.vote(op, args),
            "match" => self.matching(op, args),
            _ => self.reduce(op, args),
        }
    }

    fn shuffle(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        self.expect(op, args, 5)?;
        let mode = match op.take_any(&["up", "down", "bfly", "idx"]) {
            Some("up") => ShuffleMode::Up,
            Some("down") => ShuffleMode::Down,
            Some("bfly") => ShuffleMode::Butterfly,
            Some(_) => ShuffleMode::Index,
            None => return op.unknown(),
        };
        if op.ty()? != Type::B32 {
            return op.unknown();
        }
        let (d, p) = match &args[0] {
            Operand::Pair(d, p) => (self.dst(d, Type::B32)?, Some(self.dst(p, Type::Pred)?)),
            d => (self.dst(d, Type::B32)?, None),
        };
        let [a, b, c, members] = self.srcs(&args[1..], Type::B32)?;
        Ok(Op::Shuffle(Box::new(Shuffle { mode, d, p, a, b, c, members })))
    }

    fn vote(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        self.expect(op, args, 3)?;
        let (mode, want) = match op.take_any(&["ballot", "any", "all", "uni"]) {
            Some("ballot") => (Vote::Ballot, Type::B32),
            Some("any") => (Vote::Any, Type::Pred),
            Some("all") => (Vote::All, Type::Pred),
            Some(_) => (Vote::Uniform, Type::Pred),
            None => return op.unknown(),
        };
        if op.ty()? != want {
            return op.unknown();
        }
        let d = Reg { class: want.class(), slot: self.dst(&args[0], want)? };
        let (p, negated) = self.predicate(&args[1])?;
        Ok(Op::Vote { mode, d, p, negated, members: self.src(&args[2], Type::B32)? })
    }

    fn matching(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        self.expect(op, args, 3)?;
        let all = op.take("all");
        let ty = op.ty()?;
        if !all && !op.take("any") || !matches!(ty, Type::B32 | Type::B64) {
            return op.unknown();
        }
        let (d, p) = match &args[0] {
            Operand::Pair(d, p) if all => (self.dst(d, Type::B32)?, Some(self.dst(p, Type::Pred)?)),
            d => (self.dst(d, Type::B32)?, None),
        };
        let value = Reg { class: ty.class(), slot: self.src(&args[1], ty)? };
        Ok(Op::Match { all, d, p, value, members: self.src(&args[2], Type::B32)? })
    }

    fn reduce(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        self.expect(op, args, 3)?;
        let Some(kind) = op.take_with(atomic_op) else { return op.unknown() };
        let ty = op.ty()?;
        let fits = match kind {
            AtomicOp::Add | AtomicOp::Min | AtomicOp::Max => matches!(ty, Type::U32 | Type::S32),
            AtomicOp::And | AtomicOp::Or | AtomicOp::Xor => ty == Type::B32,
            _ => false,
        };
        if !fits || ty.class() != Class::R32 {
            return op.unknown();
        }
        let d = self.dst(&args[0], ty)?;
        let [a, members] = self.srcs(&args[1..], Type::B32)?;
        Ok(Op::Reduce { op: kind, ty, d, a, members })
    }
}
