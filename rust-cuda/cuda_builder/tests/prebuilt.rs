//! The PTX that the repository ships: of these very sources, free of this machine, and of what no kernel should hold.
use std::path::PathBuf;

use cuda_builder::CudaBuilder;

/// This package's folder, where the test runs and not where it was compiled.
fn here() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).expect("cargo tells a test its package's folder")
}

/// Every crate that ships PTX.
fn crates() -> [PathBuf; 2] {
    let here = here();
    [here.join("../../gpu-kernels"), here.join("tests/collectives")]
}

fn for_each_file(check: impl Fn(&CudaBuilder, &str)) {
    for krate in crates() {
        let archs = CudaBuilder::prebuilt_archs(&krate).unwrap_or_else(|error| panic!("{error}"));
        assert!(!archs.is_empty(), "{} ships no PTX", krate.display());
        for arch in archs {
            let builder = CudaBuilder::new(&krate).arch(&arch);
            let text = std::fs::read_to_string(builder.prebuilt_path()).unwrap();
            check(&builder, &text);
        }
    }
}

#[test]
fn prebuilt_files_are_of_the_sources_as_they_are() {
    for_each_file(|builder, _| {
        let path = builder.prebuilt_path();
        assert!(builder.is_prebuilt().unwrap(), "{} is of other sources; run `make ptx`", path.display());
    });
}

#[test]
fn prebuilt_files_name_no_path() {
    for_each_file(|builder, text| {
        for line in text.lines() {
            let code = line.split("//").next().unwrap_or_default();
            let comment = line.split_once("//").map_or("", |(_, comment)| comment);
            let path = builder.prebuilt_path();
            // An instruction in a comment may have one of its own.
            let comment = comment.replace("//", "");
            assert!(!code.contains(['/', '\\']) && !comment.contains('/'), "{line} in {}", path.display());
        }
    });
}

/// Local memory is slow device memory in disguise; a function that is not a kernel is a panic that the compiler kept.
#[test]
fn kernels_hold_no_local_memory_and_no_calls() {
    for_each_file(|builder, text| {
        for word in [".local", ".func", "call"] {
            let found =
                text.lines().find(|line| line.split([' ', '\t', '.']).any(|w| w == word.trim_start_matches('.')));
            assert_eq!(found, None, "in {}", builder.prebuilt_path().display());
        }
    });
}
