//! In which order compilers are tried, and what is said where none serves.
use super::*;

/// Searches for the crate `krate`, where the compilers in `complete` have their library source.
fn search_among(complete: &[&Path], named: Option<&str>, krate: &Path) -> Result<Compiler, Error> {
    let probe = |rustc: &Path| match complete.contains(&rustc) {
        true => Ok(Compiler { rustc: rustc.to_owned(), version: String::new(), llvm: String::new() }),
        false => Err("its library source is missing".to_owned()),
    };
    search(named.map(OsString::from), "active".into(), krate, Path::new("prebuilt/sm_80.ptx"), probe)
}

#[test]
fn the_named_compiler_comes_first_then_the_active_then_the_unpacked() {
    let root = tempfile::tempdir().unwrap();
    let unpacked = root.path().join("target/ptx-rustc/rustc");
    std::fs::create_dir_all(unpacked.parent().unwrap()).unwrap();
    std::fs::write(&unpacked, "").unwrap();
    let (named, active) = (Path::new("named"), Path::new("active"));

    let krate = root.path().join("kernels");
    let found = |complete: &[&Path], named| search_among(complete, named, &krate).unwrap().rustc;
    assert_eq!(found(&[named, active, &unpacked], Some("named")), named);
    assert_eq!(found(&[named, active, &unpacked], None), active);
    assert_eq!(found(&[named, active, &unpacked], Some("")), active);
    assert_eq!(found(&[named, &unpacked], None), unpacked);
}

#[test]
fn a_named_compiler_that_does_not_serve_is_an_error() {
    let error = search_among(&[Path::new("active")], Some("bare"), Path::new("kernels")).unwrap_err().to_string();
    assert!(error.starts_with("[ERROR] PTX: NEMOTRON_PTX_RUSTC=bare cannot compile kernels"), "{error}");
    assert!(error.contains("its library source is missing"), "{error}");
}

#[test]
fn no_compiler_at_all_names_every_place_and_every_way_out() {
    let error = search_among(&[], None, Path::new("kernels")).unwrap_err().to_string();
    for part in [
        "prebuilt/sm_80.ptx is not of these sources",
        "NEMOTRON_PTX_RUSTC: not set",
        "active: its library source is missing",
        "target/ptx-rustc/rustc: not there",
        "rustup component add rust-src",
        "scripts/fetch-ptx-rustc.sh",
    ] {
        assert!(error.contains(part), "{part:?} is missing in\n{error}");
    }
}

#[test]
fn a_program_that_is_not_there_is_told_from_one_without_source() {
    assert!(Compiler::probe(Path::new("no/such/rustc")).is_err_and(|reason| !reason.contains("source")));
}
