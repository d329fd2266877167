//! `Workload`: which prompts are sent, and when: a function of the seed alone.
use std::time::Duration;

/// A least and a greatest number of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The least.
    pub least: usize,
    /// The greatest.
    pub most: usize,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Tokens of a prompt behind the shared prefix; of each further turn, too.
    pub prompt: Range,
    /// Tokens of an answer.
    pub output: Range,
    /// Tokens that all prompts begin with.
    pub shared_prefix: usize,
    /// Requests of a conversation: each goes on where the one before ended.
    pub turns: usize,
    /// Requests in all; none for as many as there is time for.
    pub requests: Option<usize>,
    /// Where the random numbers begin.
    pub seed: u64,
}

/// When conversations begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// Conversations per second, at random times (a Poisson process); none to begin one as soon as another ends.
    pub rate: Option<f64>,
    /// Most conversations at a time; none for any number.
    pub concurrency: Option<usize>,
    /// How long conversations begin; none for as long as there are requests.
    pub duration: Option<Duration>,
}

/// What a request adds to its conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Ids, of those that may be used.
    pub ids: Vec<u32>,
    /// Tokens of the answer.
    pub max_tokens: usize,
}

/// Ids below this are special tokens or single bytes in most vocabularies.
const FIRST_ID: u32 = 100;

impl Workload {
    /// Conversations in all; none for as many as there is time for.
    pub fn conversations(&self) -> Option<usize> {
        self.requests.map(|requests| requests.div_ceil(self.turns))
    }

    /// The turns of conversation `number`, of ids below `below`; none where there are no more requests.
    pub fn conversation(&self, number: usize, below: u32) -> Option<Vec<Turn>> {
        let turns = match self.requests {
            Some(requests) => requests.saturating_sub(number.saturating_mul(self.turns)).min(self.turns),
            None => self.turns,
        };
        let mut chance = Chance::new(self.seed, number as u64 + 1);
        let first = first_id(below);
        let turn = |turn: usize| {
            let length = chance.within(self.prompt);
            let mut ids: Vec<u32> = (0..length).map(|_| first + chance.below(below - first)).collect();
            if turn == 0 {
                self.begin(&mut ids, number as u64, below);
                ids.splice(0..0, self.prefix(below));
            }
            Turn { ids, max_tokens: chance.within(self.output) }
        };
        (turns > 0).then(|| (0..turns).map(turn).collect())
    }

    /// Has a prompt begin as no other does: with the digits of its number, the lowest first, each from a place of its own on.
    /// So as many as there are ids differ in the first one.
    fn begin(&self, ids: &mut [u32], mut number: u64, below: u32) {
        let (mut chance, first) = (Chance::new(self.seed, 0), first_id(below));
        let base = u64::from(below - first);
        for id in ids.iter_mut().take(leading(below)) {
            *id = first + ((chance.next() % base + number % base) % base) as u32;
            number /= base;
        }
    }

    /// How many conversations can begin with prompts of which no two begin alike, of ids below `below`; `usize::MAX` for 2³² or
    /// more.
    pub fn most_conversations(&self, below: u32) -> usize {
        let digits = leading(below).min(self.prompt.least) as u32;
        (below - first_id(below)).checked_pow(digits).map_or(usize::MAX, |most| most as usize)
    }

    fn prefix(&self, below: u32) -> Vec<u32> {
        let (mut chance, first) = (Chance::new(self.seed, u64::MAX), first_id(below));
        (0..self.shared_prefix).map(|_| first + chance.below(below - first)).collect()
    }

    /// Whether a server may find beginnings of prompts in its cache.
    pub fn repeats(&self) -> bool {
        self.shared_prefix > 0 || self.turns > 1
    }

    /// The times between conversations, in seconds, of which there are `rate` per second on average.
    pub fn gaps(&self, rate: f64) -> impl Iterator<Item = f64> + use<> {
        let mut chance = Chance::new(self.seed, u64::MAX - 1);
        std::iter::repeat_with(move || -(1.0 - chance.share()).ln() / rate)
    }
}

fn first_id(below: u32) -> u32 {
    FIRST_ID.min(below / 2)
}

