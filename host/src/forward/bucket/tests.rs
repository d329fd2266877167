//! Every decode step has a bucket, and rounding wastes little.
use super::*;

#[test]
fn every_decode_step_has_one_of_the_decode_buckets() {
    for (context, sequences) in [(1000, 40), (64, 1), (129, 300)] {
        let limits = Limits::new(context, sequences, 512);
        let buckets = Bucket::decodes(&limits);
        let mut met = std::collections::HashSet::new();
        for count in 1..=sequences {
            for position in (0..context).step_by(31).chain([context - 1]) {
                let span = Span {
                    ids: vec![0],
                    position,
                    pages: Vec::new(),
                    slot: 0,
                    logit_rows: 1,
                    samples: true,
                    sampling: None,
                    logprobs: Logprobs::None,
                    masked: false,
                };
                let bucket = Bucket::of(&vec![span; count], &limits);
                assert!(buckets.contains(&bucket), "{count} sequences at {position}: {bucket:?}");
                met.insert(bucket);
            }
        }
        assert_eq!(met.len() * 4, buckets.len(), "as many that sample, that tell log-probabilities, and that do both");
    }
}

#[test]
fn rounding_never_shrinks_and_wastes_little() {
    for count in 1..5000 {
        let rounded = round_up(count);
        assert!(rounded >= count && rounded - count < (count / 8).max(8), "{count} → {rounded}");
        assert_eq!(round_up(rounded), rounded);
        let decode = round_up_decode(count);
        assert!(decode >= count && decode - count < (count / 2).max(8), "{count} → {decode}");
        assert_eq!(round_up_decode(decode), decode);
    }
}
