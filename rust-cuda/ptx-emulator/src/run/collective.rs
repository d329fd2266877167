//! Warp-wide instructions: shuffles, votes, matches, reductions.

use super::{access::Checked, atomic::combine, warp::Warp};
use crate::fault::{FaultKind, Trouble};
use crate::lanes::{FULL, LANES, Reg};
use crate::program::{AtomicOp, Op, Shuffle, ShuffleMode, Vote};
use crate::types::Type;

impl Warp {
    pub fn collective(&mut self, op: &Op, mask: u32) -> Checked {
        match op {
            Op::ActiveMask { d } => {
                self.set_all(*d, mask, mask);
                return Ok(());
            }
            Op::WarpBarrier { members } => {
                self.check_members(*members, mask)?;
            }
            Op::Shuffle(shuffle) => {
                self.check_members(shuffle.members, mask)?;
                self.shuffle(shuffle, mask)?;
            }
            Op::Vote { mode, d, p, negated, members } => {
                let members = self.check_members(*members, mask)?;
                let votes = self.regs.pred[*p as usize] ^ if *negated { FULL } else { 0 };
                let result = count(*mode, votes & members, members);
                (0..LANES).filter(|l| mask >> l & 1 == 1).for_each(|l| self.regs.set_bits(*d, l, u64::from(result)));
            }
            Op::Match { all, d, p, value, members } => {
                let members = self.check_members(*members, mask)?;
                self.matching((*all, *d, *p), *value, members);
            }
            Op::Reduce { op, ty, d, a, members } => {
                let members = self.check_members(*members, mask)?;
                self.reduce(*op, *ty, (*d, *a), members);
            }
            _ => {}
        }
        self.clocks.warp_sync();
        Ok(())
    }

    /// A collective's member mask, the same in all active lanes, must name them all and no lane that is elsewhere.
    pub fn check_members(&self, members: u32, mask: u32) -> Result<u32, Box<Trouble>> {
        let row = &self.regs.r32[members as usize];
        let first = mask.trailing_zeros() as usize;
        let named = row[first] & self.live;
        let agree = (0..LANES).all(|l| mask >> l & 1 == 0 || row[l] == row[first]);
        if agree && named == mask {
            return Ok(named);
        }
        let (lane, message) = if !agree {
            (first, "the lanes of a warp-wide instruction name different members".to_string())
        } else {
            let outsider = mask & !named;
            let lane = outsider.trailing_zeros() as usize;
            (lane, format!("lanes {outsider:#010x} execute this without being named in its member mask"))
        };
        Err(Trouble::new(FaultKind::DivergentCollective, lane, None, message))
    }

    fn set_all(&mut self, slot: u32, mask: u32, value: u32) {
        let row = &mut self.regs.r32[slot as usize];
        (0..LANES).filter(|l| mask >> l & 1 == 1).for_each(|l| row[l] = value);
    }

    fn shuffle(&mut self, shuffle: &Shuffle, mask: u32) -> Checked {
        let a = self.regs.r32[shuffle.a as usize];
        let (b, c) = (self.regs.r32[shuffle.b as usize], self.regs.r32[shuffle.c as usize]);
        let (mut out, mut valid) = ([0u32; LANES], 0u32);
        for lane in 0..LANES {
            let (source, inside) = source_lane(shuffle.mode, lane as u32, b[lane] & 31, c[lane]);
            out[lane] = a[source as usize];
            valid |= u32::from(inside) << lane;
            if mask >> lane & 1 == 1 && mask >> source & 1 == 0 {
                let message = format!("the shuffle reads lane {source}, which is not here: its value is undefined");
                return Err(Trouble::new(FaultKind::DivergentCollective, lane, None, message));
            }
        }
        let row = &mut self.regs.r32[shuffle.d as usize];
        if mask == FULL {
            *row = out;
        } else {
            (0..LANES).filter(|l| mask >> l & 1 == 1).for_each(|l| row[l] = out[l]);
        }
        if let Some(p) = shuffle.p {
            self.regs.set_pred(p, mask, valid);
        }
        Ok(())
    }

    fn matching(&mut self, (all, d, p): (bool, u32, Option<u32>), value: Reg, members: u32) {
        let active: Vec<usize> = (0..LANES).filter(|l| members >> l & 1 == 1).collect();
        let values: Vec<u64> = active.iter().map(|&l| self.regs.bits(value, l)).collect();
        let uniform = values.iter().all(|v| *v == values[0]);
        for (&lane, mine) in active.iter().zip(&values) {
            let same = active.iter().zip(&values).filter(|(_, v)| *v == mine).fold(0, |m, (l, _)| m | 1u32 << l);
            self.regs.r32[d as usize][lane] = match all {
                true if uniform => members,
                true => 0,
                false => same,
            };
        }
        if let Some(p) = p {
            self.regs.set_pred(p, members, if uniform { FULL } else { 0 });
        }
    }

    fn reduce(&mut self, op: AtomicOp, ty: Type, (d, a): (u32, u32), members: u32) {
        let row = self.regs.r32[a as usize];
        let values = (0..LANES).filter(|l| members >> l & 1 == 1).map(|l| u64::from(row[l]));
        let result = values.reduce(|x, y| u64::from(combine(op, ty, x, y, 0) as u32)).unwrap_or(0);
        self.set_all(d, members, result as u32);
    }
}

/// The result of a vote in which the lanes of `votes` (all in `members`) said yes.
pub fn count(mode: Vote, votes: u32, members: u32) -> u32 {
    match mode {
        Vote::Ballot => votes,
        Vote::Any => u32::from(votes != 0),
        Vote::All => u32::from(votes == members),
        Vote::Uniform => u32::from(votes == 0 || votes == members),
        Vote::Count => votes.count_ones(),
    }
}

/// Which lane a shuffle reads, and whether that lies within the segment (otherwise it is the lane itself).
fn source_lane(mode: ShuffleMode, lane: u32, b: u32, c: u32) -> (u32, bool) {
    let (clamp, segment) = (c & 31, c >> 8 & 31);
    let max = lane & segment | clamp & !segment;
    let min = lane & segment;
    let (source, inside) = match mode {
        ShuffleMode::Up => (lane.wrapping_sub(b), lane as i32 - b as i32 >= max as i32),
        ShuffleMode::Down => (lane + b, lane + b <= max),
        ShuffleMode::Butterfly => (lane ^ b, (lane ^ b) <= max),
        ShuffleMode::Index => (min | b & !segment, (min | b & !segment) <= max),
    };
    if inside { (source & 31, true) } else { (lane, false) }
}