/// How many ids of a prompt tell it from all others: as many as number 2³² prompts, if there are two ids at all.
fn leading(below: u32) -> usize {
    let base = u64::from(below - first_id(below));
    if base < 2 { 1 } else { (1..).find(|&digits| base.saturating_pow(digits) >= 1 << 32).unwrap_or(1) as usize }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Chance(u64);

impl Chance {
    /// Numbers of their own for each stream of a seed.
    fn new(seed: u64, stream: u64) -> Chance {
        let mut chance = Chance(seed);
        Chance(chance.next() ^ stream.wrapping_mul(0xd134_2543_de82_ef95))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to 1, without it.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, end: u32) -> u32 {
        (self.share() * f64::from(end)) as u32
    }

    fn within(&mut self, Range { least, most }: Range) -> usize {
        least + (self.share() * (most - least + 1) as f64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKLOAD: Workload = Workload {
        prompt: Range { least: 3, most: 9 },
        output: Range { least: 2, most: 4 },
        shared_prefix: 0,
        turns: 1,
        requests: Some(500),
        seed: 7,
    };

    #[test]
    fn lengths_fill_their_range_and_no_two_prompts_begin_alike() {
        let all: Vec<Turn> = (0..).map_while(|number| WORKLOAD.conversation(number, 2000)).flatten().collect();
        assert_eq!(all.len(), 500);
        let lengths = |of: fn(&Turn) -> usize| {
            let all: Vec<usize> = all.iter().map(of).collect();
            (*all.iter().min().unwrap(), *all.iter().max().unwrap())
        };
        assert_eq!((lengths(|turn| turn.ids.len()), lengths(|turn| turn.max_tokens)), ((3, 9), (2, 4)));
        assert!(all.iter().flat_map(|turn| &turn.ids).all(|id| (100..2000).contains(id)));
        let firsts: std::collections::HashSet<u32> = all.iter().map(|turn| turn.ids[0]).collect();
        assert_eq!(firsts.len(), 500);
        let other = Workload { seed: 8, ..WORKLOAD };
        assert_ne!(other.conversation(0, 2000), WORKLOAD.conversation(0, 2000));
    }

    #[test]
    fn prompts_differ_at_their_beginning_as_far_as_there_are_ids() {
        let begins = |work: Workload, below: u32, digits: usize| {
            let all = (0..work.most_conversations(below).min(40_000)).map(|number| work.conversation(number, below));
            let all: Vec<Vec<u32>> = all.map(|turns| turns.unwrap()[0].ids[..digits].to_vec()).collect();
            (all.len(), all.iter().collect::<std::collections::HashSet<_>>().len())
        };
        let many = Workload { requests: None, ..WORKLOAD };
        assert_eq!(many.most_conversations(2000), usize::MAX);
        assert_eq!((begins(many, 30_000, 1), begins(many, 30_000, 2)), ((40_000, 29_900), (40_000, 40_000)));
        let (one, three) = (Range { least: 1, most: 9 }, Range { least: 3, most: 9 });
        assert_eq!(begins(Workload { prompt: one, ..many }, 2000, 1), (1900, 1900));
        assert_eq!(begins(Workload { prompt: three, ..many }, 26, 3), (13 * 13 * 13, 13 * 13 * 13));
        assert_eq!(many.most_conversations(2), 1);
    }

    #[test]
    fn conversations_share_their_prefix_and_all_turns_together_are_the_requests() {
        let work = Workload { shared_prefix: 20, turns: 3, requests: Some(7), ..WORKLOAD };
        let all: Vec<Vec<Turn>> = (0..).map_while(|number| work.conversation(number, 2000)).collect();
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 1]);
        assert_eq!(all[0][0].ids[..20], all[2][0].ids[..20]);
        assert_ne!(all[0][0].ids[20], all[1][0].ids[20]);
        assert!(all[0][1].ids.len() <= 9, "later turns have no prefix");
    }

    #[test]
    fn arrivals_have_the_mean_and_the_spread_of_a_poisson_process() {
        let gaps: Vec<f64> = WORKLOAD.gaps(4.0).take(20_000).collect();
        let mean = gaps.iter().sum::<f64>() / 20_000.0;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / 20_000.0;
        // An exponential distribution's standard deviation is its mean.
        assert!((mean - 0.25).abs() < 0.006 && (variance.sqrt() - 0.25).abs() < 0.01, "{mean} {variance}");
    }
}
