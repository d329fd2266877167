//! Runs PTX on the CPU, without a GPU, and sanitizes it.

#![forbid(unsafe_code)]

mod decode;
mod fault;
mod float;
mod lanes;
mod memory;
mod module;
mod parse;
mod program;
mod run;
mod types;

pub use fault::{Fault, FaultKind, Place};
pub use memory::Memory;
pub use module::Module;
pub use parse::ParseError;
pub use run::{Launch, Options, Stats};
