//! An HTTP client of a few lines: one request for each connection.
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// What came back.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// Header lines, in lower case.
    pub head: String,
    pub body: String,
}

impl Response {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let begin = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(&begin))
    }

    /// The objects of a stream, which must end with `[DONE]`.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        assert_eq!(self.header("content-type"), Some("text/event-stream"), "{self:?}");
        let mut events: Vec<&str> = self.body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        assert_eq!(events.pop(), Some("[DONE]"), "{self:?}");
        events.into_iter().map(|event| serde_json::from_str(event).expect(event)).collect()
    }

    /// The objects of a stream whose events have names, which must be those of the objects' types.
    #[track_caller]
    pub fn named_events(&self) -> Vec<Value> {
        assert_eq!(self.header("content-type"), Some("text/event-stream"), "{self:?}");
        let one = |event: &str| {
            let (name, data) = event.strip_prefix("event: ")?.split_once("\ndata: ")?;
            let object: Value = serde_json::from_str(data).ok()?;
            (object["type"] == name).then_some(object)
        };
        self.body.trim_end().split("\n\n").map(|event| one(event).unwrap_or_else(|| panic!("{event}"))).collect()
    }
}

/// A connection on which a request was written.
pub fn open(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the port is open");
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "Host") {
        head += &format!("Host: {address}\r\n");
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    // A server may answer before it has read all.
    let _ = stream.write_all(format!("{head}\r\n{body}").as_bytes());
    stream
}

/// What comes back to a request.
pub fn send(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
    read(open(address, method, path, headers, body))
}

/// Reads a response to the end of the connection.
pub fn read(mut stream: TcpStream) -> Response {
    let mut bytes = Vec::new();
    // A connection that is closed early leaves what has come.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let head = head.to_lowercase().replace("\r\n", "\n");
    let body = if head.contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_owned() };
    Response { status, head, body }
}

fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let Ok(length @ 1..) = usize::from_str_radix(length, 16) else { break };
        text += &rest[..length.min(rest.len())];
        body = rest.get(length + 2..).unwrap_or_default();
    }
    text
}
