//! `TokenLogprobs`: how likely a generated token is, and which are the most likely, as the device tells it.
use gpu_kernels::top_logprobs::{BEST, WORDS};

/// Most of the best tokens that can be asked for beside a generated one.
pub const MOST_LOGPROBS: usize = BEST as usize;

/// How likely a generated token is: as the model gives it, before penalties, biases and temperature.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// ln of the token's probability.
    pub logprob: f64,
    /// The best tokens and ln of their probabilities, the best first, of equals the lowest id.
    pub best: Vec<(u32, f64)>,
}

impl TokenLogprobs {
    /// What a slot's words of `top_logprobs` say, with at most `count` of the best tokens.
    pub(super) fn new(words: &[i32], count: usize) -> TokenLogprobs {
        let float = |bits: i32| f64::from(f32::from_bits(bits.cast_unsigned()));
        let (own, best) = words[..WORDS as usize].split_at(2);
        let (ids, logits) = best.split_at(MOST_LOGPROBS);
        let behind = float(logits[0]) + float(own[0]).ln();
        // A small vocabulary has fewer than there are places; ids are none there.
        let best =
            ids.iter().zip(logits).take(count).filter_map(|(id, logit)| Some((u32::try_from(*id).ok()?, *logit)));
        TokenLogprobs {
            logprob: float(own[1]) - behind,
            best: best.map(|(id, logit)| (id, float(logit) - behind)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::log_softmax::log_softmax;
    use super::*;

    #[test]
    fn they_are_those_of_the_row() {
        let row = [1.0_f32, 3.0, f32::NEG_INFINITY, 3.0];
        let bits = |value: f32| value.to_bits().cast_signed();
        let mut words = vec![-1; WORDS as usize];
        words[..6].copy_from_slice(&[bits(2.0 + (-2.0_f32).exp()), bits(1.0), 1, 3, 0, 2]);
        words[2 + MOST_LOGPROBS..][..4].copy_from_slice(&[3.0, 3.0, 1.0, f32::NEG_INFINITY].map(bits));
        for count in [0, 2, 20] {
            let (logprob, best) = log_softmax(&row, 0, count);
            let found = TokenLogprobs::new(&words, count);
            assert!((found.logprob - logprob).abs() < 1e-7, "{found:?}");
            assert_eq!(found.best.len(), best.len());
            for (found, wanted) in found.best.iter().zip(&best) {
                assert!(found.0 == wanted.0 && (found.1 == wanted.1 || (found.1 - wanted.1).abs() < 1e-7), "{found:?}");
            }
        }
    }
}
