//! Calls in every form, with the values of published tests of other parsers, whole and cut at every byte.
use serde_json::json;

use super::cases::CASES;
use super::*;

/// What a text brought in sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
                ToolDelta::Arguments(text) | ToolDelta::Half(text) => {
                    self.calls.last_mut().expect("a call began").1 += &text;
                }
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
    let (sum, parser) = ended(ToolParser::new(form, tools()), pieces, false);
    (sum, parser.output.parts)
}

/// What comes of pieces behind which the model has ended the text, or something else has cut it off.
pub fn ended<'a>(mut parser: ToolParser, pieces: impl IntoIterator<Item = &'a str>, is_cut: bool) -> (Sum, ToolParser) {
    let mut sum = Sum::default();
    pieces.into_iter().for_each(|piece| sum.add(parser.push(piece)));
    sum.add(parser.finish(is_cut));
    assert_eq!(parser.output.held(), "", "all is decided on");
    (sum, parser)
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
    assert_eq!(parser.finish(false), []);
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
        deltas.extend(parser.finish(false));
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

/// A text in pieces of so many characters.
fn pieces(text: &str, characters: usize) -> Vec<String> {
    text.chars().collect::<Vec<_>>().chunks(characters).map(String::from_iter).collect()
}

/// Right values: what OpenAI's API gives of a call at max_tokens, arguments that are no JSON; never a shorter value.
#[test]
fn a_call_that_is_cut_off_is_not_whole() {
    const HEAD: &str = "A moment.\n<tool_call>\n<function=write>\n<parameter=path>\n/tmp/a\n</parameter>\n";
    for (rest, arguments, is_cut) in [
        ("", r#"{"path": "/tmp/a""#, true),
        ("<parameter=te", r#"{"path": "/tmp/a""#, true),
        ("<parameter=text>\n", r#"{"path": "/tmp/a", "text": ""#, true),
        ("<parameter=text>\na\n\"b", r#"{"path": "/tmp/a", "text": "a\n\"b"#, true),
        ("<parameter=text>\nab\n</param", r#"{"path": "/tmp/a", "text": "ab"#, true),
        ("<parameter=text>\nab\n</parameter>", r#"{"path": "/tmp/a", "text": "ab""#, true),
        ("<parameter=text>\nab</parameter> or so", r#"{"path": "/tmp/a", "text": "ab</parameter> or so"#, true),
        ("</funct", r#"{"path": "/tmp/a""#, true),
        ("</function>", r#"{"path": "/tmp/a"}"#, false),
        ("</function>\n</tool_c", r#"{"path": "/tmp/a"}"#, false),
        ("</function>\n</tool_call>", r#"{"path": "/tmp/a"}"#, false),
        ("</function>\n</tool_call>\n<tool_call>\n<function=wri", r#"{"path": "/tmp/a"}"#, false),
    ] {
        let text = HEAD.to_owned() + rest;
        for characters in [1, 3, 7, 1000] {
            let pieces = pieces(&text, characters);
            let parser = ToolParser::new(ToolForm::Xml, tools());
            let (sum, parser) = ended(parser, pieces.iter().map(String::as_str), true);
            assert_eq!(sum.calls, [("write".to_owned(), arguments.to_owned())], "{rest:?} by {characters}");
            assert_eq!(parser.is_cut(), is_cut, "{rest:?}");
        }
        // What the model itself ends is whole.
        let (sum, parser) = ended(ToolParser::new(ToolForm::Xml, tools()), [text.as_str()], false);
        assert!(!parser.is_cut() && serde_json::from_str::<Value>(&sum.calls[0].1).is_ok(), "{sum:?}");
    }
    // JSON that is not whole is text.
    let whole = "<TOOLCALL>[{\"name\": \"now\", \"arguments\": {}}";
    for (rest, is_cut) in [(", {\"name\": \"now\", \"argu", true), ("", false), ("]</TOOLC", false)] {
        let text = format!("{whole}{rest}");
        let (sum, parser) = ended(ToolParser::new(ToolForm::NemotronList, tools()), [text.as_str()], true);
        assert_eq!(sum.calls, [("now".to_owned(), "{}".to_owned())]);
        assert_eq!((parser.is_cut(), sum.text.contains("\"argu")), (is_cut, is_cut), "{text}");
    }
}

#[test]
fn the_end_of_reasoning_comes_late_beside_a_call_and_never_in_one() {
    const VALUE: &str = "<parameter=text>\nWrite </think>\n</think>\nthen.\n</parameter>\n";
    for (form, text, beside, arguments) in [
        (ToolForm::Xml, format!("<tool_call>\n<function=write>\n{VALUE}</function>\n</tool_call>\n</think>\n\nDone."), "Done.", true),
        (ToolForm::Xml, format!("<tool_call>\n<function=write>\n{VALUE}</function>\n</think>\n\nDone."), "Done.", true),
        (ToolForm::Xml, format!("<tool_call>\n<function=write>\n{VALUE}</think>\n\nDone."), "Done.", true),
        (ToolForm::Xml, "<tool_call>\n<function=write>\n</think></think> \n</think>Done. </think>".into(), "Done. </think>", false),
        (ToolForm::Xml, "<tool_call> it is </think> a tag </think>".into(), "<tool_call> it is  a tag </think>", false),
        (
            ToolForm::Hermes,
            "<tool_call>{\"name\": \"write\", \"arguments\": {\"text\": \"Write </think>\\n</think>\\nthen.\"}}\n</think>\n\nDone.".into(),
            "Done.",
            true,
        ),
        (ToolForm::Hermes, "<tool_call>{\"name\": \"write\"}</tool_call></think></thi".into(), "</thi", false),
    ] {
        for characters in [1, 2, 3, 7, 1000] {
            let mut parser = ToolParser::new(form, tools());
            parser.await_think_end();
            let pieces = pieces(&text, characters);
            let (sum, _) = ended(parser, pieces.iter().map(String::as_str), false);
            assert_eq!(sum.text, beside, "{text:?} by {characters}");
            let texts: Vec<Value> = sum.calls.iter().map(|(_, json)| serde_json::from_str(json).unwrap()).collect();
            if arguments {
                assert_eq!(texts, [json!({ "text": "Write </think>\n</think>\nthen." })], "{text:?}");
            }
        }
        // Where reasoning had its end already, the tag is text.
        assert!(parsed(form, [text.as_str()]).0.text.contains("</thi"), "{text:?}");
    }
}

#[test]
fn an_argument_is_given_once() {
    let text = "<tool_call>\n<function=write>\n<parameter=path>\na\n</parameter>\n<parameter=path>\nb\n</parameter>\n\
        <parameter=text>\nc\n</parameter>\n</function>\n</tool_call>";
    let (sum, _) = parsed(ToolForm::Xml, [text]);
    assert_eq!(sum.calls, [("write".to_owned(), r#"{"path": "a", "text": "c"}"#.to_owned())]);
    assert_eq!(sum.text, "<parameter=path>\nb\n</parameter>");
}

#[test]
fn a_call_that_is_too_long_is_cut_off_there() {
    let long = "é".repeat(MOST_CALL / 2 + 10);
    let head = "<tool_call>\n<function=write>\n<parameter=path>\na\n</parameter>\n<parameter=text>\n";
    let text = format!("{head}{long}\n</parameter>\n</function>\n</tool_call>\nDone.");
    let whole = ended(ToolParser::new(ToolForm::Xml, tools()), [text.as_str()], false);
    let (sum, parser) = &whole;
    let arguments = sum.calls[0].1.strip_prefix(r#"{"path": "a", "text": ""#).expect("an open text");
    assert!(parser.is_cut() && long.starts_with(arguments) && arguments.len() > MOST_CALL - 100, "{}", arguments.len());
    assert_eq!(format!("{arguments}{}", sum.text), text[head.len()..], "nothing is lost");
    let pieces = pieces(&text, 1000);
    let parser = ToolParser::new(ToolForm::Xml, tools());
    assert_eq!(ended(parser, pieces.iter().map(String::as_str), false).0, *sum);

    let text = format!("<TOOLCALL>[{{\"name\": \"write\", \"arguments\": {{\"text\": \"{long}\"}}}}]</TOOLCALL> Done.");
    for pieces in [vec![text.clone()], self::pieces(&text, 1000)] {
        let parser = ToolParser::new(ToolForm::NemotronList, tools());
        let (sum, parser) = ended(parser, pieces.iter().map(String::as_str), false);
        assert!(parser.is_cut() && sum.calls.is_empty() && sum.text == text);
    }
    // A little shorter it is a call.
    let text = text.replacen(&"é".repeat(100), "", 1);
    assert_eq!(parsed(ToolForm::NemotronList, [text.as_str()]).0.calls.len(), 1);
}
