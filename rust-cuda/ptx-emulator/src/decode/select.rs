//! Which decoder an opcode belongs to.

use super::{Decoder, opcode::Opcode};
use crate::parse::{Operand, ParseError};
use crate::program::Op;

impl Decoder<'_> {
    /// Decodes one instruction; `None` where it leaves nothing to execute.
    pub fn decode(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Option<Op>, ParseError> {
        let decoded = match op.name {
            "st" if op.has("async") => self.send_async(op, args)?,
            "mapa" | "mbarrier" => self.cluster(op, args)?,
            "bar" | "barrier" if op.has("cluster") => self.cluster_barrier(op, args)?,
            "fence" if op.has("mbarrier_init") => self.mailbox_fence(op, args)?,
            "add" | "sub" | "mul" | "mul24" | "mad" | "mad24" | "addc" | "subc" | "madc" | "div" | "rem" | "min"
            | "max" | "abs" | "neg" | "sad" | "fma" => self.arithmetic(op, args)?,
            "and" | "or" | "xor" | "not" | "cnot" | "shl" | "shr" | "shf" | "lop3" | "prmt" | "bfe" | "bfi"
            | "popc" | "clz" | "brev" | "bfind" | "fns" | "dp4a" | "szext" | "bmsk" => self.bits(op, args)?,
            "rcp" | "sqrt" | "rsqrt" | "sin" | "cos" | "lg2" | "ex2" | "tanh" | "copysign" | "testp" => {
                self.transcendental(op, args)?
            }
            "setp" | "set" | "selp" | "slct" => self.comparison(op, args)?,
            "mov" | "cvt" | "cvta" | "isspacep" => self.conversion(op, args)?,
            "ld" | "ldu" | "st" | "atom" | "red" | "prefetch" | "prefetchu" | "discard" | "applypriority" | "cp"
            | "ldmatrix" => self.memory(op, args)?,
            "mma" => self.mma(op, args)?,
            "wgmma" => self.product(op, args)?,
            "bra" | "brx" | "ret" | "exit" | "trap" | "brkpt" | "nanosleep" | "griddepcontrol" | "membar" | "fence"
            | "pmevent" => return self.control(op, args),
            "bar" | "barrier" => self.barrier(op, args)?,
            "shfl" | "vote" | "match" | "redux" | "activemask" => self.collective(op, args)?,
            _ => return op.unknown(),
        };
        Ok(Some(decoded))
    }
}
