//! `nemotron serve` as a client meets it: a process at a port, spoken to over TCP.
mod anthropic;
mod bench;
mod client;
mod ends;
mod fields;
mod gaps;
mod kills;
mod load;
mod page;
mod ranks;
mod responses;
mod safety;
mod scores;
mod scripted;
mod soak;
mod structured;
mod texts;
mod thinking;
mod tools;
#[allow(dead_code)]
#[path = "../engine/toy.rs"]
mod toy;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use client::Response;
use serde_json::{Value, json};

/// A server of the demo model on the CPU; it is killed when this is dropped.
struct Server {
    child: Child,
    address: String,
    log: Arc<Mutex<String>>,
}

/// Waits for what comes sooner or later.
#[track_caller]
fn until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(30), "it does not come");
        thread::sleep(Duration::from_millis(5));
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("host has a parent").to_path_buf()
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nemotron"));
    for variable in ["NEMOTRON_MODEL", "NEMOTRON_DEVICE", "NEMOTRON_API_KEYS"] {
        command.env_remove(variable);
    }
    command.current_dir(root()).stdin(Stdio::null());
    command
}

impl Server {
    /// A server that is ready.
    fn start(options: &[&str]) -> Server {
        let server = Server::start_loading(options);
        server.wait_for("ready: ");
        server
    }

    /// A server whose port is open.
    fn start_loading(options: &[&str]) -> Server {
        let base = ["serve", "--model", "models/storyteller", "--port", "0", "--quiet"];
        let device = if options.contains(&"--devices") { &[][..] } else { &["--device", "cpu"] };
        let mut child =
            command().args(base).args(device).args(options).stderr(Stdio::piped()).spawn().expect("the server starts");
        let (log, stderr) = (Arc::new(Mutex::new(String::new())), child.stderr.take().expect("it is piped"));
        let written = log.clone();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                *written.lock().unwrap() += &format!("{line}\n");
            }
        });
        let mut server = Server { child, address: String::new(), log };
        let line = server.wait_for("listening");
        let (_, address) = line.split_once("127.0.0.1:").expect("the log names the address");
        let port: String = address.chars().take_while(char::is_ascii_digit).collect();
        server.address = format!("127.0.0.1:{port}");
        server
    }

    /// The first line of the log with `words`.
    #[track_caller]
    fn wait_for(&self, words: &str) -> String {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            if let Some(line) = self.log().lines().find(|line| line.contains(words)) {
                return line.to_owned();
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("{words:?} is not in the log:\n{}", self.log());
    }

    fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    fn get(&self, path: &str) -> Response {
        client::send(&self.address, "GET", path, &[], "")
    }

    fn post(&self, path: &str, body: &Value) -> Response {
        client::send(&self.address, "POST", path, &[("Content-Type", "application/json")], &body.to_string())
    }

    /// The object of a success.
    #[track_caller]
    fn ask(&self, path: &str, body: &Value) -> Value {
        let response = self.post(path, body);
        assert_eq!(response.status, 200, "{body}: {}", response.body);
        response.json()
    }

    /// The completion of a prompt, with `fields` beside it.
    #[track_caller]
    fn complete(&self, prompt: &str, fields: &Value) -> Value {
        let mut body = json!({ "prompt": prompt, "max_tokens": 20 });
        for (name, value) in fields.as_object().expect("fields are an object") {
            body[name] = value.clone();
        }
        self.ask("/v1/completions", &body)
    }

    /// A value of /metrics by its name and a part of its labels; 0 where there is none.
    fn metric_of(&self, name: &str, label: &str) -> f64 {
        let text = self.get("/metrics").body;
        let named = |line: &&str| line.split(['{', ' ']).next() == Some(name) && line.contains(label);
        text.lines().find(named).and_then(|line| line.rsplit_once(' ')?.1.parse().ok()).unwrap_or(0.0)
    }

    fn metric(&self, name: &str) -> f64 {
        self.metric_of(name, "")
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("the server does not end:\n{}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `nemotron generate` makes of a prompt: text and ids.
fn generate(arguments: &[&str]) -> Value {
    let base = ["generate", "--model", "models/storyteller", "--device", "cpu", "--quiet", "--json"];
    let output = command().args(base).args(arguments).output().expect("the command starts");
    serde_json::from_slice(&output.stdout).expect("the command prints an object")
}
