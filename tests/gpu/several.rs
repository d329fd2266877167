//! The GPUs that rows have as ranks of a model.
use nemotron::device::cuda::{self, Collectives, Cuda, Options};
use nemotron::error::Error;

use crate::text;

/// Ranks of a model, and in whose memory they meet.
#[derive(Clone, Copy)]
pub struct Several {
    pub ranks: u32,
    pub collectives: Collectives,
}

/// Checks two GPUs that meet in each other's memory, and all of them where there are more. Where there is one it is both ranks: what they
/// enqueue runs side by side. GPUs that do not reach each other's memory are left out.
pub fn on_several(check: fn(Several) -> Result<String, String>) -> Result<String, String> {
    if reach_each_other()? {
        on_several_by(Collectives::Peers, check)
    } else {
        Ok("left out: they do not reach each other's memory".into())
    }
}

/// Whether all GPUs do.
pub fn reach_each_other() -> Result<bool, String> {
    let gpus = cuda::all().map_err(text)?;
    let mut pairs = gpus.iter().flat_map(|gpu| gpus.iter().map(move |other| (gpu, other)));
    pairs.try_fold(true, |reach, (gpu, other)| {
        Ok(reach && (gpu.ordinal == other.ordinal || gpu.reaches(other).map_err(text)?))
    })
}

/// As [`on_several`], in the memory of a choice.
pub fn on_several_by(collectives: Collectives, check: fn(Several) -> Result<String, String>) -> Result<String, String> {
    let of = |ranks| check(Several { ranks, collectives });
    match cuda::count().map_err(text)? {
        1 => Ok(format!("one GPU as two ranks: {}", of(2)?)),
        2 => of(2),
        count => Ok(format!("2 GPUs: {}; {count}: {}", of(2)?, of(count.min(8))?)),
    }
}

/// The GPUs of so many ranks.
pub fn numbers_of(ranks: u32) -> Result<Vec<u32>, Error> {
    let count = cuda::count()?;
    Ok((0..ranks).map(|rank| rank % count).collect())
}

/// The GPUs, as ranks.
pub fn connected(Several { ranks, collectives }: Several, options: Options) -> Result<Vec<Cuda>, String> {
    let options = Options { collectives, ..options };
    Cuda::open_ranks(&numbers_of(ranks).map_err(text)?, options).map_err(text)
}
