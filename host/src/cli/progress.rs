//! Progress on stderr, where it is a terminal: the copy of the weights, and the prompts of a batch, and the requests to a server.
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use super::console::Verbosity;
use crate::error::size;
use crate::session::{Note, Progress};

/// How often a bar shows that something moves.
const TICK: Duration = Duration::from_millis(100);

/// Tokens of a prompt that is worth a bar.
const LONG_PROMPT: u64 = 512;

/// A bar for the copy of the weights; indicatif draws it on a terminal alone.
pub fn copying(verbosity: Verbosity) -> Option<Progress> {
    static BAR: LazyLock<ProgressBar> = LazyLock::new(|| bytes_bar(ProgressDrawTarget::stderr()));
    let show: Progress = |done, total| show_bytes(&BAR, done, total);
    (verbosity >= Verbosity::Normal).then_some(show)
}

/// A bar for the tokens of a long prompt.
pub fn prompt(verbosity: Verbosity) -> Option<Progress> {
    static BAR: LazyLock<ProgressBar> = LazyLock::new(|| tokens_bar(ProgressDrawTarget::stderr()));
    let show: Progress = |done, total| show_tokens(&BAR, done, total);
    (verbosity >= Verbosity::Normal).then_some(show)
}

fn tokens_bar(target: ProgressDrawTarget) -> ProgressBar {
    let template = "[INFO] Reading the prompt: {wide_bar} {pos} of {len} tokens";
    ProgressBar::with_draw_target(Some(0), target).with_style(style(template))
}

/// Shows a prompt that takes long; the bar begins anew with the next.
fn show_tokens(bar: &ProgressBar, done: u64, total: u64) {
    if total < LONG_PROMPT {
        return;
    }
    if done == 0 {
        bar.reset();
    }
    if done >= total {
        return bar.finish_and_clear();
    }
    bar.set_length(total);
    bar.set_position(done);
}

fn bytes_bar(target: ProgressDrawTarget) -> ProgressBar {
    let template =
        "[INFO] Copying weights: {wide_bar} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}";
    ProgressBar::with_draw_target(Some(0), target).with_style(style(template))
}

