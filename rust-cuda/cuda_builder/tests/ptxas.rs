//! NVIDIA's assembler accepts the shipped PTX for every chip that it is meant for, without a spilled register.
//!
//! `scripts/fetch-nvidia-tools.sh` fetches the assembler; where it is not, this says so and checks nothing.
use std::path::{Path, PathBuf};
use std::process::Command;

use cuda_builder::{CudaBuilder, PROMOTED, promote};

/// This package's folder, where the test runs and not where it was compiled.
fn here() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).expect("cargo tells a test its package's folder")
}

/// The chips that PTX of an architecture is assembled for.
fn chips(arch: &str) -> &'static [&'static str] {
    if arch == "sm_90a" { &["sm_90a"] } else { &["sm_80", "sm_89", "sm_90"] }
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
        for arch in CudaBuilder::prebuilt_archs(&krate).unwrap() {
            assemble(&ptxas, CudaBuilder::new(&krate).arch(&arch), &arch, &folder.path().join("cubin"));
        }
    }
}

fn assemble(ptxas: &Path, builder: CudaBuilder, arch: &str, cubin: &Path) {
    let ptx = builder.build().unwrap_or_else(|error| panic!("{error}"));
    let promoted = cubin.with_extension("ptx");
    std::fs::write(&promoted, promote(&std::fs::read_to_string(&ptx.path).unwrap())).unwrap();
    for chip in chips(arch) {
        let mut command = Command::new(ptxas);
        let path = if *chip == PROMOTED { &promoted } else { &ptx.path };
        command.arg("-v").arg(format!("-arch={chip}")).arg(path).arg("-o").arg(cubin);
        let output = command.output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{chip}: {log}");
        assert_no_spills(chip, &log);
    }
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
