//! Settings take what the command line takes.
use super::*;

#[test]
fn values_are_those_of_the_command_line() {
    let mut options = GenerateOptions::default();
    let mut say = |line: &str| set(&mut options, line, 100);
    assert_eq!(say("temperature 0.7").unwrap(), "temperature = 0.7");
    assert_eq!(say("top-k = 40").unwrap_err().message(), "The value cannot be taken");
    assert_eq!(say("top-k=40").unwrap(), "top_k = 40");
    assert_eq!(say("Top-P").unwrap(), "top_p = 1");
    assert_eq!(say("max_tokens -1").unwrap(), "max_tokens = -1");
    assert_eq!(say("logit_bias 42=-1.5").unwrap(), "logit_bias = 42=-1.5");
    assert_eq!(say("stop The end").unwrap(), "stop = \"The end\"");
    assert_eq!(say(r#"stop ["a", "\n\n"]"#).unwrap(), r#"stop = "a" "\n\n""#);
    assert_eq!(say("stop").unwrap(), r#"stop = "a" "\n\n""#);
    assert_eq!(say("stop []").unwrap(), "stop = none");
    assert_eq!(say("thinking_budget").unwrap(), "thinking_budget = -1");
    assert_eq!(say("thinking-budget=200").unwrap(), "thinking_budget = 200");
    assert_eq!(say("thinking_budget -1").unwrap(), "thinking_budget = -1");
    assert_eq!(say("thinking_budget 0").unwrap(), "thinking_budget = 0");
    for (line, words) in [
        ("temperature hot", "/set temperature hot: expected 0, or 0.0001 to 100"),
        ("top_p 3", "/set top_p 3: expected a number above 0, up to 1"),
        ("max_tokens 0", "until the context is full"),
        ("thinking_budget -2", "/set thinking_budget -2: expected"),
        ("logit_bias 100=1", "logit-bias: expected an id from 0 to 99"),
    ] {
        let error = say(line).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert!(say("temprature 1").unwrap_err().hint_text().ends_with("temperature"));
    assert_eq!((options.sampling.temperature, options.max_tokens, options.stop.len()), (0.7, usize::MAX, 0));
    assert_eq!(options.thinking_budget, Some(0));
}

#[test]
fn every_name_has_a_row() {
    let mut labels: Vec<_> = rows(&GenerateOptions::default()).into_iter().map(|(label, _)| label).collect();
    labels.sort_unstable();
    assert_eq!(labels, NAMES);
}
