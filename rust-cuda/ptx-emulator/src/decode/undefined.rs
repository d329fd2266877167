//! Registers that may be read before anything wrote them, and the instructions through which such values can travel.
//! Only those are followed at run time; in most programs there are none.

use super::cfg;
use crate::lanes::Reg;
use crate::parse::Space;
use crate::program::{Op, Program};
use std::collections::{HashMap, HashSet};

pub fn mark(program: &mut Program) {
    let mut suspects = live_at_entry(program);
    // Local memory may be read before it is written (padding of a copied struct), so it yields suspects too.
    for (inst, meta) in program.insts.iter().zip(&program.metas) {
        if let Op::Load(access) = &inst.op
            && matches!(access.address.space, Space::Local | Space::Generic)
            && program.local > 0
        {
            suspects.extend(&meta.writes);
        }
    }
    loop {
        let before = suspects.len();
        for (inst, meta) in program.insts.iter().zip(&program.metas) {
            let carries = !matches!(inst.op, Op::Mma(_) | Op::Product(_) | Op::LoadMatrix(_) | Op::Atomic(_));
            if carries && meta.reads.iter().any(|r| suspects.contains(r)) {
                suspects.extend(&meta.writes);
            }
        }
        if suspects.len() == before {
            break;
        }
    }
    for (inst, meta) in program.insts.iter_mut().zip(&program.metas) {
        inst.tracked = meta.reads.iter().chain(&meta.writes).any(|r| suspects.contains(r));
    }
    program.undefined = suspects.into_iter().collect();
    program.undefined.sort_unstable();
}

/// Backward liveness over instructions; a guarded write does not end a register's life.
fn live_at_entry(program: &Program) -> HashSet<Reg> {
    let numbers: HashMap<Reg, usize> = {
        let all: HashSet<Reg> = program.metas.iter().flat_map(|m| m.reads.iter().chain(&m.writes)).copied().collect();
        let mut sorted: Vec<Reg> = all.into_iter().collect();
        sorted.sort_unstable();
        sorted.into_iter().enumerate().map(|(i, reg)| (reg, i)).collect()
    };
    let cells = numbers.len().div_ceil(64);
    let count = program.insts.len();
    let mut live = vec![vec![0u64; cells]; count + 1];
    let mut changed = true;
    while changed {
        changed = false;
        for at in (0..count).rev() {
            let mut now = vec![0u64; cells];
            for next in cfg::successors(program, at) {
                now.iter_mut().zip(&live[next]).for_each(|(a, b)| *a |= b);
            }
            if program.insts[at].guard.is_none() {
                program.metas[at].writes.iter().for_each(|r| now[numbers[r] / 64] &= !(1 << (numbers[r] % 64)));
            }
            program.metas[at].reads.iter().for_each(|r| now[numbers[r] / 64] |= 1 << (numbers[r] % 64));
            changed |= now != live[at];
            live[at] = now;
        }
    }
    let at_entry = |i: usize| live[0][i / 64] >> (i % 64) & 1 == 1;
    numbers.into_iter().filter(|&(_, i)| at_entry(i)).map(|(reg, _)| reg).collect()
}
