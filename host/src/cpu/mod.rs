//! The CPU device: one reference per kernel, in the file of the kernel's name.
