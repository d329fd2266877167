//! `nemotron serve`: OpenAI's API over HTTP for a model that is loaded once. It knows `session`, and no type of the engine.
//!
//! * [`options`]: what the server is told
//! * `app`: what all requests share · `phase`: loading, ready, draining, failed
//! * `connections`: sockets, their limits and their end
//! * `access`: who may ask: keys, Host, Origin · `body`: reading and its limits · `admission`: whose turn it is
//! * `fields`: the table of all fields of a request · `ask`: a request's body, understood
//! * `completions`, `chat`: the two endpoints · `job`: a request's generations · `choice`: one of them
//! * `form`: how answers are written · `outlet`: events on their way to a reader
//! * `tokens`, `health`, `metrics`, `document`: the other routes
mod access;
mod admission;
mod app;
mod ask;
mod body;
mod chat;
mod choice;
mod completions;
mod connections;
mod document;
mod failure;
mod fields;
mod form;
mod health;
mod job;
mod metrics;
mod options;
mod outlet;
mod phase;
mod routes;
mod tokens;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use crate::error::{Category, Error, Result};
use crate::session::{LoadOptions, Note, Session};

pub use fields::{FIELDS, Field, Treatment};
pub use metrics::METRICS;
pub use options::ServeOptions;

use app::App;

/// Serves until a signal ends it: binds, loads the model beside the first connections, answers, drains.
///
/// # Errors
/// The address cannot be bound, the model cannot be loaded, or the device failed.
pub fn serve(
    load: LoadOptions,
    options: ServeOptions,
    note: impl FnMut(Note) + Send + 'static,
    bound: impl FnOnce(SocketAddr),
) -> Result<()> {
    options.check()?;
    let listener =
        TcpListener::bind((options.host.as_str(), options.port)).map_err(|error| not_bound(&options, &error))?;
    let address = listener.local_addr().map_err(|error| not_bound(&options, &error))?;
    bound(address);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| {
        Error::new(Category::Device, "The server cannot start")
            .details(format_args!("threads were asked for: {error}"))
            .hint("raise the limit on threads (ulimit -u), or end other programs")
    })?;
    let app = Arc::new(App::new(&load, options)?);
    let loading = app.clone();
    let loader = std::thread::spawn(move || load_into(&loading, &load, note));
    let ended = runtime.block_on(connections::serve(app.clone(), listener));
    app.phase.stop();
    // What a request still computes is not waited for.
    runtime.shutdown_background();
    drop(loader);
    ended.and(app.phase.failure().map_or(Ok(()), Err))
}

fn load_into(app: &App, load: &LoadOptions, mut note: impl FnMut(Note)) {
    match Session::load(load, &mut note) {
        Ok(session) => {
            note(Note::Info(format!(
                "Ready: {} tokens of context, {} sequences at the same time",
                session.context(),
                load.max_sequences
            )));
            app.phase.ready(session);
        }
        Err(error) => app.phase.fail(error),
    }
}

fn not_bound(options: &ServeOptions, error: &std::io::Error) -> Error {
    Error::new(Category::Io, "The address cannot be bound")
        .details(format_args!("{}:{}: {error}", options.host, options.port))
        .hint("choose another --host or --port, or end the program that has it")
}
