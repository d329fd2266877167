//! Reads the PTX of `collectives/`: every collective stands before the first branch, as often as it was written.
//!
//! In each of those kernels the result is used only behind a condition that differs between threads, so a compiler that
//! took the collective for plain arithmetic would move it there, and the threads that do not use it would never come.
use std::path::PathBuf;

use cuda_builder::CudaBuilder;

/// This package's folder, where the test runs and not where it was compiled.
fn here() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).expect("cargo tells a test its package's folder")
}

fn krate() -> PathBuf {
    here().join("tests/collectives")
}

/// The instructions of one kernel.
fn kernel(ptx: &str, name: &str) -> Vec<String> {
    let entry = format!(".entry {name}(");
    let lines = ptx.lines().skip_while(|line| !line.contains(&entry)).take_while(|line| *line != "}");
    let instructions: Vec<_> = lines.map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect();
    assert!(!instructions.is_empty(), "no kernel {name}");
    instructions
}

#[test]
fn collectives_stay_ahead_of_the_branch_on_their_users() {
    let ptx = CudaBuilder::new(krate()).build().unwrap_or_else(|error| panic!("{error}"));
    let ptx = std::fs::read_to_string(ptx.path).unwrap();
    for (name, collective, count) in [
        ("shuffle", "shfl.sync.idx.b32", 1),
        ("shuffle_up", "shfl.sync.up.b32", 1),
        ("shuffle_down", "shfl.sync.down.b32", 1),
        ("shuffle_xor", "shfl.sync.bfly.b32", 1),
        ("ballot", "vote.sync.ballot.b32", 1),
        ("all", "vote.sync.all.pred", 1),
        ("any", "vote.sync.any.pred", 1),
        ("warp_sum", "shfl.sync.bfly.b32", 5),
        ("tensor_core", "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", 1),
        ("load_matrix", "ldmatrix.sync.aligned.m8n8.x4.shared.b16", 1),
        ("load_matrix_transposed", "ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16", 1),
        ("load_matrix_one", "ldmatrix.sync.aligned.m8n8.x1.shared.b16", 1),
    ] {
        let body = kernel(&ptx, name);
        let branch =
            body.iter().position(|line| line.starts_with('@')).unwrap_or_else(|| panic!("{name} has no branch"));
        let found: Vec<_> = (0..body.len()).filter(|&i| body[i].starts_with(collective)).collect();
        assert_eq!(found.len(), count, "{collective} in {name}:\n{}", body.join("\n"));
        assert!(found.iter().all(|&i| i < branch), "{collective} moved into a branch of {name}:\n{}", body.join("\n"));
    }
}

/// A block reduction has branches of its own, on lane and warp; barriers and shuffles stand outside of them, once each.
#[test]
fn block_reductions_keep_their_barriers_and_shuffles() {
    let ptx = CudaBuilder::new(krate()).build().unwrap_or_else(|error| panic!("{error}"));
    let ptx = std::fs::read_to_string(ptx.path).unwrap();
    for name in ["block_sum", "block_max"] {
        let body = kernel(&ptx, name);
        let sequence: Vec<_> = body.iter().filter_map(|line| line.split_whitespace().next()).collect();
        let of = |prefix: &str| sequence.iter().filter(|word| word.starts_with(prefix)).count();
        assert_eq!((of("shfl.sync.bfly"), of("bar.sync")), (10, 2), "{name}:\n{}", body.join("\n"));
        let mut skipping = false;
        for line in &body {
            // A conditional branch skips what follows up to the next label; nothing collective may be skipped.
            skipping = (skipping || line.starts_with('@')) && !line.ends_with(':');
            let collective = ["shfl.", "redux.", "bar."].iter().any(|start| line.starts_with(start));
            assert!(!(skipping && collective), "{line} can be skipped in {name}:\n{}", body.join("\n"));
        }
    }
}
