//! `ServeOptions`: what the server is told beside the model.
use std::net::IpAddr;
use std::time::Duration;

use crate::error::{Category, Error, Result};

/// Limits and addresses of a server.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Name or address to listen at.
    pub host: String,
    /// Port; 0 for any that is free.
    pub port: u16,
    /// The model's name in answers; by default as it was loaded.
    pub served_model_name: Option<String>,
    /// Keys, one of which a request must bring; none for anybody.
    pub api_keys: Vec<String>,
    /// Whether an address that others reach may be without a key.
    pub allow_no_key: bool,
    /// Generations that may wait beside those that run.
    pub max_queue: usize,
    /// How long a generation may wait.
    pub queue_timeout: Option<Duration>,
    /// How long a request may take.
    pub request_timeout: Option<Duration>,
    /// How long running requests may take once the server is to end.
    pub drain_timeout: Duration,
    /// Connections at the same time.
    pub max_connections: usize,
    /// Bytes of a request's body.
    pub max_body_bytes: usize,
    /// Whether all keys share what is cached of prompts.
    pub share_cache: bool,
}

impl Default for ServeOptions {
    fn default() -> ServeOptions {
        ServeOptions {
            host: "127.0.0.1".to_owned(),
            port: 8000,
            served_model_name: None,
            api_keys: Vec::new(),
            allow_no_key: false,
            max_queue: 1024,
            queue_timeout: None,
            request_timeout: None,
            drain_timeout: Duration::from_secs(30),
            max_connections: 4096,
            max_body_bytes: 16 << 20,
            share_cache: false,
        }
    }
}

impl ServeOptions {
    /// Whether only programs on this machine reach the server.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }

    /// Whether the options may be together.
    ///
    /// # Errors
    /// Others reach the server, and it asks for no key.
    pub fn check(&self) -> Result<()> {
        if self.api_keys.iter().any(|key| key.is_empty() || !key.is_ascii()) {
            return Err(Error::new(Category::Input, "An API key cannot be used")
                .details("expected ASCII characters, at least one")
                .hint("correct the key in --api-key-file or NEMOTRON_API_KEY"));
        }
        if self.is_loopback() || !self.api_keys.is_empty() || self.allow_no_key {
            return Ok(());
        }
        Err(Error::new(Category::Input, "Anybody could use the server")
            .details(format_args!("{} is reached from other machines, and there is no API key", self.host))
            .hint("set NEMOTRON_API_KEY or --api-key-file, listen at 127.0.0.1, or say --allow-no-key"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_others_reach_needs_a_key() {
        let at = |host: &str| ServeOptions { host: host.into(), ..ServeOptions::default() };
        for local in ["127.0.0.1", "127.1.2.3", "::1", "localhost"] {
            assert!(at(local).check().is_ok(), "{local}");
        }
        for open in ["0.0.0.0", "::", "192.168.0.7", "example.org"] {
            assert_eq!(at(open).check().unwrap_err().message(), "Anybody could use the server");
            assert!(ServeOptions { allow_no_key: true, ..at(open) }.check().is_ok());
            assert!(ServeOptions { api_keys: vec!["k".into()], ..at(open) }.check().is_ok());
        }
        assert!(ServeOptions { api_keys: vec![String::new()], ..at("::1") }.check().is_err());
    }
}
