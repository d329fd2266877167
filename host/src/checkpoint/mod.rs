//! Checkpoint files: safetensors, shards, names, shapes, dtypes, bytes.
