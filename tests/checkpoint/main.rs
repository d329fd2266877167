//! Checkpoints as they are found on disk: good ones load, bad ones say what is wrong with them.
mod bad_files;
mod companions;
mod configs;
mod files;
mod fixture;
mod golden;
mod layouts;
mod long_run;
mod mutations;
mod quantized;
mod shapes;
#[cfg(unix)]
mod shrunk;
mod snapshots;
