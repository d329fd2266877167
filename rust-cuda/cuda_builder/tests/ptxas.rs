//! NVIDIA's assembler accepts the shipped PTX for every chip that it is meant for, without a spilled register.
//!
//! `scripts/fetch-nvidia-tools.sh` fetches the assembler; where it is not, this says so and checks nothing.
use std::path::{Path, PathBuf};
use std::process::Command;

use cuda_builder::CudaBuilder;

/// This package's folder, where the test runs and not where it was compiled.
fn here() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).expect("cargo tells a test its package's folder")
}

fn ptxas() -> Option<PathBuf> {
    let fetched = here().join("../../target/nvidia-tools/bin/ptxas");
    [fetched, PathBuf::from("ptxas")].into_iter().find(|path| Command::new(path).arg("--version").output().is_ok())
}

#[test]
fn the_shipped_kernels_assemble_without_spills() {
    let Some(ptxas) = ptxas() else {
        println!("no ptxas: scripts/fetch-nvidia-tools.sh fetches it");
        return;
    };
    let here = here();
    let folder = tempfile::tempdir().unwrap();
    for krate in [here.join("../../gpu-kernels"), here.join("tests/collectives")] {
        let [ptx, cubin] = ["ptx", "cubin"].map(|name| folder.path().join(name));
        for chip in ["sm_80", "sm_89", "sm_90", "sm_90a"] {
            let text = CudaBuilder::new(&krate).text(chip).unwrap_or_else(|error| panic!("{error}"));
            std::fs::write(&ptx, text).unwrap();
            assemble(&ptxas, chip, &ptx, &cubin);
        }
    }
}

fn assemble(ptxas: &Path, chip: &str, ptx: &Path, cubin: &Path) {
    let mut command = Command::new(ptxas);
    command.arg("-v").arg(format!("-arch={chip}")).arg(ptx).arg("-o").arg(cubin);
    let output = command.output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{chip}: {log}");
    // What ptxas says where it cannot let the tensor core run on while a warpgroup does other things.
    assert!(!log.contains("Performance Loss"), "{chip}: {log}");
    assert_no_spills(chip, &log);
}

fn assert_no_spills(chip: &str, log: &str) {
    let mut kernel = "";
    let mut frames = 0;
    for line in log.lines() {
        kernel = line.split('\'').nth(1).filter(|_| line.contains("Compiling entry function")).unwrap_or(kernel);
        if line.contains("stack frame") {
            frames += 1;
            let clean = "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads";
            assert_eq!(line.trim(), clean, "{kernel} on {chip}");
        }
    }
    assert!(frames > 0, "ptxas said nothing of spills on {chip}: {log}");
}
