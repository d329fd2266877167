//! Where the two sides of a branch meet again: the immediate post-dominator of its block.

use crate::program::{NOWHERE, Op, Program};

/// A block of instructions `start .. end`, its successors by block number (`exit` is the number of blocks).
struct Block {
    start: u32,
    successors: Vec<usize>,
}

/// Fills in the point of reconvergence of every branch.
pub fn reconverge(program: &mut Program) {
    let blocks = blocks(program);
    let dominators = post_dominators(&blocks);
    let mut block = 0;
    for at in 0..program.insts.len() {
        while block + 1 < blocks.len() && blocks[block + 1].start as usize <= at {
            block += 1;
        }
        let point = dominators[block].filter(|&d| d < blocks.len()).map_or(NOWHERE, |d| blocks[d].start);
        match &mut program.insts[at].op {
            Op::Branch { reconverge, .. } | Op::Switch { reconverge, .. } => *reconverge = point,
            _ => {}
        }
    }
}

/// Where control may go after the instruction at `at`; the number of instructions means the end of the thread.
pub fn successors(program: &Program, at: usize) -> Vec<usize> {
    let inst = &program.insts[at];
    let mut next = match &inst.op {
        Op::Branch { target, .. } => vec![*target as usize],
        Op::Switch { targets, .. } => targets.iter().map(|t| *t as usize).collect(),
        Op::Exit => vec![program.insts.len()],
        // Lanes that trap never come to where the others meet.
        Op::Trap => Vec::new(),
        _ => return vec![at + 1],
    };
    if inst.guard.is_some() {
        next.push(at + 1);
    }
    next
}

fn blocks(program: &Program) -> Vec<Block> {
    let count = program.insts.len();
    let mut leader = vec![false; count + 1];
    leader[0] = true;
    for at in 0..count {
        if matches!(program.insts[at].op, Op::Branch { .. } | Op::Switch { .. } | Op::Exit | Op::Trap) {
            leader[at + 1] = true;
            successors(program, at).into_iter().for_each(|next| leader[next] = true);
        }
    }
    let starts: Vec<usize> = (0..count).filter(|&at| leader[at]).collect();
    let number = |at: usize| starts.partition_point(|&start| start < at);
    let ends = starts.iter().skip(1).copied().chain([count]);
    let blocks = starts.iter().zip(ends).map(|(&start, end)| Block {
        start: start as u32,
        successors: successors(program, end - 1).into_iter().map(number).collect(),
    });
    blocks.collect()
}

/// Immediate post-dominators by Cooper, Harvey and Kennedy's iteration; `None` where the exit is out of reach.
fn post_dominators(blocks: &[Block]) -> Vec<Option<usize>> {
    let exit = blocks.len();
    let order = reverse_postorder(blocks);
    let mut rank = vec![usize::MAX; exit + 1];
    order.iter().enumerate().for_each(|(i, &block)| rank[block] = i);
    let mut dominator = vec![None; exit + 1];
    dominator[exit] = Some(exit);
    let mut changed = true;
    while changed {
        changed = false;
        for &block in order.iter().skip(1) {
            let known = blocks[block].successors.iter().copied().filter(|&s| dominator[s].is_some());
            let merged = known.reduce(|a, b| meet(a, b, &dominator, &rank));
            if merged != dominator[block] {
                dominator[block] = merged;
                changed = true;
            }
        }
    }
    dominator
}

fn meet(mut a: usize, mut b: usize, dominator: &[Option<usize>], rank: &[usize]) -> usize {
    while a != b {
        let later = if rank[a] > rank[b] { &mut a } else { &mut b };
        match dominator[*later] {
            Some(next) => *later = next,
            None => return *later,
        }
    }
    a
}

/// Blocks from the exit backwards, each after at least one of its successors.
fn reverse_postorder(blocks: &[Block]) -> Vec<usize> {
    let exit = blocks.len();
    let mut predecessors = vec![Vec::new(); exit + 1];
    for (number, block) in blocks.iter().enumerate() {
        block.successors.iter().for_each(|&s| predecessors[s].push(number));
    }
    let (mut order, mut seen) = (Vec::new(), vec![false; exit + 1]);
    let mut stack = vec![(exit, 0)];
    seen[exit] = true;
    while let Some((block, next)) = stack.pop() {
        match predecessors[block].get(next) {
            None => order.push(block),
            Some(&before) => {
                stack.push((block, next + 1));
                if !seen[before] {
                    seen[before] = true;
                    stack.push((before, 0));
                }
            }
        }
    }
    order.reverse();
    order
}
