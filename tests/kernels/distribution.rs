//! `sample` by its results: draws follow the probabilities after each filter, and the PTX draws what the reference draws.
use gpu_kernels::sample_limit::{BINS, LIMIT_WORDS};
use gpu_kernels::{Ptr, Sample, SampleLimit, sampling, team};
use nemotron_backend::sample::{RowParameters, Sampling};

use crate::data::{Data, Values};
use crate::emulator::Emulator;
use crate::oracle::Precision;
use crate::random::Random;
use crate::target::Target;

/// The launches that draw, over the same buffers.
struct Draws {
    limits: [SampleLimit; 4],
    choice: Sample,
    data: Data,
}

impl Draws {
    /// `count` rows of the same logits, at successive positions.
    fn new(logits: &[f32], sampling: &Sampling, first: usize, count: usize) -> Draws {
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).expect("a row has a best");
        let words = RowParameters::new(sampling, 0, &[], logits.len()).words(0, 0);
        let integers = |start: usize| (start..start + count).map(|value| value as i32).collect::<Vec<_>>();
        let mut data = Data::default();
        let choice = Sample {
            logits: data.reals("logits", logits.repeat(count)),
            sampling: data.integers("sampling", words.repeat(count)),
            slots: data.integers("slots", integers(0)),
            index: data.integers("index", integers(0)),
            positions: data.integers("positions", integers(first)),
            sampled: data.integers("sampled", vec![best as i32; count]),
            limits: data.integers("limits", vec![-7; count * LIMIT_WORDS as usize]),
            sums: data.undefined("sums", (2 * team::TEAM_ROWS * team::TEAM_BLOCKS) as usize),
            counters: data.integers("counters", vec![0; team::TEAM_ROWS as usize]),
            rows: count as u32,
            vocab: logits.len() as u32,
        };
        let Sample { logits, sampling, slots, sampled, limits, counters, rows, vocab, .. } = choice;
        let bins = data.integers("bins", vec![0; 2 * count.min(team::TEAM_ROWS as usize) * BINS as usize]);
        let limit = |filter, digit| SampleLimit {
            logits,
            sampling,
            slots,
            sampled,
            limits,
            bins,
            counters,
            rows,
            vocab,
            filter,
            digit,
        };
        let [by_count, by_mass] = [sampling::TOP_K, sampling::TOP_P];
        let limits = [limit(by_count, 0), limit(by_count, 1), limit(by_mass, 0), limit(by_mass, 1)];
        Draws { limits, choice, data }
    }

    /// The ids that a target draws.
    fn run(mut self, target: &mut impl Target) -> Vec<usize> {
        let buffer = |pointer: Ptr<i32>| pointer.target().expect("a buffer of the row").0 as usize;
        let at = buffer(self.choice.limits);
        for limit in &self.limits {
            let outcome = target.run(limit, &self.data).expect("the kernel takes the row");
            let limits = outcome[at].iter().map(|word| word.expect("it is defined") as i32);
            self.data.0[at].values = Values::Integers(limits.collect());
        }
        let outcome = target.run(&self.choice, &self.data).expect("the kernel takes the row");
        let sampled = &outcome[buffer(self.choice.sampled)];
        sampled.iter().map(|id| id.expect("it is defined") as usize).collect()
    }
}

/// Probabilities in f64 as transformers' warpers make them: each filter sets logits to −∞, and softmax follows.
fn probabilities(logits: &[f32], sampling: &Sampling) -> Vec<f64> {
    let mut scores: Vec<f64> = logits.iter().map(|&x| f64::from(x) / f64::from(sampling.temperature)).collect();
    let softmax = |scores: &[f64]| -> Vec<f64> {
        let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|score| (score - best).exp()).sum();
        scores.iter().map(|score| (score - best).exp() / sum).collect()
    };
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    if sampling.top_k > 0 {
        order.iter().skip(sampling.top_k).for_each(|&i| scores[i] = f64::NEG_INFINITY);
    }
    let (probabilities, mut before) = (softmax(&scores), 0.0);
    for &i in &order {
        if before >= f64::from(sampling.top_p) {
            scores[i] = f64::NEG_INFINITY;
        }
        before += probabilities[i];
    }
    let probabilities = softmax(&scores);
    let floor = probabilities[order[0]] * f64::from(sampling.min_p);
    (0..scores.len()).filter(|&i| probabilities[i] < floor).for_each(|i| scores[i] = f64::NEG_INFINITY);
    softmax(&scores)
}

fn logits(vocab: usize) -> Vec<f32> {
    let mut random = Random::new(5);
    (0..vocab).map(|_| 3.0 * random.uniform() + random.uniform()).collect()
}

#[test]
fn draws_follow_the_probabilities_after_each_filter() {
    const DRAWS: usize = 100_000;
    let plain = Sampling { temperature: 1.0, seed: 11, ..Sampling::default() };
    let rows = [
        plain.clone(),
        Sampling { temperature: 0.6, ..plain.clone() },
        Sampling { temperature: 2.5, seed: 12, ..plain.clone() },
        Sampling { top_k: 7, ..plain.clone() },
        Sampling { top_p: 0.8, ..plain.clone() },
        Sampling { min_p: 0.1, ..plain.clone() },
        Sampling { top_k: 20, top_p: 0.9, min_p: 0.05, stream: 4, ..plain.clone() },
    ];
    let logits = logits(60);
    for sampling in rows {
        let expected = probabilities(&logits, &sampling);
        let mut counts = vec![0_u32; logits.len()];
        let drawn = Draws::new(&logits, &sampling, 0, DRAWS).run(&mut Precision::F32);
        drawn.into_iter().for_each(|id| counts[id] += 1);
        let (mut chi_square, mut kept) = (0.0, 0.0);
        for (&probability, &count) in expected.iter().zip(&counts) {
            if probability == 0.0 {
                assert_eq!(count, 0, "{sampling:?} draws what a filter took out");
                continue;
            }
            let mean = probability * DRAWS as f64;
            chi_square += (f64::from(count) - mean).powi(2) / mean;
            kept += 1.0;
        }
        // The statistic has mean kept − 1 and variance 2 (kept − 1).
        let freedom: f64 = kept - 1.0;
        let bound = freedom + 4.0 * (2.0 * freedom).sqrt();
        assert!(freedom > 3.0 && chi_square < bound, "{sampling:?}: χ² {chi_square:.1} of {freedom} degrees");
    }
}

#[test]
fn the_ptx_draws_what_the_reference_draws() {
    let plain = Sampling { temperature: 1.0, seed: 1 << 40 | 3, ..Sampling::default() };
    let rows = [
        (plain.clone(), 800),
        (Sampling { temperature: 1.7, stream: 2, ..plain.clone() }, 400),
        (Sampling { top_k: 9, ..plain.clone() }, 200),
        (Sampling { top_p: 0.7, ..plain.clone() }, 200),
        (Sampling { top_k: 30, top_p: 0.95, min_p: 0.02, ..plain.clone() }, 400),
    ];
    let logits = logits(64);
    for (sampling, count) in rows {
        let draws = || Draws::new(&logits, &sampling, 1000, count);
        let expected = draws().run(&mut Precision::F32);
        assert!(expected.iter().any(|id| *id != expected[0]), "draws differ");
        assert_eq!(draws().run(&mut Emulator::new()), expected, "{sampling:?}");
    }
}
