//! What the hash of the sources tells apart, and what it does not.
use super::*;

fn krate(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn hash_of(files: &[(&str, &str)]) -> String {
    hash(&read(krate(files).path()).unwrap(), Arch::ALL[0])
}

const FILES: [(&str, &str); 3] = [("Cargo.toml", "[package]\n"), ("src/lib.rs", "a\nb\n"), ("src/x/y.rs", "c\n")];

#[test]
fn the_folder_the_order_and_the_line_ends_do_not_count() {
    let reversed = [FILES[2], FILES[1], FILES[0]];
    let windows = [FILES[0], ("src/lib.rs", "a\r\nb\r\n"), FILES[2]];
    assert_eq!(hash_of(&FILES), hash_of(&reversed));
    assert_eq!(hash_of(&FILES), hash_of(&windows));
}

#[test]
fn every_byte_and_name_and_the_flags_count() {
    let others = [
        [FILES[0], ("src/lib.rs", "a\nB\n"), FILES[2]],
        [FILES[0], ("src/lib.rs", "a\nb\n\n"), FILES[2]],
        [FILES[0], FILES[1], ("src/x/z.rs", "c\n")],
        [FILES[0], FILES[1], ("src/xy.rs", "c\n")],
        [("Cargo.toml", "[package]\nx\n"), FILES[1], FILES[2]],
    ];
    for other in others {
        assert_ne!(hash_of(&FILES), hash_of(&other), "{other:?}");
    }
    let sources = read(krate(&FILES).path()).unwrap();
    let other = Arch { name: "sm_86", ..Arch::ALL[0] };
    assert_ne!(hash(&sources, Arch::ALL[0]), hash(&sources, other));
}

#[test]
fn dependencies_by_path_count_too() {
    let direct = [
        ("kernels/Cargo.toml", "[dependencies]\nhelp = { path = \"../help\" }\nother = { version = \"1\" }\n"),
        ("kernels/src/lib.rs", ""),
        ("help/Cargo.toml", "[dependencies]\ndeep = { version = \"1\", path = \"../deep\" }\n"),
        ("help/src/lib.rs", ""),
        ("deep/Cargo.toml", "[package]\n"),
        ("deep/src/lib.rs", "a"),
    ];
    let inherited = [
        ("Cargo.toml", "[workspace.dependencies]\nhelp = { path = \"help\" }\nother = \"1\"\n"),
        ("Cargo.lock", ""),
        ("kernels/Cargo.toml", "[package]\nversion.workspace = true\n[dependencies]\nhelp.workspace = true\n"),
    ];
    let inherited: Vec<_> = inherited.into_iter().chain(direct[1..].iter().copied()).collect();
    for files in [&direct[..], &inherited[..]] {
        let hash = |deepest| {
            let files: Vec<_> = files.iter().map(|&(n, t)| (n, if t == "a" { deepest } else { t })).collect();
            hash(&read(&krate(&files).path().join("kernels")).unwrap(), Arch::ALL[0])
        };
        assert_eq!(hash("a"), hash("a"));
        assert_ne!(hash("a"), hash("b"));
    }
}

#[test]
fn a_folder_without_a_crate_is_an_error() {
    let error = read(tempfile::tempdir().unwrap().path()).err().unwrap();
    assert!(error.to_string().contains("there is no Cargo.toml"), "{error}");
}
