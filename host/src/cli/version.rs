//! What `--version` says: version, commit, and the PTX in the program with its compiler.
use std::sync::LazyLock;

use crate::device::cuda::shipped_ptx;

/// The version with all that tells one build from another.
pub static LONG: LazyLock<String> = LazyLock::new(|| {
    let mut text = format!("{}\ncommit: {}", env!("CARGO_PKG_VERSION"), nemotron_backend::COMMIT);
    for (architecture, compiler) in shipped_ptx() {
        text += &format!("\nPTX {architecture}: {compiler}");
    }
    text
});
