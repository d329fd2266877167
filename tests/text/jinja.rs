//! Jinja is Python's: what transformers' environment makes of thousands of templates, and how hostile ones end.
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::root;
use crate::templates::{context, opened};

#[derive(Deserialize)]
struct Table {
    context: Map<String, Value>,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    template: String,
    /// What transformers printed; none where it raised.
    text: Option<String>,
}

fn rendered(source: &str, context: &Map<String, Value>) -> Result<String, String> {
    let template = opened(source).map_err(|error| error.to_string())?;
    template.render(context).map_err(|error| error.to_string())
}

/// Templates that Python renders and this program refuses; it prints nothing else for any.
const REFUSED: usize = 14;

#[test]
fn every_template_renders_as_in_python() {
    let table = std::fs::read(root().join("tests/text/jinja.json")).unwrap();
    let Table { context, rows } = serde_json::from_slice(&table).unwrap();
    assert!(rows.len() > 6_000);
    let mut refused = Vec::new();
    let mut wrong = Vec::new();
    for Row { template, text } in rows {
        match (rendered(&template, &context), text) {
            (Ok(got), Some(want)) if got == want => (),
            (Err(error), None) => assert_eq!(error.lines().count(), 3, "{template}: {error}"),
            (Err(error), Some(_)) => refused.push(format!("{template}: {error}")),
            (got, want) => wrong.push(format!("{template}: {got:?}, in Python {want:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(refused.len(), REFUSED, "{}", refused.join("\n"));
}

#[derive(Deserialize)]
struct Values {
    expressions: Vec<String>,
    rows: Vec<(Value, usize, u32)>,
}

#[test]
fn ten_thousand_values_are_written_as_python_writes_them() {
    let rows = std::fs::read(root().join("tests/text/json_rows.json")).unwrap();
    let Values { expressions, rows } = serde_json::from_slice(&rows).unwrap();
    let templates: Vec<_> = expressions.iter().map(|one| opened(&format!("{{{{ {one} }}}}")).unwrap()).collect();
    assert_eq!(rows.len(), 10_000);
    for (value, expression, digest) in rows {
        let text = templates[expression].render(&context(json!({"v": value}))).unwrap();
        assert_eq!(crate::digest(&[], &text), digest, "{}: {text}", expressions[expression]);
    }
}

/// Whatever a template does, it ends, in three lines that begin with `expected`. It takes a second of one core; a busy
/// machine has other things to do too.
fn ends(source: &str, expected: &str) {
    let start = Instant::now();
    let error = rendered(source, &context(json!({"s": "x".repeat(1_000), "l": vec![1; 1_000]}))).unwrap_err();
    let took = start.elapsed();
    let shown: String = source.chars().take(100).collect();
    assert!(error.starts_with(expected) && error.lines().count() == 3, "{shown}: {error}");
    assert!(took < Duration::from_secs(300), "{shown}: {took:?}");
}

const FAILED: &str = "[ERROR] Model: The chat template failed\n";
const LIMIT: &str = "[ERROR] Model: The chat template does more than a conversation needs\n";
const UNUSABLE: &str = "[ERROR] Model: The chat template cannot be used\n";

#[test]
fn sources_that_nest_too_deep_are_refused() {
    let deep = |open: &str, close: &str| format!("{{{{ {}1{} }}}}", open.repeat(100_000), close.repeat(100_000));
    for (open, close) in
        [("(", ")"), ("[", "]"), ("{1:", "}"), ("-", ""), ("not ", ""), ("f(", ")"), ("1 if 1 else ", "")]
    {
        ends(&deep(open, close), UNUSABLE);
    }
    for link in [" + 1", " * 1", " ** 1", "|string", ".a", "[0]", "()", " and 1", " or 1", " is defined", " if 1"] {
        ends(&format!("{{{{ 1{} }}}}", link.repeat(100_000)), UNUSABLE);
    }
    for (open, close) in
        [("{% if 1 %}", "{% endif %}"), ("{% for x in l %}", "{% endfor %}"), ("{% set x %}", "{% endset %}")]
    {
        ends(&(open.repeat(10_000) + &close.repeat(10_000)), UNUSABLE);
    }
    // Long without being deep.
    let flat = format!("{{{{ 1{} }}}}{{{{ [{}]|length }}}}", " ~ 1".repeat(100_000), "1, ".repeat(100_000));
    assert_eq!(rendered(&flat, &Map::new()).unwrap().len(), 100_001 + 6);
    let branches = format!("{{% if 0 %}}{}{{% endif %}}x", "{% elif 0 %}".repeat(50_000));
    assert_eq!(rendered(&branches, &Map::new()).unwrap(), "x");
}

#[test]
fn hostile_templates_end_soon() {
    let repeat = |body: &str| {
        format!("{{% set ns = namespace(x='x', l=[1], d={{}}) %}}{{% for i in range(100000) %}}{body}{{% endfor %}}")
    };
    for body in [
        "{% set ns.x = ns.x ~ ns.x %}",
        "{% set ns.x = ns.x * 2 %}",
        "{% set ns.x = ns.x + ns.x %}",
        "{% set ns.x = '%s%s' % (ns.x, ns.x) %}",
        "{% set ns.x = ns.x.replace('x', 'xx') %}",
        "{% set ns.x = [ns.x, ns.x]|join %}",
        "{% set ns.l = ns.l + ns.l %}",
        "{% set ns.l = [ns.l, ns.l] %}",
        "{% set ns.l = [ns.l] %}",
        "{% set ns.l = (ns.l,) %}",
        "{% set ns.d = {'a': ns.d} %}",
        "{% set ns.l = [ns.l]|map('list') %}",
        "{% set ns.x = ns.x ~ s %}{{ ns.x }}",
        "{% for j in range(100000) %}{{ j }}{% endfor %}",
        "{% for j in range(100000) %}{% endfor %}",
        "{% set t = l|sort|unique|map('string')|join %}",
        "{% set t = l|tojson(indent=2) %}",
        "{% set t = range(100000)|list %}",
        "{% if s * 1000 in s * 10000 %}{% endif %}",
    ] {
        ends(&repeat(body), LIMIT);
    }
}

#[test]
fn huge_values_are_refused_before_they_are_made() {
    for expression in [
        "'x' * 10**9 * 10**9",
        "10**12 * 'x'",
        "l * 10**12",
        "'%1000000000000d' % 1",
        "'%*d' % (10**12, 1)",
        "'%.1000000000f' % 1.5",
        "'%.1000000000000d' % 1",
        "'x'.center(10**12)",
        "'x'.ljust(10**12)",
        "'x'.zfill(10**12)",
        "'\\t'.expandtabs(10**12)",
        "'x'|center(10**12)",
        "'{:1000000000000}'.format(1)",
        "'{:.1000000000f}'.format(1.0)",
        "'{:>{}}'.format('x', 10**12)",
        "s|indent(10**12, true)",
        "l|batch(10**12, 'x')|list",
        "l|slice(10**12)|list",
        "l|tojson(indent=10**12)",
        "range(10**9)",
        "range(10**9)|list",
        "(s * 100000).replace('', s)",
        "(s * 100000)|replace('x', s)",
        "(s * 10000).join(l|map('string'))",
        "(s * 1000).split('')|list * 10**9",
    ] {
        let error = rendered(
            &format!("{{{{ {expression} }}}}"),
            &context(json!({"s": "x".repeat(1_000), "l": vec![1; 1_000]})),
        );
        let error = error.expect_err(expression);
        assert!(error.starts_with(LIMIT) || error.starts_with(FAILED), "{expression}: {error}");
        assert_eq!(error.lines().count(), 3);
    }
}

#[test]
fn endless_recursion_and_doubled_values_end() {
    ends("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", LIMIT);
    ends("{% macro m(x) %}{{ m([x, x]) }}{{ m(x) }}{% endmacro %}{{ m(1) }}", LIMIT);
    ends("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", LIMIT);
    let doubled = "{% set ns = namespace(l=[1], m=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% set ns.m = [ns.m, ns.m] %}{% endfor %}";
    for printed in ["{{ ns.l }}", "{{ ns.l|tojson }}", "{{ ns.l|string|length }}", "{{ ns.l == ns.m }}"] {
        ends(&format!("{doubled}{printed}"), LIMIT);
    }
}

#[test]
fn a_rendering_leaves_nothing_behind() {
    // A macro and a namespace that hold what holds them would keep the conversation of every rendering.
    let template = opened(
        "{% set ns = namespace(x=s * 1000000) %}{% set ns.me = ns %}{% macro m() %}{{ ns.x[0] }}{% endmacro %}{{ m() }}",
    )
    .unwrap();
    for _ in 0..3_000 {
        assert_eq!(template.render(&context(json!({"s": "x"}))).unwrap(), "x");
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 1_500_000, "{kilobytes} kB");
}
