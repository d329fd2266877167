//! Requests to a server of OpenAI's API, many at a time, and when their tokens came: what `nemotron bench serve` prints.
mod answer;
mod client;
mod drive;
mod figures;
mod workload;

pub use answer::Counted;
pub use client::{Client, PromptForm};
pub use drive::{Outcome, drive};
pub use figures::{Figures, Spread};
pub use workload::{Range, Timing, Workload};
