//! Checkpoints as they are found on disk: good ones load, bad ones say what is wrong with them.
mod bad_files;
mod fixture;
mod golden;
mod layouts;
mod mutations;
mod shapes;
