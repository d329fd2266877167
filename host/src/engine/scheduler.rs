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

/// Shares of at most `rows` token rows: first every sequence that adds one token, so that none waits behind a prompt, then
/// prompts in the order of their arrival, the last of them cut to the room that is left. A prompt that is scored is cut too
/// where its rows of logits and a row for each sequence would be more than `logit_rows`. Shares of several tokens come first, as
/// a step has them.
pub fn schedule(running: &[Sequence], rows: usize, logit_rows: usize) -> Vec<Share> {
    let mut room = rows;
    let mut spare = logit_rows.saturating_sub(running.len());
    let mut shares = Vec::new();
    let (decoding, prefilling): (Vec<_>, Vec<_>) = running
        .iter()
        .enumerate()
        .filter(|(_, s)| s.pending() > 0 && s.may_step())
        .partition(|(_, s)| s.pending() == 1);
    for (sequence, state) in decoding.into_iter().chain(prefilling) {
        let tokens = state.tokens_to_stop(state.tokens_within(state.pending().min(room), spare + 1));
        let tokens = state.tokens_to_repeat(tokens);
        if tokens > 0 {
            spare -= state.logit_rows(tokens).saturating_sub(1);
            shares.push(Share { sequence, tokens });
            room -= tokens;
        }
    }
    shares.sort_by_key(|share| share.tokens == 1);
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
        let shares = schedule(&[sequence(0, 3), sequence(1, 90), sequence(2, 40)], 100, 64);
        let tokens: Vec<_> = shares.iter().map(|share| (share.sequence, share.tokens)).collect();
        assert_eq!(tokens, [(0, 3), (1, 90), (2, 7)]);
    }

    #[test]
    fn decoding_goes_first() {
        let mut decoding = sequence(1, 5);
        decoding.advance(5);
        let shares = schedule(&[sequence(0, 200), decoding], 64, 64);
        let tokens: Vec<_> = shares.iter().map(|share| (share.sequence, share.tokens)).collect();
        assert_eq!(tokens, [(0, 63), (1, 1)]);
    }

    #[test]
    fn a_sequence_with_its_last_token_on_the_way_is_left_alone() {
        let mut last =
            Sequence::new(SequenceId(0), Request { prompt: vec![0; 4], max_tokens: 1, ..Request::default() }, 100, 9);
        last.advance(4);
        assert_eq!(schedule(&[last], 64, 64), []);
    }

    #[test]
    fn a_scored_prompt_has_the_rows_of_logits_that_others_leave() {
        let scored = |id, prompt| {
            let prompt = vec![0; prompt];
            let request = Request { prompt, max_tokens: 10, prompt_logprobs: Some(0), ..Request::default() };
            Sequence::new(SequenceId(id), request, 1000, 9)
        };
        let shares = |running: &[Sequence], logit_rows| -> Vec<(usize, usize)> {
            schedule(running, 1000, logit_rows).iter().map(|share| (share.sequence, share.tokens)).collect()
        };
        // 99 tokens are scored by the rows in front of them, and the last row chooses a token.
        assert_eq!(shares(&[scored(0, 100)], 100), [(0, 100)]);
        assert_eq!(shares(&[scored(0, 100)], 99), [(0, 99)]);
        assert_eq!(shares(&[sequence(0, 30), scored(1, 100), scored(2, 100)], 20), [(0, 30), (1, 18), (2, 1)]);
        assert_eq!(shares(&[scored(0, 100), sequence(1, 30)], 2), [(1, 30), (0, 1)]);
        // Rows that were read are not read again.
        let mut again = scored(0, 100);
        again.note_scores(70);
        assert_eq!(shares(&[again], 20), [(0, 90)]);
    }
}
