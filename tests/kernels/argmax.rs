//! Rows of `argmax`.
use gpu_kernels::all_reduce::meeting::Outbox;
use gpu_kernels::argmax::{NONE_FINITE, NOT_A_NUMBER};
use gpu_kernels::{Argmax, team};

use crate::data::Data;
use crate::gemv::outbox;
use crate::meeting::sent_ahead;
use crate::mutants::{BARRIER, Defect, EDGE, LANES, NUMBER, STRIDE, TIE};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Rows, vocab, how many different logits there are (few: many ties), factor of the logits.
const SHAPES: [(usize, usize, usize, f32); 16] = [
    (3, 20_001, 1 << 20, 1.0),
    (1, 1, 1, 1.0),
    (1, 2, 1, 1.0),
    (3, 5, 2, 1.0),
    (2, 31, 9, 1e30),
    (5, 33, 3, 1.0),
    (7, 130, 1, -1.0),
    (1, 1023, 1 << 20, 1.0),
    (2, 4096, 50, 1e4),
    (3, 4097, 1 << 20, 1e-30),
    (1, 4100, 2, 1.0),
    (2, 8193, 200, 1.0),
    (1, 32_000, 300, 1.0),
    (3, 2178, 1 << 20, 10.0),
    (16, 4099, 1 << 20, 1.0),
    (65, 32_001, 1 << 20, 1.0),
];

/// How far apart the two largest logits of a row stand, the first in the first group: beside each other, in the groups of
/// two lanes or two warps that exchange their best, in the next group of the same thread.
const TIES: [usize; 16] = [1, 2, 3, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384];

/// Where the two largest logits of row `row` stand; the same place if the row has no tie.
fn places(row: usize, random: &mut Random) -> [usize; 2] {
    let in_group = row % 4 + row / 4 % 4 * 4096 + 4 * random.below(1024);
    match row / 16 {
        0 => [row % 4, row % 4 + TIES[row]],
        1 => [in_group, in_group + 1],
        2 => [in_group, in_group + 4096],
        _ => [in_group, in_group],
    }
}

/// A row of 32 blocks, and those at whose start its largest logits stand: the last one alone, which every exchange of the
/// last block's warp passes on, or the first one and one that a single exchange brings.
const TEAM: usize = 139_265;
const TEAM_BEST: [&[usize]; 6] = [&[31], &[0, 1], &[0, 2], &[0, 4], &[0, 8], &[0, 16]];

pub fn rows() -> Vec<Row<Argmax>> {
    let shapes = SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape));
    let teams = TEAM_BEST.iter().map(|blocks| team_row(blocks));
    shapes
        .chain(teams)
        .chain(FAULTY.iter().map(|places| faulty_row(places)))
        .chain([masked_row(), row_of_one_block()])
        .chain([masked_row(), team_row(TEAM_BEST[0]), faulty_row(FAULTY[0]), row(3, SHAPES[0])].map(sending))
        .collect()
}

/// The same of the second of three ranks, which sends what is best.
fn sending(mut row: Row<Argmax>) -> Row<Argmax> {
    row.kernel.outbox = outbox(&mut row.data, 4 * row.kernel.rows as usize);
    Row { name: format!("{}, sent", row.name), ..row }
}

/// Rows in which one logit each is no number: in front of the first group of four, in each place of a group, in the group
/// of each load that is in flight, behind the last, in other warps and other blocks. Three teams share the device.
const FAULTY: [&[(usize, f32)]; 5] = [
    &[(0, f32::NAN), (4, -f32::NAN), (9, f32::INFINITY)],
    &[(2, f32::NAN), (5 + 4096, f32::NAN), (10 + 8192, f32::INFINITY)],
    &[(3 + 4 * 33, f32::NAN), (TEAM - 1, f32::NAN), (TEAM - 2, f32::INFINITY)],
    &[(31 * TEAM.div_ceil(32) + 6, f32::NAN), (TEAM / 2, f32::NAN), (11, f32::NEG_INFINITY)],
    &[(7 + 12_288, -f32::NAN)],
];

fn faulty_row(places: &[(usize, f32)]) -> Row<Argmax> {
    let mut logits = Random::new(6).reals(places.len() * TEAM, 1.0);
    places.iter().enumerate().for_each(|(row, (place, value))| logits[row * TEAM + place] = *value);
    kernel(format!("no numbers at {places:?}"), logits, &[2, 0, 1][..places.len()])
}

