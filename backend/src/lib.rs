//! What computes: devices, plans for them, and one reference per kernel. It knows no model and no checkpoint.
//!
//! * [`device`]: what a plan is and what runs it; `cuda` is the GPU
//! * [`cpu`]: the device of plain Rust: one reference per kernel
//! * [`sample`]: the choice of the next token, as steps of a plan
//! * [`error`]: what went wrong, where, and what to do
pub mod cpu;
pub mod device;
pub mod error;
pub mod sample;

/// The commit of a release build.
pub const COMMIT: &str = env!("NEMOTRON_COMMIT");
