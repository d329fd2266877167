//! Branches, exits, fences and hints.

use super::{Decoder, opcode::Opcode, scope::Symbol};
use crate::parse::{Operand, ParseError};
use crate::program::{NOWHERE, Op};
use crate::types::Type;

impl Decoder<'_> {
    pub fn control(&mut self, op: &mut Opcode, args: &[Operand]) -> Result<Option<Op>, ParseError> {
        op.take("uni");
        Ok(Some(match op.name {
            "bra" => {
                self.expect(op, args, 1)?;
                let Operand::Name(name) = &args[0] else { return op.error("a label is expected") };
                Op::Branch { target: self.label(name)?, reconverge: NOWHERE }
            }
            "brx" => {
                if !op.take("idx") {
                    return op.unknown();
                }
                self.expect(op, args, 2)?;
                let index = self.src(&args[0], Type::U32)?;
                let Operand::Name(list) = &args[1] else { return op.error("a list of targets is expected") };
                let Some(Symbol::Targets(names)) = self.scopes.find(list).cloned() else {
                    return op.error(format!("`{list}` is not a list of targets"));
                };
                let targets = names.iter().map(|name| self.label(name)).collect::<Result<_, _>>()?;
                Op::Switch { index, targets, reconverge: NOWHERE }
            }
            "ret" => match self.return_to {
                None => Op::Exit,
                Some(target) => Op::Branch { target, reconverge: NOWHERE },
            },
            "exit" => Op::Exit,
            "trap" => Op::Trap,
            "fence" | "membar" => {
                if op.take("proxy") {
                    op.take("async");
                    op.take("shared::cta");
                    return Ok(Some(Op::ProxyFence));
                }
                let semantics = op.take_any(&["sc", "acq_rel", "acquire", "release"]).unwrap_or("sc");
                let order = Self::order(op, Some(semantics));
                op.take("gl");
                op.skip_hints();
                Op::Fence(order)
            }
            "nanosleep" => {
                op.ty()?;
                Op::Nothing
            }
            "griddepcontrol" => {
                op.take_any(&["launch_dependents", "wait"]);
                Op::Nothing
            }
            "pmevent" | "brkpt" => Op::Nothing,
            _ => return op.unknown(),
        }))
    }

    /// Turns the labels in branches into indices of instructions.
    pub fn resolve_labels(&mut self) {
        let labels = &self.labels;
        for inst in &mut self.program.insts {
            match &mut inst.op {
                Op::Branch { target, .. } => *target = labels[*target as usize],
                Op::Switch { targets, .. } => targets.iter_mut().for_each(|t| *t = labels[*t as usize]),
                _ => {}
            }
        }
    }
}
