//! `/set`: parameters of the next turns, by the names, ranges and words of the command line.
use std::error::Error as _;
use std::num::NonZeroUsize;

use clap::Parser;
use clap::error::ErrorKind;

use crate::cli::line::nearest;
use crate::cli::numbers::{self, THOUGHTS};
use crate::cli::report::table;
use crate::cli::sampling::SamplingArguments;
use crate::error::{Category, Error, Result};
use crate::session::GenerateOptions;

/// What can be set.
pub const NAMES: [&str; 12] = [
    "frequency_penalty",
    "logit_bias",
    "max_tokens",
    "min_p",
    "presence_penalty",
    "repeat_penalty",
    "seed",
    "stop",
    "temperature",
    "thinking_budget",
    "top_k",
    "top_p",
];

/// The value of what has no bound.
const NO_BOUND: &str = "-1";

/// A setting as an option of the command line.
#[derive(Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Setting {
    #[command(flatten)]
    sampling: SamplingArguments,

    #[arg(long, allow_negative_numbers = true, value_parser = numbers::max_tokens)]
    max_tokens: Option<NonZeroUsize>,

    #[arg(long, value_parser = numbers::whole(THOUGHTS))]
    thinking_budget: Option<usize>,
}

/// Sets what `line` names; returns what is to be said.
///
/// # Errors
/// There is no such parameter, or the value is out of its range.
pub fn set(options: &mut GenerateOptions, line: &str, vocabulary: usize) -> Result<String> {
    let (name, value) = line.split_once([' ', '=']).unwrap_or((line, ""));
    let (name, value) = (name.to_lowercase().replace('-', "_"), value.trim());
    if !NAMES.contains(&name.as_str()) {
        let near = nearest(&name, &NAMES).map_or_else(|| NAMES.join(", "), str::to_owned);
        return Err(Error::new(Category::Input, "No such parameter")
            .details(format_args!("/set {name}"))
            .hint(format_args!("known is: {near}")));
    }
    if value.is_empty() {
        // What it is shall be said, no more.
    } else if name == "stop" {
        options.stop = stops(value);
    } else if (name.as_str(), value) == ("thinking_budget", NO_BOUND) {
        options.thinking_budget = None;
    } else {
        let setting = parse(&name, value)?;
        let sampling = setting.sampling.over(&options.sampling);
        sampling.check(vocabulary)?;
        options.sampling = sampling;
        options.thinking_budget = setting.thinking_budget.or(options.thinking_budget);
        if let Some(most) = setting.max_tokens {
            options.max_tokens = most.get();
            options.sampling.constraints.max_length = 0;
        }
    }
    let rows = rows(options);
    let (name, value) = rows.iter().find(|(label, _)| *label == name).expect("each name has a row");
    Ok(format!("{name} = {value}"))
}

fn parse(name: &str, value: &str) -> Result<Setting> {
    Setting::try_parse_from([format!("--{}={value}", name.replace('_', "-"))]).map_err(|error| {
        let first = error.to_string().lines().next().unwrap_or_default().to_owned();
        let words = match error.kind() {
            ErrorKind::ValueValidation => error.source().map_or(first, ToString::to_string),
            _ => first,
        };
        Error::new(Category::Input, "The value cannot be taken")
            .details(format_args!("/set {name} {value}: {words}"))
            .hint("/set shows the values as they are")
    })
}

/// Stop texts: one as it stands there, or JSON for several and for line ends. None for `""` or `[]`.
fn stops(value: &str) -> Vec<String> {
    let several = || serde_json::from_str::<Vec<String>>(value).ok();
    let one = || serde_json::from_str::<String>(value).ok().map(|stop| vec![stop]);
    let stops = several().or_else(one).unwrap_or_else(|| vec![value.to_owned()]);
    stops.into_iter().filter(|stop| !stop.is_empty()).collect()
}

/// All parameters as they are.
pub fn table_of(options: &GenerateOptions) -> String {
    table(&rows(options))
}

fn rows(options: &GenerateOptions) -> Vec<(&'static str, String)> {
    let sampling = &options.sampling;
    let biases: Vec<String> = sampling.logit_bias.iter().map(|(id, value)| format!("{id}={value}")).collect();
    let or = |text: String, empty: &str| if text.is_empty() { empty.to_owned() } else { text };
    let bounded = |most: usize| if most == usize::MAX { NO_BOUND.to_owned() } else { most.to_string() };
    let stops: Vec<String> = options.stop.iter().map(|stop| format!("{stop:?}")).collect();
    vec![
        ("temperature", sampling.temperature.to_string()),
        ("top_k", sampling.top_k.to_string()),
        ("top_p", sampling.top_p.to_string()),
        ("min_p", sampling.min_p.to_string()),
        ("repeat_penalty", sampling.repeat_penalty.to_string()),
        ("presence_penalty", sampling.presence_penalty.to_string()),
        ("frequency_penalty", sampling.frequency_penalty.to_string()),
        ("seed", sampling.seed.to_string()),
        ("logit_bias", or(biases.join(" "), "none")),
        ("max_tokens", bounded(options.max_tokens)),
        ("thinking_budget", bounded(options.thinking_budget.unwrap_or(usize::MAX))),
        ("stop", or(stops.join(" "), "none")),
    ]
}

#[cfg(test)]
mod tests;
