//! Models in Hugging Face's cache: which snapshot a name and a revision stand for.
#![cfg(unix)]
use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use nemotron::checkpoint::Checkpoint;
use nemotron::error::Result;

use crate::fixture::{Fixture, INDEX, SHARDS, check_refusal, load};

/// A cache in which `org/tiny` has the snapshots `revisions`, each a folder of links into `blobs`.
fn hub(revisions: &[&str]) -> Fixture {
    let fixture = Fixture::new();
    fixture.shard(|name| name.contains("mlp"));
    for revision in revisions {
        for (blob, name) in ["config.json", INDEX, SHARDS[0], SHARDS[1]].into_iter().enumerate() {
            fixture.write(&format!("models--org--tiny/blobs/{blob}"), fixture.read(name));
            let snapshot = fixture.file(&format!("models--org--tiny/snapshots/{revision}"));
            fs::create_dir_all(&snapshot).unwrap();
            symlink(format!("../../blobs/{blob}"), snapshot.join(name)).unwrap();
        }
    }
    fixture
}

fn open(hub: &Fixture, model: &str) -> Result<Checkpoint> {
    Checkpoint::open_with_cache(model, Some(hub.path()))
}

/// The last part of the directory that was opened.
fn opened(hub: &Fixture, model: &str) -> String {
    open(hub, model).unwrap().directory().file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_model_is_found_by_its_name() {
    let hub = hub(&["aaa", "bbb"]);
    let touch = |revision: &str, seconds| {
        let folder = fs::File::open(hub.file(&format!("models--org--tiny/snapshots/{revision}"))).unwrap();
        folder.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    };
    touch("aaa", 2_000_000);
    touch("bbb", 1_000_000);
    assert_eq!(opened(&hub, "org/tiny"), "aaa", "the newest, where only another revision than main was downloaded");
    assert!(open(&hub, "org/tiny").unwrap().notes()[0].contains("no main revision"));
    for revision in ["bbb", "aaa"] {
        hub.write("models--org--tiny/refs/main", format!("{revision}\n"));
        assert_eq!(opened(&hub, "org/tiny"), revision);
    }
    assert!(load(open(&hub, "org/tiny").unwrap()).is_ok());
}

#[test]
fn a_main_that_names_no_snapshot_is_not_replaced_by_another() {
    let hub = hub(&["aaa", "bbb"]);
    for nowhere in ["ccc", "../snapshots/bbb", ""] {
        hub.write("models--org--tiny/refs/main", nowhere);
        let error = open(&hub, "org/tiny").unwrap_err();
        check_refusal(&error, "Revision is not in the cache", &["main", &format!("{nowhere:?}"), "found aaa, bbb"]);
    }
}

#[test]
fn a_revision_is_a_branch_a_tag_or_a_commit() {
    let hub = hub(&["aaa", "bbb", "ccc"]);
    hub.write("models--org--tiny/refs/main", "aaa");
    hub.write("models--org--tiny/refs/v1.0", "bbb");
    hub.write("models--org--tiny/refs/refs/pr/1", "ccc");
    for (model, snapshot) in [
        ("org/tiny", "aaa"),
        ("org/tiny@main", "aaa"),
        ("org/tiny@v1.0", "bbb"),
        ("org/tiny@refs/pr/1", "ccc"),
        ("org/tiny@ccc", "ccc"),
    ] {
        assert_eq!(opened(&hub, model), snapshot, "{model}");
    }
    let error = open(&hub, "org/tiny@v2").unwrap_err();
    check_refusal(&error, "Revision is not in the cache", &["v2", "found aaa, bbb, ccc"]);
    assert!(error.to_string().contains("hf download org/tiny --revision v2"), "{error}");
    let error = open(&hub, "org/other@v2").unwrap_err();
    check_refusal(&error, "Model directory does not exist", &["org/other@v2", "models--org--other"]);
}

#[test]
fn a_directory_with_a_model_wins_and_one_without_hides_nothing() {
    let hub = hub(&["aaa"]);
    hub.write("models--org--tiny/refs/main", "aaa");
    let directory = Fixture::new();
    let model = directory.path().to_str().unwrap();
    assert_eq!(open(&hub, model).unwrap().directory(), directory.path());
    // A name of two words is looked up in the current directory, where a folder of another kind may stand.
    let here = std::env::current_dir().unwrap();
    let folder = tempfile::Builder::new().prefix("org").tempdir_in(&here).unwrap();
    let organisation = folder.path().file_name().unwrap().to_str().unwrap();
    fs::create_dir(folder.path().join("tiny")).unwrap();
    let name = format!("{organisation}/tiny");
    check_refusal(&open(&hub, &name).unwrap_err(), "config.json not found", &[&name]);
    fs::rename(hub.file("models--org--tiny"), hub.file(&format!("models--{organisation}--tiny"))).unwrap();
    assert_eq!(opened(&hub, &name), "aaa");
    assert!(open(&hub, &name).unwrap().notes()[0].contains("holds no model"));
}
