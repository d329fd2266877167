//! nemotron.
