//! A session: load a model, generate, stream.
