//! Calls in every form, with the values of published tests of other parsers, whole and cut at every byte.
use serde_json::json;

use super::cases::CASES;
use super::*;

/// What a text brought in sum.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub text: String,
    pub calls: Vec<(String, String)>,
}

impl Sum {
    pub fn add(&mut self, deltas: Vec<ToolDelta>) {
        for delta in deltas {
            match delta {
                ToolDelta::Text(text) => self.text += &text,
                ToolDelta::Call(name) => self.calls.push((name, String::new())),
                ToolDelta::Arguments(text) => self.calls.last_mut().expect("a call began").1 += &text,
            }
        }
    }
}

/// Functions of the published tests, and some with every type.
pub fn tools() -> Arc<ToolSchemas> {
    let of = |properties: Value| json!({ "type": "object", "properties": properties });
    let town = json!({ "city": { "type": "string" }, "state": { "type": "string" }, "unit": { "type": "string" } });
    let area = json!({ "shape": { "type": "string" }, "dimensions": { "type": "object" }, "precision": { "type": "integer" } });
    let write = json!({ "path": { "type": "string" }, "text": { "type": "string" } });
    let functions =
        [("get_current_weather", of(town)), ("calculate_area", of(area)), ("write", of(write)), ("now", Value::Null)];
    Arc::new(ToolSchemas::new(functions.map(|(name, schema)| (name.to_owned(), schema)).to_vec()))
}

/// What comes of pieces, and what each part of the whole text was.
pub fn parsed<'a>(form: ToolForm, pieces: impl IntoIterator<Item = &'a str>) -> (Sum, Vec<(output::Part, String)>) {
    let (mut parser, mut sum) = (ToolParser::new(form, tools()), Sum::default());
    pieces.into_iter().for_each(|piece| sum.add(parser.push(piece)));
    sum.add(parser.finish());
    assert_eq!(parser.output.held(), "", "all is decided on");
    (sum, parser.output.parts)
}

#[test]
fn every_form_gives_the_values_of_published_tests() {
    for (form, text, beside, calls) in CASES {
        let (sum, parts) = parsed(*form, [*text]);
        assert_eq!(sum.text, *beside, "{text}");
        assert_eq!(sum.calls.len(), calls.len(), "{text}: {sum:?}");
        for ((name, arguments), (expected, value)) in sum.calls.iter().zip(*calls) {
            let json =
                |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|error| panic!("{error}: {text}"));
            assert_eq!((name.as_str(), json(arguments)), (*expected, json(value)), "{text}");
        }
        assert_eq!(parts.into_iter().map(|(_, part)| part).collect::<String>(), *text);
    }
}

#[test]
fn a_text_is_the_same_wherever_it_is_cut() {
    for (form, text, ..) in CASES {
        let (whole, _) = parsed(*form, [*text]);
        for (at, _) in text.char_indices() {
            assert_eq!(parsed(*form, [&text[..at], &text[at..]]).0, whole, "{text} at {at}");
        }
        let letters = text.char_indices().map(|(at, letter)| &text[at..at + letter.len_utf8()]);
        assert_eq!(parsed(*form, letters).0, whole, "{text} by letters");
    }
}

#[test]
fn what_is_decided_is_not_held_back() {
    let mut parser = ToolParser::new(ToolForm::Xml, tools());
    let mut pushed = |piece: &str| parser.push(piece);
    let text = |text: &str| vec![ToolDelta::Text(text.to_owned())];
    let arguments = |text: &str| vec![ToolDelta::Arguments(text.to_owned())];
    assert_eq!(pushed("I ask"), text("I ask"));
    assert_eq!(pushed(" now <"), text(" now"));
    assert_eq!(pushed("3 \n"), text(" <3"));
    assert_eq!(pushed("<tool_call>\n<function=write>\n"), [ToolDelta::Call("write".into())]);
    assert_eq!(pushed("<parameter=path>\na.txt\n</parameter>\n"), []);
    assert_eq!(pushed("<parameter=text>"), arguments(r#"{"path": "a.txt""#));
    assert_eq!(
        pushed("\nx\n</parameter>\n</function>"),
        arguments(r#", "text": "x""#).into_iter().chain(arguments("}")).collect::<Vec<_>>()
    );
    assert_eq!(parser.finish(), []);
    // A JSON answer that is no call.
    let mut parser = ToolParser::new(ToolForm::Llama, tools());
    assert_eq!(parser.push("{\"n"), []);
    assert_eq!(parser.push("umber\": "), text("{\"number\":"));
}

#[test]
fn a_form_is_known_by_the_template() {
    let find = |template: &str| ToolForm::find(|word| template.contains(word));
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/text/templates/");
    for (name, form) in [
        ("nemotron_3_nano", Some(ToolForm::Xml)),
        ("nemotron_3_5_lightning", Some(ToolForm::Xml)),
        ("nemotron_nano_v2", Some(ToolForm::NemotronList)),
        ("llama_nemotron_super", Some(ToolForm::NemotronList)),
        ("nemotron_mini", Some(ToolForm::NemotronMini)),
        ("features", None),
    ] {
        assert_eq!(find(&std::fs::read_to_string(format!("{folder}{name}.jinja")).unwrap()), form, "{name}");
    }
    assert_eq!(find("{{- \"<|python_tag|>\" + tool_call.name }}"), Some(ToolForm::Llama));
    assert_eq!(find("{{ '[TOOL_CALLS] [' }}"), Some(ToolForm::Mistral));
}

/// Prose about calls is none, and what a looping model writes takes no longer than its length.
#[test]
fn prose_and_loops_are_text() {
    let tools = || Arc::new(ToolSchemas::new(vec![("weather".to_owned(), Value::Null)]));
    let read = |form, text: &str| {
        let mut parser = ToolParser::new(form, tools());
        let mut deltas = parser.push(text);
        deltas.extend(parser.finish());
        deltas
    };
    let prose = "In my form a call is written <function=weather> and then its arguments.";
    assert_eq!(read(ToolForm::Xml, prose), [ToolDelta::Text(prose.to_owned())]);
    let start = std::time::Instant::now();
    for (form, begin, again) in [
        (ToolForm::Hermes, "", "<tool_call>{"),
        (ToolForm::NemotronList, "", "<TOOLCALL>[{"),
        (ToolForm::Hermes, "<tool_call>{", "<tool_call>x"),
        (ToolForm::Xml, "<tool_call><function=weather><parameter=a></parameter>b", "<tool_call>"),
        (ToolForm::Xml, "<tool_call><function=weather><parameter=a>", "<<‹"),
    ] {
        let text = begin.to_owned() + &again.repeat(200_000 / again.len());
        assert!(!read(form, &text).is_empty());
    }
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}
