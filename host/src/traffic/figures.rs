//! `Figures`: what all answers together say of a server.
use std::collections::BTreeMap;
use std::time::Instant;

use super::answer::{Counted, Seen};

/// Times, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// Half of them are at most this.
    pub p50: f64,
    /// Nine of ten are.
    pub p90: f64,
    /// 99 of 100 are.
    pub p99: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of `times`; none where there are none.
    pub fn of(times: &[f64]) -> Option<Spread> {
        let mut sorted = times.to_vec();
        sorted.sort_by(f64::total_cmp);
        let rank = |share: f64| sorted[((share * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len()) - 1];
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        let max = *sorted.last()?;
        Some(Spread { mean, p50: rank(0.5), p90: rank(0.9), p99: rank(0.99), max })
    }
}

/// What was seen so far; times and tokens are those of requests that did not fail.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Requests with an answer.
    pub done: usize,
    /// How many failed, and how one of them did, by the kind.
    pub failed: BTreeMap<String, (usize, String)>,
    /// Tokens of prompts; none where the server never counts them.
    pub prompt_tokens: Option<u64>,
    /// Those that the server had computed before; none where it never says.
    pub cached_tokens: Option<u64>,
    /// Generated tokens.
    pub generated_tokens: u64,
    /// The worst way in which those of an answer were counted.
    pub counted: Counted,
    /// From when a request was due to its first token, seconds.
    pub first_token: Vec<f64>,
    /// Between two events with tokens of an answer.
    pub between: Vec<f64>,
    /// Of each answer of two events at least: from its first token to its last, over the tokens behind the first.
    pub per_token: Vec<f64>,
    /// From when a request was due to the end of its answer.
    pub whole: Vec<f64>,
    span: Option<(Instant, Instant)>,
}

impl Figures {
    /// Counts a request.
    pub fn add(&mut self, seen: &Seen) {
        let (begin, end) = self.span.unwrap_or((seen.due, seen.ended));
        self.span = Some((begin.min(seen.due), end.max(seen.ended)));
        let answer = match &seen.answer {
            Ok(answer) => answer,
            Err(failure) => {
                self.failed.entry(failure.kind.clone()).or_insert((0, failure.what.clone())).0 += 1;
                return;
            }
        };
        self.done += 1;
        for (all, its) in
            [(&mut self.prompt_tokens, answer.prompt_tokens), (&mut self.cached_tokens, answer.cached_tokens)]
        {
            if let Some(tokens) = its {
                *all.get_or_insert(0) += tokens;
            }
        }
        let tokens = answer.tokens();
        self.counted = self.counted.max(answer.counted());
        self.generated_tokens += tokens;
        self.whole.push((seen.ended - seen.due).as_secs_f64());
        self.between.extend(answer.events.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()));
        self.first_token.extend(answer.events.first().map(|first| (*first - seen.due).as_secs_f64()));
        // All that came in one event says nothing of the time that a token takes.
        if let [first, .., last] = answer.events[..] {
            self.per_token.push((last - first).as_secs_f64() / tokens.saturating_sub(1).max(1) as f64);
        }
    }

    /// Requests that failed.
    pub fn failures(&self) -> usize {
        self.failed.values().map(|(count, _)| count).sum()
    }

    /// From the first request to the last answer's end.
    pub fn seconds(&self) -> f64 {
        self.span.map_or(0.0, |(begin, end)| (end - begin).as_secs_f64())
    }

    /// So many of something, per second.
    pub fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.seconds().max(1e-9)
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::{Fault, Streamed};
    use super::*;
    use std::time::Duration;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let times: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        let spread = Spread::of(&times).unwrap();
        assert_eq!(spread, Spread { mean: 100.5, p50: 100.0, p90: 180.0, p99: 198.0, max: 200.0 });
        assert_eq!(Spread::of(&[3.0]), Some(Spread { mean: 3.0, p50: 3.0, p90: 3.0, p99: 3.0, max: 3.0 }));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn times_are_counted_from_when_a_request_was_due_and_failures_by_kind() {
        let due = Instant::now();
        let at = |ms: u64| due + Duration::from_millis(ms);
        let mut answer = Streamed::default();
        for (ms, data) in [
            (30, r#"{"choices": [{"text": "a", "token_ids": [1]}]}"#),
            (50, r#"{"choices": [{"text": "bcd", "token_ids": [2, 3, 4], "finish_reason": "length"}]}"#),
            (51, r#"{"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 4}}"#),
        ] {
            assert_eq!(answer.take(data, at(ms)), Ok(true));
        }
        let mut figures = Figures::default();
        figures.add(&Seen { due, ended: at(60), answer: Ok(answer) });
        for what in ["first", "second"] {
            figures.add(&Seen { due: at(10), ended: at(80), answer: Err(Fault::new("HTTP 429", what)) });
        }
        let ms = |times: &[f64]| times.iter().map(|time| (time * 1e3).round() as u64).collect::<Vec<_>>();
        assert_eq!(
            (ms(&figures.first_token), ms(&figures.between), ms(&figures.whole)),
            (vec![30], vec![20], vec![60])
        );
        assert!((figures.per_token[0] - 0.02 / 3.0).abs() < 1e-9);
        assert_eq!((figures.done, figures.prompt_tokens, figures.generated_tokens), (1, Some(7), 4));
        assert_eq!((figures.failures(), figures.cached_tokens), (2, None));
        assert_eq!(figures.failed["HTTP 429"], (2, "first".to_owned()));
        assert!((figures.seconds() - 0.08).abs() < 1e-9 && (figures.per_second(4) - 50.0).abs() < 1e-6);
    }

    #[test]
    fn one_event_has_no_time_per_token_and_the_worst_way_of_counting_is_told() {
        let due = Instant::now();
        let mut figures = Figures::default();
        for (data, counted) in [
            (r#"{"choices": [{"text": "all"}], "usage": {"completion_tokens": 9}}"#, Counted::Usage),
            (r#"{"choices": [{"text": "", "token_ids": [1, 2]}]}"#, Counted::Ids),
            (r#"{"choices": [{"text": "more"}]}"#, Counted::Events),
            (r#"{"choices": [{"text": ""}], "usage": {"completion_tokens": 3}}"#, Counted::Events),
        ] {
            let mut answer = Streamed::default();
            assert_eq!(answer.take(data, due + Duration::from_millis(5)), Ok(true));
            figures.add(&Seen { due, ended: due + Duration::from_millis(6), answer: Ok(answer) });
            assert_eq!(figures.counted, counted, "{data}");
        }
        assert_eq!((figures.done, figures.generated_tokens, figures.prompt_tokens), (4, 9 + 2 + 1 + 3, None));
        assert_eq!((figures.first_token.len(), figures.between.len(), figures.per_token.len()), (3, 0, 0));
    }
}