/// So many rows that each has one block, with a NaN in each place of each load that is in flight, and behind all of them.
fn row_of_one_block() -> Row<Argmax> {
    let (rows, vocab) = (65, 20_003);
    let mut random = Random::new(7);
    let mut logits = random.reals(rows * vocab, 1.0);
    for (row, logits) in logits.chunks_mut(vocab).enumerate().take(40) {
        logits[row % 4 + row / 4 % 5 * 4096 + 4 * random.below(100)] = f32::NAN;
    }
    kernel("a block to a row".to_owned(), logits, &random.permutation(rows + 2)[..rows])
}

/// −∞ everywhere; everywhere but in one place, which is the best; beside a NaN; and NaN everywhere.
fn masked_row() -> Row<Argmax> {
    let vocab = 5003;
    let mut logits = vec![f32::NEG_INFINITY; 4 * vocab];
    logits[vocab + 4321] = -1e30;
    logits[2 * vocab + 17] = f32::NAN;
    logits[3 * vocab..].fill(f32::NAN);
    kernel("rows of −∞ and of NaN".to_owned(), logits, &[1, 0, 3, 5])
}

fn team_row(blocks: &[usize]) -> Row<Argmax> {
    let mut logits = Random::new(5).reals(TEAM, 1.0);
    blocks.iter().for_each(|block| logits[block * TEAM.div_ceil(32)] = 100.0);
    kernel(format!("a team, best in blocks {blocks:?}"), logits, &[1])
}

fn row(seed: u64, (rows, vocab, levels, factor): (usize, usize, usize, f32)) -> Row<Argmax> {
    let mut random = Random::new(seed);
    let logit = |random: &mut Random| (random.below(levels) as f32 - levels as f32 / 2.0) * factor;
    let mut logits: Vec<f32> = (0..rows * vocab).map(|_| logit(&mut random)).collect();
    for (row, logits) in logits.chunks_mut(vocab).enumerate() {
        for place in places(row, &mut random) {
            logits[place % vocab] = levels as f32 * factor.abs();
        }
    }
    let name = format!("rows {rows}, vocab {vocab}, {levels} levels of {factor:e}");
    kernel(name, logits, &random.permutation(rows + 2)[..rows])
}

fn kernel(name: String, logits: Vec<f32>, slots: &[usize]) -> Row<Argmax> {
    let (rows, vocab) = (slots.len(), logits.len() / slots.len());
    let mut data = Data::default();
    let kernel = Argmax {
        logits: data.reals("logits", logits),
        slots: data.integers("slots", slots.iter().map(|slot| *slot as i32).collect()),
        sampled: data.integers("sampled", vec![-7; rows + 2]),
        faults: data.integers("faults", vec![-7; rows + 2]),
        shared: data.integers("shared", vec![-7; 2 * team::ALL_BLOCKS as usize]),
        counters: data.integers("counters", vec![0; team::TEAM_ROWS as usize]),
        outbox: Outbox::NONE,
        rows: rows as u32,
        vocab: vocab as u32,
    };
    Row { name, kernel, data }
}

impl Oracle for Argmax {
    const C: f64 = 0.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[EDGE, STRIDE, LANES, TIE, NUMBER, BARRIER];

    fn oracle(&self, data: &Data, _: Precision) -> Vec<Written> {
        let logits = data.f64s(self.logits);
        let mut sampled = vec![Want::Kept; data.i32s(self.sampled).len()];
        let (mut faults, mut words) = (sampled.clone(), Vec::new());
        for (row, slot) in logits.chunks(self.vocab as usize).zip(data.i32s(self.slots)) {
            let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let first = row.iter().position(|logit| *logit == max).unwrap_or(0);
            let fault = match max {
                _ if row.iter().any(|logit| logit.is_nan()) => NOT_A_NUMBER,
                f64::INFINITY => NOT_A_NUMBER,
                f64::NEG_INFINITY => NONE_FINITE,
                _ => 0,
            };
            if self.outbox.sends() {
                let id = if fault == 0 { self.outbox.rank * self.vocab + first as u32 } else { 0 };
                let value = if fault == NOT_A_NUMBER { f32::INFINITY } else { max as f32 };
                words.extend([value.to_bits(), id, 0, 0].map(|word| Want::exact(f64::from(word.cast_signed()))));
                continue;
            }
            sampled[*slot as usize] = Want::exact(if fault == 0 { first as f64 } else { 0.0 });
            faults[*slot as usize] = Want::exact(f64::from(fault));
        }
        let told = vec![Want::Any; data.i32s(self.shared).len()];
        let counters = data.i32s(self.counters).iter().map(|count| Want::exact(f64::from(*count))).collect();
        let mut written = vec![
            Written::new(self.sampled, sampled),
            Written::new(self.faults, faults),
            Written::new(self.shared, told),
            Written::new(self.counters, counters),
        ];
        if self.outbox.sends() {
            written.extend(sent_ahead(&self.outbox, data, &words));
        }
        written
    }
}
