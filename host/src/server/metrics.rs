//! `/metrics`: what the server does, under vLLM's names and under `nemotron:`.
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus::core::{Atomic, GenericCounterVec, GenericGaugeVec};
use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

use super::app::App;
use crate::error::{Category, Error, Result};
use crate::session::{EngineStatus, Finish};

/// Every metric: its name behind the prefix, its type, and what it tells.
pub const METRICS: [(&str, &str, &str); 12] = [
    ("num_requests_running", "gauge", "Generations that the engine runs"),
    ("num_requests_waiting", "gauge", "Generations that wait for a place"),
    ("kv_cache_usage_perc", "gauge", "Share of the KV pages that running generations hold, 0 to 1"),
    ("prompt_tokens_total", "counter", "Tokens of prompts"),
    ("generation_tokens_total", "counter", "Generated tokens"),
    ("time_to_first_token_seconds", "histogram", "From a request to its first token"),
    ("inter_token_latency_seconds", "histogram", "Between two tokens of a generation"),
    ("e2e_request_latency_seconds", "histogram", "From a request to its end"),
    ("request_success_total", "counter", "Generations that ended, by reason"),
    ("prefix_cache_queries_total", "counter", "Tokens of prompts that were looked up in the cache of prefixes"),
    ("prefix_cache_hits_total", "counter", "Those of them that were there"),
    ("num_preemptions_total", "counter", "Times that a generation gave up its pages and began again"),
];

const PREFIXES: [&str; 2] = ["vllm:", "nemotron:"];

/// Edges of the histograms, seconds.
const FIRST: [f64; 14] = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const BETWEEN: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.25, 1.0];
const WHOLE: [f64; 12] = [0.01, 0.05, 0.1, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];

/// One metric under both prefixes.
struct Both<T>([T; 2]);

/// The metrics of a server.
pub struct Metrics {
    registry: Registry,
    model: String,
    running: Both<IntGaugeVec>,
    waiting: Both<IntGaugeVec>,
    usage: Both<GaugeVec>,
    prompt: Both<IntCounterVec>,
    generated: Both<IntCounterVec>,
    first: Both<HistogramVec>,
    between: Both<HistogramVec>,
    whole: Both<HistogramVec>,
    ended: Both<IntCounterVec>,
    queries: Both<IntCounterVec>,
    hits: Both<IntCounterVec>,
    preemptions: Both<IntCounterVec>,
}

impl Metrics {
    /// # Errors
    /// A name is wrong.
    pub fn new(model: &str) -> Result<Metrics> {
        Metrics::registered(model).map_err(|error| {
            Error::new(Category::Internal, "A metric cannot be registered").details(error).hint("please report this")
        })
    }

    fn registered(model: &str) -> prometheus::Result<Metrics> {
        let registry = Registry::new();
        let label: &[&str] = &["model_name"];
        let counter = |index: usize, labels: &[&str]| counters(&registry, index, labels);
        let histogram = |index: usize, edges: &[f64]| histograms(&registry, index, edges);
        Ok(Metrics {
            running: gauges(&registry, 0)?,
            waiting: gauges(&registry, 1)?,
            usage: gauges(&registry, 2)?,
            prompt: counter(3, label)?,
            generated: counter(4, label)?,
            first: histogram(5, &FIRST)?,
            between: histogram(6, &BETWEEN)?,
            whole: histogram(7, &WHOLE)?,
            ended: counter(8, &["model_name", "finished_reason"])?,
            queries: counter(9, label)?,
            hits: counter(10, label)?,
            preemptions: counter(11, label)?,
            model: model.to_owned(),
            registry,
        })
    }

    /// Notes a prompt of so many tokens.
    pub fn prompt(&self, tokens: usize) {
        self.prompt.each(|metric| metric.with_label_values(&[&self.model]).inc_by(tokens as u64));
    }

    /// Notes a generation's first token.
    pub fn first_token(&self, since: Duration) {
        self.first.each(|metric| metric.with_label_values(&[&self.model]).observe(since.as_secs_f64()));
        self.token();
    }

