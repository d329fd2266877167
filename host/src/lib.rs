//! NVIDIA Nemotron checkpoints become text: a library and a command.
//!
//! A request reads this list top to bottom; the sampled ids come back through `session` to `text`.
//!
//! * [`cli`]: the command line, one command, one file
//! * [`server`]: a model behind OpenAI's APIs
//! * [`traffic`]: requests to a server, and when their tokens came
//! * [`bench`](mod@bench): times on a device against its peaks
//! * [`session`]: load a model, generate, stream
//! * [`text`]: tokenizer and incremental detokenizer
//! * [`checkpoint`]: files, shards, names, shapes, dtypes, bytes
//! * [`files`]: what may be opened, how long it may be, JSON as Python writes it
//! * [`quantized`]: which format a stored weight has, and its rows in that format
//! * [`weights`]: parts of tensors on their way to the device
//! * [`export`]: a checkpoint's weights as codes, written for other engines too
//! * [`models`]: a family = a file: config.json and tensor names become blocks
//! * [`engine`]: sequences, KV pages, scheduler, step loop
//! * [`forward`]: the only walk over the blocks: it makes plans
//! * [`synthetic`]: checkpoints of random weights
//!
//! What runs a plan is a crate of its own, so that a kernel's tests compile without all this: [`device`], [`cpu`] and [`sample`]
//! are `nemotron-backend`'s.
pub use nemotron_backend::{cpu, device, error, sample};

pub mod bench;
pub mod checkpoint;
pub mod cli;
pub mod engine;
pub mod export;
pub mod files;
pub mod forward;
pub mod models;
pub mod quantized;
pub mod server;
pub mod session;
pub mod synthetic;
pub mod text;
pub mod traffic;
pub mod weights;
