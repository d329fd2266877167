//! The page at `/`: what it may do, and whom it is sent to. What it does is tested in a browser, by `page.sh`.
use std::io::Write;
use std::process::{Command, Stdio};

use crate::{Server, client};

/// The text between two words that stand in a page once.
fn between<'a>(page: &'a str, begin: &str, end: &str) -> &'a str {
    assert_eq!((page.matches(begin).count(), page.matches(end).count()), (1, 1), "{begin} {end}");
    page.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).expect("they stand in order").0
}

/// What coreutils makes of a text: its SHA-256 in base64.
fn digest(text: &str) -> String {
    let hash = "sha256sum | cut -c 1-64 | tr a-f A-F | basenc --base16 --decode --ignore-garbage | base64";
    let mut shell = Command::new("sh").args(["-c", hash]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    String::from_utf8(shell.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
}

#[test]
fn the_page_may_run_its_own_script_and_nothing_else() {
    let server = Server::start(&[]);
    let page = client::send(&server.address, "GET", "/", &[], "");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    // The client gives header lines in lower case, and a digest has letters of both.
    let policy = page.header("content-security-policy").expect("there is a policy");
    let script = digest(between(&page.body, "<script type=\"module\">", "</script>")).to_lowercase();
    let style = digest(between(&page.body, "<style>", "</style>")).to_lowercase();
    for rule in [
        "default-src 'none'",
        &format!("script-src 'sha256-{script}'"),
        &format!("style-src 'sha256-{style}'"),
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.split("; ").any(|part| part == rule), "{rule} is not in {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "src=", "url("] {
        assert!(!page.body.contains(word), "{word}");
    }
    for path in ["/index.html", "/page.js", "/page.html", "/favicon.ico", "//"] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    assert_eq!(client::send(&server.address, "POST", "/", &[], "").status, 405);
}

#[test]
fn the_page_needs_no_key_but_a_name_of_this_machine() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "secret").unwrap();
    let server = Server::start(&["--api-key-file", file.path().to_str().unwrap()]);
    assert_eq!(server.get("/").status, 200);
    assert_eq!(server.get("/v1/models").status, 401);
    for (header, value) in [("Host", "evil.test"), ("Origin", "https://evil.test")] {
        assert_eq!(client::send(&server.address, "GET", "/", &[(header, value)], "").status, 403, "{header}: {value}");
    }
}

#[test]
fn the_page_is_there_while_the_model_loads() {
    let server = Server::start_loading(&[]);
    assert_eq!(server.get("/").status, 200);
    server.wait_for("ready: ");
    assert_eq!(server.get("/").status, 200);
}
