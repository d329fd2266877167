//! Loads, stores, atomics, asynchronous copies, matrix loads.

use super::{Decoder, opcode::Opcode};
use crate::lanes::Reg;
use crate::parse::{Operand, ParseError, Space};
use crate::program::{Access, Atomic, AtomicOp, CopyAsync, LoadMatrix, Op, Order};
use crate::types::{Class, Type};

impl Decoder<'_> {
    pub fn memory(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        match op.name {
            "ld" | "ldu" | "st" => self.access(op, args),
            "atom" | "red" => self.atomic(op, args),
            "cp" => self.copy_async(op, args),
            "ldmatrix" => self.load_matrix(op, args),
            _ => {
                // Prefetches move nothing that a program can see, not even a fault.
                op.skip_hints();
                op.take_any(&["global", "local", "L1", "L2", "tensormap"]);
                op.take_any(&["L1", "L2"]);
                Ok(Op::Nothing)
            }
        }
    }

    fn space(op: &mut Opcode) -> Space {
        const SPACES: [&str; 10] = [
            "global",
            "shared",
            "shared::cta",
            "local",
            "param",
            "const",
            "param::entry",
            "param::func",
            "generic",
            "tex",
        ];
        match op.take_any(&SPACES[..9]) {
            Some("global") => Space::Global,
            Some("const") => Space::Const,
            Some("shared" | "shared::cta") => Space::Shared,
            Some("local") => Space::Local,
            Some("param" | "param::entry" | "param::func") => Space::Param,
            _ => Space::Generic,
        }
    }

    /// What the semantics and the scope of an access order; volatile ones are relaxed ones of the system.
    pub fn order(op: &mut Opcode, semantics: Option<&str>) -> Order {
        let is = |names: &[&str]| semantics.is_some_and(|semantics| names.contains(&semantics));
        let system = is(&["volatile", "mmio"]) || (semantics.is_some() && op.take("sys"));
        Order { system, release: is(&["release", "acq_rel", "sc"]), acquire: is(&["acquire", "acq_rel", "sc"]) }
    }

    fn access(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        self.expect(op, args, 2)?;
        let space = Self::space(op);
        let semantics = op.take_any(&["volatile", "relaxed", "acquire", "release", "mmio"]);
        let strong = semantics.is_some();
        let order = Self::order(op, semantics);
        op.skip_hints();
        op.take("unified");
        let lanes = op.take_any(&["v2", "v4", "v8"]);
        let ty = op.ty()?;
        let store = op.name == "st";
        let (value, address) = if store { (&args[1], &args[0]) } else { (&args[0], &args[1]) };
        let operands = match value {
            Operand::Vector(operands) => operands.as_slice(),
            single => std::slice::from_ref(single),
        };
        if lanes.map_or(1, |l| usize::from(l.as_bytes()[1] - b'0')) != operands.len() {
            return op.error("the number of registers does not fit the vector");
        }
        let address = self.address(address, space)?;
        let mut values = Vec::new();
        for operand in operands {
            values.push(match (store, operand) {
                (true, operand) => Some(self.src_any(operand, ty)?),
                (false, Operand::Name(name)) if name == "_" => None,
                (false, operand) => Some(self.dst_any(operand, ty)?),
            });
        }
        self.program.resident |= strong && !store && matches!(address.space, Space::Global | Space::Generic);
        let access = Box::new(Access { address, ty, values, strong, order });
        Ok(if store { Op::Store(access) } else { Op::Load(access) })
    }

    fn atomic(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        let space = Self::space(op);
        let semantics = op.take_any(&["relaxed", "acquire", "release", "acq_rel"]).unwrap_or("relaxed");
        let order = Self::order(op, Some(semantics));
        op.skip_hints();
        op.take("noftz");
        let Some(kind) = op.take_with(atomic_op) else { return op.unknown() };
        let ty = op.ty()?;
        let fits = match kind {
            AtomicOp::Add => !matches!(ty, Type::B32 | Type::B64),
            AtomicOp::Min | AtomicOp::Max => matches!(ty, Type::U32 | Type::S32 | Type::U64 | Type::S64),
            AtomicOp::Increment | AtomicOp::Decrement => ty == Type::U32,
            _ => !ty.is_float(),
        };
        if !fits || ty.bytes() < 4 && !(kind == AtomicOp::CompareSwap && ty == Type::B16) {
            return op.unknown();
        }
        let returns = op.name == "atom";
        let operands = if returns { &args[1..] } else { args };
        self.expect(op, operands, if kind == AtomicOp::CompareSwap { 3 } else { 2 })?;
        let class = ty.class();
        let sink = args.first() == Some(&Operand::Name("_".to_string()));
        let d = match returns && !sink {
            true => Some(Reg { class, slot: self.dst(&args[0], ty)? }),
            false => None,
        };
        let address = self.address(&operands[0], space)?;
        let b = Reg { class, slot: self.src(&operands[1], ty)? };
        let c = match operands.get(2) {
            Some(operand) => Some(Reg { class, slot: self.src(operand, ty)? }),
            None => None,
        };
        self.program.resident |= matches!(address.space, Space::Global | Space::Generic);
        Ok(Op::Atomic(Box::new(Atomic { address, op: kind, ty, order, d, b, c })))
    }

    fn copy_async(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        op.take("async");
        if op.take("commit_group") {
            return Ok(Op::CopyCommit);
        }
        if op.take("wait_all") {
            return Ok(Op::CopyWait(None));
        }
        if op.take("wait_group") {
            let [Operand::Int(groups)] = args else { return op.error("a number of groups is expected") };
            return Ok(Op::CopyWait(Some(*groups as u32)));
        }
        let bypass = op.take("cg");
        if !op.take_any(&["shared", "shared::cta"]).is_some_and(|_| op.take("global")) {
            return op.unknown();
        }
        op.skip_hints();
        if args.len() != 3 && args.len() != 4 {
            return op.error("3 or 4 operands expected");
        }
        let (to, from) = (self.address(&args[0], Space::Shared)?, self.address(&args[1], Space::Global)?);
        let bytes = match args[2] {
            Operand::Int(16) => 16,
            Operand::Int(bytes @ (4 | 8)) if !bypass => bytes as usize,
            _ => return op.error("the size must be 4, 8 or 16 bytes (16 with .cg)"),
        };
        let source_bytes = match args.get(3) {
            Some(operand) => Some(self.src(operand, Type::U32)?),
            None => None,
        };
        Ok(Op::CopyAsync(Box::new(CopyAsync { to, from, bytes, source_bytes })))
    }

    fn load_matrix(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        self.expect(op, args, 2)?;
        let form = op.take("sync") && op.take("aligned") && op.take("m8n8");
        let count = match op.take_any(&["x1", "x2", "x4"]) {
            Some("x1") => 1,
            Some("x2") => 2,
            Some(_) => 4,
            None => return op.unknown(),
        };
        let transposed = op.take("trans");
        if !form || Self::space(op) != Space::Shared || op.ty()? != Type::B16 {
            return op.unknown();
        }
        let operands = match &args[0] {
            Operand::Vector(operands) => operands.as_slice(),
            single => std::slice::from_ref(single),
        };
        self.expect(op, operands, count)?;
        let address = self.address(&args[1], Space::Shared)?;
        let mut d = Vec::new();
        for operand in operands {
            d.push(self.dst(operand, Type::B32)?);
        }
        debug_assert!(address.base.class != Class::Pred);
        Ok(Op::LoadMatrix(Box::new(LoadMatrix { address, d, transposed })))
    }
}

/// The operation that a modifier of `atom`, `red` or `redux` names.
pub fn atomic_op(word: &str) -> Option<AtomicOp> {
    Some(match word {
        "add" => AtomicOp::Add,
        "min" => AtomicOp::Min,
        "max" => AtomicOp::Max,
        "and" => AtomicOp::And,
        "or" => AtomicOp::Or,
        "xor" => AtomicOp::Xor,
        "exch" => AtomicOp::Exchange,
        "cas" => AtomicOp::CompareSwap,
        "inc" => AtomicOp::Increment,
        "dec" => AtomicOp::Decrement,
        _ => return None,
    })
}
