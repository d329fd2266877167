//! Seeded normal values in bf16, fast enough to keep up with a disk.
use half::bf16;
use rayon::prelude::*;

/// Elements that one task fills; a chunk's values depend on its number alone.
const CHUNK: usize = 1 << 16;

/// Normal values around `mean`: 2^16 quantiles, looked up by random 16-bit words.
pub struct Normal {
    quantiles: Vec<bf16>,
}

impl Normal {
    /// A distribution of `mean` and standard deviation `deviation`.
    pub fn new(mean: f64, deviation: f64) -> Normal {
        let quantile = |i: u32| inverse_normal((f64::from(i) + 0.5) / 65536.0);
        let quantiles = (0..1 << 16).map(|i| bf16::from_f64(mean + deviation * quantile(i))).collect();
        Normal { quantiles }
    }

    /// Fills `out` with the values of `stream`, from element `first` on; `first` is a multiple of [`CHUNK`].
    pub fn fill(&self, stream: u64, first: usize, out: &mut [bf16]) {
        assert!(first.is_multiple_of(CHUNK));
        out.par_chunks_mut(CHUNK).enumerate().for_each(|(index, chunk)| {
            let mut state = mix(stream ^ mix((first / CHUNK + index) as u64));
            for four in chunk.chunks_mut(4) {
                state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let word = mix(state);
                for (i, value) in four.iter_mut().enumerate() {
                    *value = self.quantiles[(word >> (16 * i)) as usize & 0xFFFF];
                }
            }
        });
    }
}

/// The stream of a tensor.
pub fn stream(seed: u64, tensor: &str) -> u64 {
    tensor.bytes().fold(mix(seed), |hash, byte| mix(hash ^ u64::from(byte)))
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
pub fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// Quantile of the standard normal distribution by bisection on its distribution function.
fn inverse_normal(probability: f64) -> f64 {
    let (mut low, mut high) = (-8.0f64, 8.0f64);
    for _ in 0..48 {
        let middle = (low + high) / 2.0;
        if distribution(middle) < probability { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

/// Φ(x) by the series of Marsaglia 2004, "Evaluating the normal distribution".
fn distribution(x: f64) -> f64 {
    let (mut sum, mut term, mut odd) = (x, x, 1.0);
    loop {
        odd += 2.0;
        term *= x * x / odd;
        let next = sum + term;
        if next == sum {
            return 0.5 + sum * (-x * x / 2.0 - 0.918_938_533_204_672_7).exp();
        }
        sum = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_normal_and_repeat() {
        let mut values = vec![bf16::ZERO; 300_000];
        let normal = Normal::new(1.0, 0.5);
        normal.fill(7, 0, &mut values);
        let mean = values.iter().map(|v| v.to_f64()).sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v.to_f64() - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!((mean - 1.0).abs() < 0.01 && (variance.sqrt() - 0.5).abs() < 0.01, "{mean} {variance}");
        let mut tail = vec![bf16::ZERO; 300_000 - 2 * CHUNK];
        normal.fill(7, 2 * CHUNK, &mut tail);
        assert_eq!(tail, values[2 * CHUNK..]);
        normal.fill(8, 0, &mut tail);
        assert_ne!(tail, values[..tail.len()]);
    }
}
