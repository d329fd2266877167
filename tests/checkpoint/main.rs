//! Checkpoints as they are found on disk: good ones load, bad ones say what is wrong with them.
mod golden;
