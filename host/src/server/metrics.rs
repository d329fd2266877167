//! `Metrics`: what a server counts, as vLLM names it, and under `nemotron:` too.
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::session::Session;

type Reasons = Family<Vec<(String, String)>, Counter>;

/// Seconds up to a first token, and of a whole request.
const LONG: [f64; 18] =
    [0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0];

/// Seconds between two tokens.
const SHORT: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5];

/// What is counted.
pub struct Metrics {
    registry: Registry,
    running: Gauge,
    waiting: Gauge,
    cache_usage: Gauge<f64, AtomicU64>,
    pub prompt_tokens: Counter,
    generation_tokens: Counter,
    first_token: Histogram,
    between_tokens: Histogram,
    whole: Histogram,
    success: Reasons,
    queried: Counter,
    hits: Counter,
    preemptions: Counter,
    plans: Gauge,
}

impl Metrics {
    /// All at zero, labelled with the model's name.
    pub fn new(model: &str) -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::with_labels([("model_name".into(), model.to_owned().into())].into_iter()),
            running: Gauge::default(),
            waiting: Gauge::default(),
            cache_usage: Gauge::default(),
            prompt_tokens: Counter::default(),
            generation_tokens: Counter::default(),
            first_token: Histogram::new(LONG),
            between_tokens: Histogram::new(SHORT),
            whole: Histogram::new(LONG),
            success: Reasons::default(),
            queried: Counter::default(),
            hits: Counter::default(),
            preemptions: Counter::default(),
            plans: Gauge::default(),
        };
        for reason in ["stop", "length", "abort", "error"] {
            metrics.of_reason(reason);
        }
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        self.both("num_requests_running", "Sequences that run", self.running.clone());
        self.both("num_requests_waiting", "Sequences that wait", self.waiting.clone());
        self.both(
            "kv_cache_usage_perc",
            "Share of the cache's pages that running sequences have",
            self.cache_usage.clone(),
        );
        self.both("prompt_tokens", "Tokens of prompts", self.prompt_tokens.clone());
        self.both("generation_tokens", "Generated tokens", self.generation_tokens.clone());
        self.both(
            "time_to_first_token_seconds",
            "From the request to an answer's first token",
            self.first_token.clone(),
        );
        self.both("inter_token_latency_seconds", "Between two tokens of an answer", self.between_tokens.clone());
        self.both("e2e_request_latency_seconds", "From the request to an answer's end", self.whole.clone());
        self.both("request_success", "Answers, by the reason of their end", self.success.clone());
        self.both("prefix_cache_queries", "Tokens of prompts that were looked for in the cache", self.queried.clone());
        self.both("prefix_cache_hits", "Those of them that were there", self.hits.clone());
        self.both("num_preemptions", "Times that a sequence made room for others", self.preemptions.clone());
        self.registry.register("nemotron:plans", "Plans on the device", self.plans.clone());
    }

    fn both(&mut self, name: &str, help: &str, metric: impl Metric + Clone) {
        self.registry.register(format!("vllm:{name}"), help, metric.clone());
        self.registry.register(format!("nemotron:{name}"), help, metric);
    }

    fn of_reason(&self, reason: &str) -> u64 {
        self.success.get_or_create(&vec![("finished_reason".to_owned(), reason.to_owned())]).get()
    }

    /// A token that came `now`, behind one that came at `last`.
    pub fn token(&self, arrived: Instant, last: Option<Instant>, now: Instant) {
        self.generation_tokens.inc();
        match last {
            None => self.first_token.observe((now - arrived).as_secs_f64()),
            Some(last) => self.between_tokens.observe((now - last).as_secs_f64()),
        }
    }

    /// An answer's end.
    pub fn ended(&self, reason: &str, arrived: Instant) {
        self.success.get_or_create(&vec![("finished_reason".to_owned(), reason.to_owned())]).inc();
        self.whole.observe(arrived.elapsed().as_secs_f64());
    }

    /// The text of all, with what the engine counts; `queued` sequences wait in front of it.
    pub fn text(&self, session: Option<&Session>, queued: usize) -> String {
        if let Some(status) = session.map(Session::status) {
            self.running.set(status.running as i64);
            self.waiting.set((status.waiting + queued) as i64);
            let cache = status.cache;
            let used = cache.pages.saturating_sub(cache.free + cache.idle);
            self.cache_usage.set(used as f64 / cache.pages.max(1) as f64);
            self.plans.set(status.plans as i64);
            for (counter, value) in [
                (&self.queried, status.counters.queried),
                (&self.hits, status.counters.reused),
                (&self.preemptions, status.counters.preempted),
            ] {
                counter.inner().fetch_max(value, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