    /// Notes a further token.
    pub fn next_token(&self, since: Duration) {
        self.between.each(|metric| metric.with_label_values(&[&self.model]).observe(since.as_secs_f64()));
        self.token();
    }

    fn token(&self) {
        self.generated.each(|metric| metric.with_label_values(&[&self.model]).inc());
    }

    /// Notes a generation's end.
    pub fn end(&self, finish: Finish, since: Duration) {
        let reason = match finish {
            Finish::Stop | Finish::StopText => "stop",
            Finish::Length | Finish::Context => "length",
            Finish::Interrupted => "abort",
        };
        self.ended.each(|metric| metric.with_label_values(&[&self.model, reason]).inc());
        self.whole.each(|metric| metric.with_label_values(&[&self.model]).observe(since.as_secs_f64()));
    }

    /// The text for a scrape.
    fn text(&self, status: Option<&EngineStatus>, waiting: usize) -> prometheus::Result<Vec<u8>> {
        let model = &[self.model.as_str()];
        let (running, inside) = status.map_or((0, 0), |status| (status.running, status.waiting));
        self.running.each(|metric| metric.with_label_values(model).set(running as i64));
        self.waiting.each(|metric| metric.with_label_values(model).set((inside + waiting) as i64));
        if let Some(status) = status {
            let cache = status.cache;
            let held = cache.pages.saturating_sub(cache.free + cache.idle) as f64 / cache.pages.max(1) as f64;
            self.usage.each(|metric| metric.with_label_values(model).set(held));
            let totals = [
                (&self.queries, status.counters.queried),
                (&self.hits, status.counters.reused),
                (&self.preemptions, status.counters.preempted),
            ];
            for (counter, total) in totals {
                counter.each(|metric| {
                    let metric = metric.with_label_values(model);
                    metric.inc_by(total.saturating_sub(metric.get()));
                });
            }
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

impl<T> Both<T> {
    fn each(&self, work: impl FnMut(&T)) {
        self.0.iter().for_each(work);
    }
}

fn counters(registry: &Registry, index: usize, labels: &[&str]) -> prometheus::Result<Both<IntCounterVec>> {
    let (name, _, help) = METRICS[index];
    let made = PREFIXES.map(|prefix| -> prometheus::Result<GenericCounterVec<_>> {
        let counter = GenericCounterVec::new(Opts::new(format!("{prefix}{name}"), help), labels)?;
        registry.register(Box::new(counter.clone()))?;
        Ok(counter)
    });
    both(made)
}

fn gauges<P: Atomic + 'static>(registry: &Registry, index: usize) -> prometheus::Result<Both<GenericGaugeVec<P>>> {
    let (name, _, help) = METRICS[index];
    both(PREFIXES.map(|prefix| {
        let gauge = GenericGaugeVec::new(Opts::new(format!("{prefix}{name}"), help), &["model_name"])?;
        registry.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }))
}

fn histograms(registry: &Registry, index: usize, edges: &[f64]) -> prometheus::Result<Both<HistogramVec>> {
    let (name, _, help) = METRICS[index];
    both(PREFIXES.map(|prefix| {
        let options = HistogramOpts::new(format!("{prefix}{name}"), help).buckets(edges.to_vec());
        let histogram = HistogramVec::new(options, &["model_name"])?;
        registry.register(Box::new(histogram.clone()))?;
        Ok(histogram)
    }))
}

fn both<T>([first, second]: [prometheus::Result<T>; 2]) -> prometheus::Result<Both<T>> {
    Ok(Both([first?, second?]))
}

/// The route.
pub async fn text(State(app): State<Arc<App>>) -> Response {
    let status = app.phase.session().map(|session| session.status());
    match app.metrics.text(status.as_ref(), app.admission.waiting()) {
        Ok(text) => ([(header::CONTENT_TYPE, TextEncoder::new().format_type().to_owned())], text).into_response(),
        Err(_) => axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
