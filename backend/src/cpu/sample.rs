//! Reference of `sample`.
use std::f32::consts::LN_2;

use gpu_kernels::sample_limit::LIMIT_WORDS;
use gpu_kernels::{Sample, sampling};

use crate::device::{Activation, Memory, Reference};

impl Reference for Sample {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (rows, vocab, words) = (self.rows as usize, self.vocab as usize, sampling::WORDS as usize);
        let logits = memory.read::<f32>(self.logits, rows * vocab);
        let parameters = memory.read::<i32>(self.sampling, rows * words);
        let (slots, index) = (memory.read::<i32>(self.slots, rows), memory.read::<i32>(self.index, rows));
        let positions = memory.read_all::<i32>(self.positions);
        let limits = memory.read::<i32>(self.limits, rows * LIMIT_WORDS as usize);
        let mut sampled = memory.write_all::<i32>(self.sampled);
        for (row, logits) in logits.chunks(vocab).enumerate() {
            let parameters = &parameters[row * words..][..words];
            if parameters[sampling::INVERSE_TEMPERATURE as usize] != 0 {
                let position = positions[index[row] as usize] + 1;
                let choice = &mut sampled[slots[row] as usize];
                let limit = limits[row * LIMIT_WORDS as usize].cast_unsigned();
                *choice = choose(logits, logits[*choice as usize], parameters, limit, position.cast_unsigned());
            }
        }
    }
}

fn choose(logits: &[f32], best: f32, parameters: &[i32], limit: u32, position: u32) -> i32 {
    let word = |word: u32| parameters[word as usize].cast_unsigned();
    let inverse_temperature = f32::from_bits(word(sampling::INVERSE_TEMPERATURE));
    let filtered = word(sampling::TOP_K) > 0 || word(sampling::TOP_P) > 0;
    let limit = if filtered { limit.min(word(sampling::MIN_P_DISTANCE)) } else { word(sampling::MIN_P_DISTANCE) };
    let weights = || {
        let distances = logits.iter().map(|logit| distance(best - logit, inverse_temperature));
        distances.map(|distance| if distance <= limit { weight(distance) } else { 0 })
    };
    let random = philox([word(sampling::SEED), word(sampling::SEED_HIGH)], [position, word(sampling::STREAM), 0, 0]);
    let random = u128::from(random[1]) << 32 | u128::from(random[0]);
    let share = ((random * u128::from(weights().sum::<u64>())) >> 64) as u64;
    let mut sum = 0;
    let passed = weights().position(|weight| {
        sum += weight;
        sum > share
    });
    passed.expect("the best token has a weight") as i32
}

pub(super) fn distance(behind: f32, inverse_temperature: f32) -> u32 {
    ((behind * inverse_temperature * 524_288.0) as u32).min(sampling::MAX_DISTANCE)
}

/// Each operation rounds, as the doc block has it; Horner's scheme with the coefficients of `2^-f`.
pub(super) fn weight(distance: u32) -> u64 {
    let exponent = distance as f32 * (std::f32::consts::LOG2_E / 524_288.0);
    let f = exponent - exponent.trunc();
    let coefficients = [0.000_114_919_95, -0.001_291_636_8, 0.009_597_035, -0.055_499_23, 0.240_226_09, -LN_2];
    let power = coefficients.into_iter().fold(0.0, |sum, coefficient: f32| sum * f + coefficient) * f + 1.0;
    (power * 2f32.powi(40 - exponent as i32)) as u64
}

/// Philox4x32-10.
fn philox(mut key: [u32; 2], mut counter: [u32; 4]) -> [u32; 4] {
    for _ in 0..10 {
        let [a, b, c, d] = counter;
        let (first, second) = (u64::from(a) * 0xD251_1F53, u64::from(c) * 0xCD9E_8D57);
        let high = |product: u64| (product >> 32) as u32;
        counter = [high(second) ^ b ^ key[0], second as u32, high(first) ^ d ^ key[1], first as u32];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_published_numbers() {
        assert_eq!(philox([0; 2], [0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 2], [u32::MAX; 4]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    }

    #[test]
    fn weights_are_exponentials() {
        for distance in (0..=sampling::MAX_DISTANCE).step_by(997) {
            let exact = (40.0 - f64::from(distance) / 524_288.0 * std::f64::consts::LOG2_E).exp2();
            let off = (weight(distance) as f64 - exact).abs();
            assert!(off <= 1.0 + exact * 3e-6, "{distance}: {} for {exact}", weight(distance));
        }
        assert_eq!(weight(0), 1 << 40);
        assert_eq!(weight(sampling::MAX_DISTANCE), 0);
    }
}
