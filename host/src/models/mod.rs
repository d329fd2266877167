//! Model families: a family is a file; config.json and tensor names become blocks.
pub mod spec;