fn show_bytes(bar: &ProgressBar, done: u64, total: u64) {
    bar.set_length(total);
    bar.set_position(done);
    if done >= total {
        bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates here are well-formed")
}

/// A line that counts the prompts that are done, and goes when it is dropped.
pub struct Prompts {
    bar: ProgressBar,
    tokens: usize,
    started: Instant,
}

impl Prompts {
    /// A count up to `total`, where that is known.
    pub fn new(total: Option<usize>, verbosity: Verbosity) -> Prompts {
        let loud = verbosity >= Verbosity::Normal;
        let target = if loud { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let prompts = Prompts::on(target, total);
        if !prompts.bar.is_hidden() {
            prompts.bar.enable_steady_tick(TICK);
        }
        prompts
    }

    fn on(target: ProgressDrawTarget, total: Option<usize>) -> Prompts {
        let of = if total.is_some() { " of {len}" } else { "" };
        let bar = ProgressBar::with_draw_target(total.map(|total| total as u64), target)
            .with_style(style(&format!("{{spinner}} {{pos}}{of} prompts done{{msg}}")))
            .with_finish(ProgressFinish::AndClear);
        Prompts { bar, tokens: 0, started: Instant::now() }
    }

    /// Counts one more, with what was generated for it, and lets `write` write its result while no line is in the way.
    pub fn done<T>(&mut self, tokens: usize, write: impl FnOnce() -> T) -> T {
        self.tokens += tokens;
        let speed = self.tokens as f64 / self.started.elapsed().as_secs_f64().max(1e-9);
        self.bar.set_message(format!(", {} tokens, {speed:.1} tokens/sec", self.tokens));
        let written = self.bar.suspend(write);
        self.bar.inc(1);
        written
    }
}

/// A line that counts the requests that are done, and goes when it is dropped.
pub struct Requests {
    bar: ProgressBar,
    started: Instant,
}

impl Requests {
    /// A count up to `total`, where that is known.
    pub fn new(total: Option<usize>, verbosity: Verbosity) -> Requests {
        let loud = verbosity >= Verbosity::Normal;
        let target = if loud { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let requests = Requests::on(target, total);
        if !requests.bar.is_hidden() {
            requests.bar.enable_steady_tick(TICK);
        }
        requests
    }

    fn on(target: ProgressDrawTarget, total: Option<usize>) -> Requests {
        let of = if total.is_some() { " of {len}" } else { "" };
        let bar = ProgressBar::with_draw_target(total.map(|total| total as u64), target)
            .with_style(style(&format!("{{spinner}} {{pos}}{of} requests done{{msg}}")))
            .with_finish(ProgressFinish::AndClear);
        Requests { bar, started: Instant::now() }
    }

    /// Shows how many are done, how many of these failed, and how many tokens the others brought.
    pub fn show(&self, done: usize, failed: usize, tokens: u64) {
        let speed = tokens as f64 / self.started.elapsed().as_secs_f64().max(1e-9);
        let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
        self.bar.set_message(format!("{failed}, {tokens} tokens, {speed:.1} tokens/sec"));
        self.bar.set_position(done as u64);
    }
}

/// A line for each tenth of a file that is written.
pub struct Tenths {
    verbosity: Verbosity,
    shown: u64,
}

impl Tenths {
    /// None is written.
    pub fn new(verbosity: Verbosity) -> Tenths {
        Tenths { verbosity, shown: 0 }
    }

    /// Says it where another tenth is.
    pub fn written(&mut self, done: u64, all: u64) {
        let tenth = done * 10 / all.max(1);
        if tenth > self.shown {
            self.shown = tenth;
            self.verbosity.note(&Note::Info(format!("{} of {} written", size(done), size(all))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::InMemoryTerm;

    fn terminal() -> (InMemoryTerm, ProgressDrawTarget) {
        let terminal = InMemoryTerm::new(10, 100);
        (terminal.clone(), ProgressDrawTarget::term_like(Box::new(terminal)))
    }

    #[test]
    fn a_bar_shows_how_far_the_copy_is_and_goes_at_the_end() {
        let (terminal, target) = terminal();
        let bar = bytes_bar(target);
        show_bytes(&bar, 1_000_000_000, 4_000_000_000);
        let shown = terminal.contents();
        assert!(shown.starts_with("[INFO] Copying weights: ") && shown.contains("1.00 GB of 4.00 GB, "), "{shown}");
        show_bytes(&bar, 4_000_000_000, 4_000_000_000);
        assert_eq!(terminal.contents(), "");
    }

    #[test]
    fn a_long_prompt_has_a_bar_each_time_and_a_short_one_has_none() {
        let (terminal, target) = terminal();
        let bar = tokens_bar(target);
        for _ in 0..2 {
            show_tokens(&bar, 0, 5000);
            show_tokens(&bar, 2048, 5000);
            bar.tick();
            let shown = terminal.contents();
            assert!(
                shown.starts_with("[INFO] Reading the prompt: ") && shown.ends_with("2048 of 5000 tokens"),
                "{shown}"
            );
            show_tokens(&bar, 5000, 5000);
            assert_eq!(terminal.contents(), "");
        }
        show_tokens(&bar, 0, LONG_PROMPT - 1);
        bar.tick();
        assert_eq!(terminal.contents(), "");
    }

    #[test]
    fn requests_are_counted_with_those_that_failed() {
        for (total, counts) in [(Some(9), "4 of 9 requests done, 1 failed, 70 tokens, "), (None, "4 requests done, 1 ")]
        {
            let (terminal, target) = terminal();
            let requests = Requests::on(target, total);
            requests.show(4, 1, 70);
            requests.bar.tick();
            assert!(terminal.contents().contains(counts), "{}", terminal.contents());
            drop(requests);
            assert_eq!(terminal.contents(), "");
        }
    }

    #[test]
    fn prompts_are_counted_and_their_results_stand_alone() {
        for (total, count) in [(Some(2), "1 of 2 prompts done, 7 tokens, "), (None, "1 prompts done, 7 tokens, ")] {
            let (terminal, target) = terminal();
            let mut prompts = Prompts::on(target, total);
            let while_written = prompts.done(7, || terminal.contents());
            assert_eq!(while_written, "");
            prompts.bar.tick();
            assert!(terminal.contents().contains(count), "{}", terminal.contents());
            drop(prompts);
            assert_eq!(terminal.contents(), "");
        }
    }
}
