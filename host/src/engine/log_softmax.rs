//! How likely a token is: the log-softmax of a row of logits, and its best.

/// A token of a prompt, as likely as the model finds it behind those in front of it: as the model gives it, before penalties,
/// biases and temperature.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenScore {
    /// The token.
    pub id: u32,
    /// ln of its probability.
    pub logprob: f64,
    /// How many tokens are at least as likely, itself included: 1 for the best.
    pub rank: usize,
    /// The best tokens and ln of their probabilities, the best first.
    pub best: Vec<(u32, f64)>,
}

impl TokenScore {
    pub(super) fn new(logits: &[f32], id: u32, count: usize) -> TokenScore {
        let own = logits[id as usize];
        let rank = logits.iter().filter(|logit| **logit >= own).count();
        let (logprob, best) = log_softmax(logits, id, count);
        TokenScore { id, logprob, rank, best }
    }
}

/// The log-softmax of `logits` at `id`, and its `count` highest with their ids, of equals the lowest first; summed in f64.
pub fn log_softmax(logits: &[f32], id: u32, count: usize) -> (f64, Vec<(u32, f64)>) {
    let highest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - highest).exp()).sum();
    let logprob = |id: u32| f64::from(logits[id as usize]) - highest - sum.ln();
    if count == 0 {
        return (logprob(id), Vec::new());
    }
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let order = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    if count < ids.len() {
        ids.select_nth_unstable_by(count - 1, order);
    }
    ids.truncate(count);
    ids.sort_unstable_by(order);
    (logprob(id), ids.into_iter().map(|id| (id, logprob(id))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_the_log_softmax_and_the_best_come_first() {
        let (chosen, best) = log_softmax(&[1.0, 3.0, 2.0, 3.0], 2, 3);
        let sum: f64 = [1.0, 3.0, 2.0, 3.0].map(f64::exp).iter().sum();
        let [high, middle] = [3.0, 2.0].map(|logit: f64| logit - sum.ln());
        assert_eq!(best.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 3, 2]);
        assert!((chosen - middle).abs() < 1e-12 && (best[0].1 - high).abs() < 1e-12);
        assert_eq!(best[2], (2, chosen));
        let (chosen, best) = log_softmax(&[0.0; 4], 0, 20);
        assert_eq!(best.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert!((chosen + 4f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn large_logits_and_impossible_tokens_are_numbers_in_order() {
        assert_eq!(log_softmax(&[1e30, f32::NEG_INFINITY, -1e30], 0, 1), (0.0, vec![(0, 0.0)]));
        assert_eq!(log_softmax(&[0.0, f32::NEG_INFINITY], 1, 0), (f64::NEG_INFINITY, vec![]));
    }

    #[test]
    fn a_rank_counts_equals() {
        let ranks = (0..4).map(|id| TokenScore::new(&[1.0, 3.0, 2.0, 3.0], id, 0).rank);
        assert_eq!(ranks.collect::<Vec<_>>(), [4, 2, 3, 2]);
    }
}
