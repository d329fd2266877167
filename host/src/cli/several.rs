//! `--n`: several continuations of one prompt.
use std::io::Write;

use super::console::Loudness;
use super::failure::Failure;
use crate::session::{BatchRequest, GenerateOptions, Sampling, Session};

/// Writes `n` continuations in order, each when it is whole.
pub fn run(
    session: &mut Session,
    prompt: &str,
    n: usize,
    options: &GenerateOptions,
    loudness: Loudness,
    out: &mut impl Write,
) -> std::result::Result<(), Failure> {
    let request = |stream| BatchRequest {
        prompt: prompt.to_owned(),
        max_tokens: options.max_tokens,
        sampling: Sampling { stream, ..options.sampling.clone() },
    };
    let requests = (0..n as u32).map(|stream| Ok(request(stream)));
    let mut number = 0;
    session.generate_batch(requests, &options.interrupt, |result| {
        let text = result?.text;
        number += 1;
        if loudness > Loudness::Quiet {
            write!(out, "\n=== Generation {number} of {n} ===\nPrompt: {prompt}\nOutput: ")?;
        }
        writeln!(out, "{text}")?;
        out.flush().map_err(Failure::from)
    })
}
