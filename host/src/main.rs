//! The `nemotron` command.

fn main() {}
