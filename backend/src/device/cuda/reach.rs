//! `Collectives`: in whose memory the GPUs of ranks meet: in each other's, or in the host's.
use std::fmt;
use std::str::FromStr;

use super::gpu::Gpu;
use crate::error::{Category, Error, Result};

/// In whose memory the GPUs of ranks meet, as a user chooses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Collectives {
    /// In each other's where all reach it, else in the host's.
    #[default]
    Auto,
    /// In each other's.
    Peers,
    /// In the host's: all that they have for each other is sent through it.
    Host,
}

impl FromStr for Collectives {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Collectives, String> {
        match text {
            "auto" => Ok(Collectives::Auto),
            "peers" => Ok(Collectives::Peers),
            "host" => Ok(Collectives::Host),
            _ => Err("expected auto, peers or host".into()),
        }
    }
}

/// Numbers of a GPU and of one whose memory it does not reach.
type Unreached = (u32, u32);

/// In whose memory they meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetIn {
    /// Each other's.
    Peers,
    /// The host's, and why where nobody chose that.
    Host(Option<Unreached>),
}

impl MetIn {
    /// That of these GPUs.
    ///
    /// # Errors
    /// They are to meet in each other's and do not reach it; or the driver does not say whether they do.
    pub fn of(chosen: Collectives, gpus: &[Gpu]) -> Result<MetIn> {
        if chosen == Collectives::Host {
            return Ok(MetIn::Host(None));
        }
        let pairs = gpus.iter().flat_map(|gpu| gpus.iter().map(move |other| (gpu, other)));
        for (gpu, other) in pairs.filter(|(gpu, other)| gpu.ordinal != other.ordinal) {
            if !gpu.reaches(other)? {
                return MetIn::without_reach(chosen, (gpu.ordinal, other.ordinal));
            }
        }
        Ok(MetIn::Peers)
    }

    fn without_reach(chosen: Collectives, (gpu, other): Unreached) -> Result<MetIn> {
        if chosen == Collectives::Auto {
            return Ok(MetIn::Host(Some((gpu, other))));
        }
        Err(Error::new(Category::Device, "Two GPUs do not reach each other's memory")
            .details(format_args!("GPU {gpu} cannot read the memory of GPU {other}"))
            .hint("`nemotron devices` says which GPUs reach each other; without --collectives peers they meet in the host's memory, slower"))
    }
}

impl fmt::Display for MetIn {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            MetIn::Peers => f.write_str("each other's memory"),
            MetIn::Host(None) => f.write_str("the host's memory"),
            MetIn::Host(Some((gpu, other))) => {
                write!(f, "the host's memory, which is slower: GPU {gpu} does not reach the memory of GPU {other}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_that_do_not_reach_each_other_meet_in_the_host_or_are_refused() {
        let met = MetIn::without_reach(Collectives::Auto, (0, 3)).expect("auto takes what there is");
        assert_eq!(met, MetIn::Host(Some((0, 3))));
        assert!(met.to_string().contains("slower: GPU 0 does not reach the memory of GPU 3"), "{met}");
        let error = MetIn::without_reach(Collectives::Peers, (0, 3)).expect_err("it is what was asked for");
        assert!(error.to_string().contains("GPU 0 cannot read the memory of GPU 3"), "{error}");
        assert_eq!(MetIn::of(Collectives::Host, &[]).expect("nothing is asked"), MetIn::Host(None));
        assert_eq!(MetIn::of(Collectives::Auto, &[]).expect("nobody lacks reach"), MetIn::Peers);
    }

    #[test]
    fn the_choice_has_three_words() {
        for (text, choice) in [("auto", Collectives::Auto), ("peers", Collectives::Peers), ("host", Collectives::Host)]
        {
            assert_eq!(text.parse(), Ok(choice));
        }
        assert_eq!("nccl".parse::<Collectives>(), Err("expected auto, peers or host".to_owned()));
    }
}
