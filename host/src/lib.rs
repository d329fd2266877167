//! NVIDIA Nemotron checkpoints become text: a library and a command.
//!
//! A request reads this list top to bottom; the sampled ids come back through `session` to `text`.
//!
//! * [`cli`]: the command line, one command, one file
//! * [`server`]: a model behind OpenAI's APIs
//! * [`bench`](mod@bench): times on a device against its walls
//! * [`session`]: load a model, generate, stream
//! * [`text`]: tokenizer and incremental detokenizer
//! * [`checkpoint`]: files, shards, names, shapes, dtypes, bytes
//! * [`files`]: what may be opened, how long it may be, JSON as Python writes it
//! * [`quantized`]: which format a stored weight has, and its rows in that format
//! * [`weights`]: parts of tensors on their way to the device
//! * [`models`]: a family = a file: config.json and tensor names become blocks
//! * [`engine`]: sequences, KV pages, scheduler, step loop
//! * [`forward`]: the only walk over the blocks: it makes plans
//! * [`sample`]: parameters and the choice of the next token
//! * [`device`]: what a plan is and what runs it
//! * [`synthetic`]: checkpoints of random weights
//! * [`cpu`]: the device of plain Rust: one reference per kernel
pub mod bench;
pub mod checkpoint;
pub mod cli;
pub mod cpu;
pub mod device;
pub mod engine;
pub mod error;
pub mod files;
pub mod forward;
pub mod models;
pub mod quantized;
pub mod sample;
pub mod server;
pub mod session;
pub mod synthetic;
pub mod text;
pub mod weights;
