//! Rows of `sample_limit`: every shape of `sample`, each filter that it has, both digits.
use gpu_kernels::sample_limit::{BINS, LIMIT_WORDS};
use gpu_kernels::{SampleLimit, sampling, team};

use crate::data::Data;
use crate::mutants::{BARRIER, Defect};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::sample::{Case, Filtered, cases, weight};

pub fn rows() -> Vec<Row<SampleLimit>> {
    let launches = [(sampling::TOP_K, 0), (sampling::TOP_K, 1), (sampling::TOP_P, 0), (sampling::TOP_P, 1)];
    let has = |case: &Case, filter: u32| case.parameters[filter as usize] != 0;
    let of = |case: Case| launches.iter().filter(|(filter, _)| has(&case, *filter)).map(|at| row(&case, *at)).collect();
    cases().flat_map::<Vec<_>, _>(of).collect()
}

fn row(case: &Case, (filter, digit): (u32, u32)) -> Row<SampleLimit> {
    let limits = case.by_row().flat_map(|(logits, parameters)| {
        let found = Filtered::new(&logits, parameters).map(|row| Found::new(&row, parameters, filter));
        found.map_or([-7; 4], |found| found.before(digit))
    });
    let mut data = Data::default();
    let (rows, vocab) = (case.rows, case.vocab);
    let kernel = SampleLimit {
        logits: data.reals("logits", case.logits.clone()),
        sampling: data.integers("sampling", case.parameters.clone()),
        slots: data.integers("slots", case.slots.clone()),
        sampled: data.integers("sampled", case.sampled.clone()),
        limits: data.integers("limits", limits.collect()),
        bins: data.integers("bins", vec![0; (rows.min(team::TEAM_ROWS) * BINS * 2) as usize]),
        counters: data.integers("counters", vec![0; team::TEAM_ROWS as usize]),
        rows,
        vocab,
        filter,
        digit,
    };
    let filter = if filter == sampling::TOP_K { "top-k" } else { "top-p" };
    Row { name: format!("{filter}, digit {digit}: {}", case.name), kernel, data }
}

/// What the two launches of a filter find for a row, in f64.
struct Found {
    /// What the limit is in front of them.
    limit_before: f64,
    limit: f64,
    rest: f64,
}

impl Found {
    fn new(row: &Filtered, parameters: &[i32], filter: u32) -> Found {
        let by_count = filter == sampling::TOP_K;
        let (limit_before, limit) = if by_count { (f64::INFINITY, row.top_k) } else { (row.top_k, row.limit) };
        let word = f64::from(parameters[filter as usize].cast_unsigned());
        let kept = row.distances.iter().copied().filter(|distance| *distance <= limit_before);
        let measured: Vec<(f64, f64)> = kept.map(|d| (d, if by_count { 1.0 } else { weight(d) })).collect();
        let total: f64 = measured.iter().map(|(_, measure)| measure).sum();
        let target = if by_count { word } else { (total * word * 2f64.powi(-32)).floor().max(1.0) };
        let bin = (limit / f64::from(BINS)).floor();
        let below = measured.iter().filter(|(distance, _)| (distance / f64::from(BINS)).floor() < bin);
        Found { limit_before, limit, rest: target - below.map(|(_, measure)| measure).sum::<f64>() }
    }

    /// The row of `limits` in front of a digit's launch.
    fn before(&self, digit: u32) -> [i32; LIMIT_WORDS as usize] {
        let limit = if self.limit_before.is_finite() { self.limit_before as i32 } else { -7 };
        let rest = self.rest as u64;
        match digit {
            0 => [limit, -7, -7, -7],
            _ => [limit, (self.limit / f64::from(BINS)) as i32, rest as i32, (rest >> 32) as i32],
        }
    }

    /// What a digit's launch makes of it.
    fn wanted(&self, filter: u32, digit: u32) -> [Want; LIMIT_WORDS as usize] {
        // A sum of weights in f64 is not to the unit that of the integers, so `rest` is left to the reference.
        let rest = |value: f64| if filter == sampling::TOP_K { Want::exact(value) } else { Want::Any };
        match digit {
            0 => [Want::Kept, Want::exact((self.limit / f64::from(BINS)).floor()), rest(self.rest), rest(0.0)],
            _ => [Want::exact(self.limit), Want::Kept, Want::Kept, Want::Kept],
        }
    }
}

impl Oracle for SampleLimit {
    const C: f64 = 0.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[BARRIER];

    fn oracle(&self, data: &Data, _: Precision) -> Vec<Written> {
        let parameters = data.i32s(self.sampling).chunks(sampling::WORDS as usize);
        let logits = data.f64s(self.logits);
        let wanted = logits.chunks(self.vocab as usize).zip(parameters).flat_map(|(logits, parameters)| {
            let found = Filtered::new(logits, parameters).map(|row| Found::new(&row, parameters, self.filter));
            found.map_or(std::array::from_fn(|_| Want::Kept), |found| found.wanted(self.filter, self.digit))
        });
        let wanted = wanted.collect();
        let zeros = |count: usize| (0..count).map(|_| Want::exact(0.0)).collect();
        vec![
            Written::new(self.limits, wanted),
            Written::new(self.bins, zeros(data.i32s(self.bins).len())),
            Written::new(self.counters, zeros(team::TEAM_ROWS as usize)),
        ]
    }
}
