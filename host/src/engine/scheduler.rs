//! The scheduler: which sequences take part in the next step, with how many tokens. Pure; no tensor in sight.
use super::sequence::Sequence;

/// One sequence's share of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Index among the running sequences.
    pub sequence: usize,
    /// Tokens of it.
    pub tokens: usize,
}

/// Shares of at most `rows` token rows: first every sequence that decodes, so that none waits behind a prompt, then
/// prompts in the order of their arrival, the last of them cut to the room that is left.
pub fn schedule(running: &[Sequence], rows: usize) -> Vec<Share> {
    let mut room = rows;
    let mut shares = Vec::new();
    let (decoding, prefilling): (Vec<_>, Vec<_>) =
        running.iter().enumerate().filter(|(_, s)| s.pending() > 0).partition(|(_, s)| s.is_decoding());
    for (sequence, state) in decoding.into_iter().chain(prefilling) {
        let tokens = state.next_tokens().min(room);
        if tokens > 0 {
            shares.push(Share { sequence, tokens });
            room -= tokens;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::super::request::{Request, SequenceId};
    use super::*;

    fn sequence(id: u64, prompt: usize) -> Sequence {
        Sequence::new(
            SequenceId(id),
            Request { prompt: vec![0; prompt], max_tokens: 10, ..Request::default() },
            1000,
            9,
        )
    }

    #[test]
    fn prompts_share_a_step_and_the_last_is_cut() {
        let shares = schedule(&[sequence(0, 3), sequence(1, 90), sequence(2, 40)], 100);
        let tokens: Vec<_> = shares.iter().map(|share| (share.sequence, share.tokens)).collect();
        assert_eq!(tokens, [(0, 3), (1, 90), (2, 7)]);
    }

    #[test]
    fn decoding_goes_first() {
        let mut decoding = sequence(1, 5);
        decoding.advance(5);
        let shares = schedule(&[sequence(0, 200), decoding], 64);
        let tokens: Vec<_> = shares.iter().map(|share| (share.sequence, share.tokens)).collect();
        assert_eq!(tokens, [(1, 1), (0, 63)]);
    }

    #[test]
    fn a_sequence_with_its_last_token_on_the_way_is_left_alone() {
        let mut last =
            Sequence::new(SequenceId(0), Request { prompt: vec![0; 4], max_tokens: 1, ..Request::default() }, 100, 9);
        last.advance(4);
        assert_eq!(schedule(&[last], 64), []);
    }
}
