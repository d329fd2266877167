//! Quantized checkpoints that the tests write themselves, in every layout: what is read is what they stand for, to the bit,
//! and what is wrong with them is named.
mod cache;
mod contradictions;
mod encode;
mod faults;
mod layouts;
mod mutated;
mod random;
pub mod sets;
mod store;
