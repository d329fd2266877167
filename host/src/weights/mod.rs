//! Weights: parts of tensors on their way to the device.
