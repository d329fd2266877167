//! Clusters: their barrier, the addresses of their blocks, `mbarrier`s, and stores that count themselves there.

use super::{Decoder, opcode::Opcode};
use crate::lanes::binary;
use crate::parse::{Operand, ParseError, Space};
use crate::program::{MailboxAccess, Op, SendAsync};
use crate::run::cluster;
use crate::types::Type;

impl Decoder<'_> {
    pub fn cluster_barrier(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        self.expect(op, args, 0)?;
        self.program.clustered = true;
        op.take("cluster");
        op.take("aligned");
        match op.take_any(&["arrive", "wait"]) {
            Some("arrive") => {
                Ok(Op::ClusterArrive { release: op.take_any(&["relaxed", "release"]) != Some("relaxed") })
            }
            Some(_) => {
                op.take("acquire");
                Ok(Op::ClusterWait)
            }
            None => op.unknown(),
        }
    }

    pub fn mailbox_fence(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        self.expect(op, args, 0)?;
        op.take("mbarrier_init");
        if op.take("release") && op.take("cluster") { Ok(Op::MailboxFence) } else { op.unknown() }
    }

    /// `mapa` and `mbarrier`.
    pub fn cluster(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        if op.name == "mbarrier" {
            return self.mailbox(op, args);
        }
        self.expect(op, args, 3)?;
        if !op.take("shared::cluster") || op.ty()? != Type::U32 {
            return op.unknown();
        }
        let d = self.dst(&args[0], Type::U32)?;
        let ab = self.srcs(&args[1..], Type::U32)?;
        Ok(Op::Lanes(binary::<u32, u32, u32>(d, ab, cluster::address_in)))
    }

    fn mailbox(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        op.take_any(&["shared::cta", "shared"]);
        match op.take_any(&["init", "arrive", "try_wait"]) {
            Some("init") => {
                self.expect(op, args, 2)?;
                self.mailbox_access(op, args).map(Op::MailboxOpen)
            }
            Some("arrive") => {
                self.expect(op, args, 3)?;
                op.take("expect_tx");
                op.take("release");
                op.skip_hints();
                if args[0] != Operand::Name("_".to_string()) {
                    return op.error("the state of an arrival is not kept: `_` is expected");
                }
                self.mailbox_access(op, &args[1..]).map(Op::MailboxExpect)
            }
            Some(_) => {
                self.expect(op, args, 3)?;
                op.take("parity");
                op.take("acquire");
                op.skip_hints();
                let d = self.dst(&args[0], Type::Pred)?;
                let access = self.mailbox_access(op, &args[1..])?;
                Ok(Op::MailboxTest { d, access })
            }
            None => op.unknown(),
        }
    }

    fn mailbox_access(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<MailboxAccess, ParseError> {
        if op.ty()? != Type::B64 {
            return op.unknown();
        }
        Ok(MailboxAccess { address: self.address(&args[0], Space::Shared)?, operand: self.src(&args[1], Type::U32)? })
    }

    pub fn send_async(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Op, ParseError> {
        self.expect(op, args, 3)?;
        self.program.clustered = true;
        op.take("async");
        op.take("weak");
        if !op.take("shared::cluster") || !op.take("mbarrier::complete_tx::bytes") {
            return op.unknown();
        }
        let lanes = op.take_any(&["v2", "v4"]).map_or(1, |lanes| usize::from(lanes.as_bytes()[1] - b'0'));
        let ty = op.ty()?;
        let operands = match &args[1] {
            Operand::Vector(operands) => operands.as_slice(),
            single => std::slice::from_ref(single),
        };
        if !matches!(ty.bytes(), 4 | 8) {
            return op.unknown();
        }
        self.expect(op, operands, lanes)?;
        let (to, mailbox) = (self.address(&args[0], Space::Shared)?, self.address(&args[2], Space::Shared)?);
        let values = operands.iter().map(|operand| self.src_any(operand, ty)).collect::<Result<_, _>>()?;
        Ok(Op::SendAsync(Box::new(SendAsync { to, mailbox, ty, values })))
    }
}
