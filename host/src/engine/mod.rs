//! The engine: sequences, KV pages, scheduler, step loop; it does not know that CUDA exists.
