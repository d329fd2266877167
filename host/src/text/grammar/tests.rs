//! Masks against a brute force over the vocabulary, for forms of which every text is known.
use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;

use super::*;

fn tokenizer(directory: &str) -> Tokenizer {
    Tokenizer::open(&Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(directory)).unwrap()
}

/// The tokens of a mask.
fn tokens(mask: &[u32]) -> BTreeSet<u32> {
    (0..32 * mask.len() as u32).filter(|token| mask[*token as usize / 32] >> (token % 32) & 1 == 1).collect()
}

/// Texts of every form, all that there are.
fn forms() -> Vec<(GrammarSource, Vec<String>)> {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let numbers = |from: i32, to: i32| (from..=to).map(|number| number.to_string()).collect::<Vec<_>>();
    let regex = |text: &str| GrammarSource::Regex(text.to_owned());
    let codes = ["a", "b"].iter().flat_map(|a| ["1", "2", "3"].iter().map(move |b| format!("{a}-{b}{b}")));
    vec![
        (
            GrammarSource::Choice(texts(&["yes", "yesterday", "no", "日本", "été", "\"quoted\"\n"])),
            texts(&["yes", "yesterday", "no", "日本", "été", "\"quoted\"\n"]),
        ),
        (regex("(a|b)-(11|22|33)"), codes.collect()),
        (regex("^the (cat|dog)s?$"), texts(&["the cat", "the cats", "the dog", "the dogs"])),
        (regex("[é日]{1,2}"), texts(&["é", "日", "éé", "é日", "日é", "日日"])),
        (
            GrammarSource::JsonSchema(json!({ "enum": ["red", "réd", 7, null, true] })),
            texts(&["\"red\"", "\"réd\"", "7", "null", "true"]),
        ),
        (GrammarSource::JsonSchema(json!({ "type": "integer", "minimum": 7, "maximum": 123 })), numbers(7, 123)),
        (GrammarSource::Lark("start: \"<\" word \">\"\nword: \"on\" | \"off\" | \"o\" word".to_owned()), Vec::new()),
    ]
}

/// Whether a text goes on with `bytes` behind `begun`.
fn goes_on(texts: &[String], begun: &[u8], bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && texts.iter().any(|text| text.as_bytes().strip_prefix(begun).is_some_and(|rest| rest.starts_with(bytes)))
}

#[test]
fn masks_are_those_of_a_brute_force() {
    for directory in ["models/storyteller", "tests/text/tekken", "tests/text/llama3"] {
        let tokenizer = tokenizer(directory);
        let eos = [2];
        let grammars = GrammarTokens::new(&tokenizer, &eos).unwrap();
        let count = tokenizer.names().map(|(_, id)| id + 1).max().unwrap();
        let pieces: Vec<Vec<u8>> = (0..count)
            .map(|id| if tokenizer.hidden_name(id).is_some() { Vec::new() } else { tokenizer.token_bytes(id).unwrap() })
            .collect();
        for (source, texts) in forms().into_iter().filter(|(_, texts)| !texts.is_empty()) {
            let grammar = grammars.compile(&source).unwrap();
            // Every way through the grammar, each beginning once.
            let (mut ways, mut seen) = (vec![(Vec::new(), Vec::new())], BTreeSet::new());
            while let Some((begun, ids)) = ways.pop() {
                let mut matcher = grammar.start();
                ids.iter().for_each(|id| matcher.push(*id).unwrap());
                let found = tokens(&matcher.mask().unwrap());
                let ends = texts.iter().any(|text| text.as_bytes() == begun);
                assert_eq!(matcher.is_whole().unwrap(), ends);
                let mut expected: BTreeSet<u32> =
                    (0..count).filter(|id| goes_on(&texts, &begun, &pieces[*id as usize])).collect();
                expected.extend(eos.iter().filter(|_| ends));
                assert_eq!(found, expected, "{directory}: {source:?}, behind {:?}", String::from_utf8_lossy(&begun));
                for id in found.into_iter().filter(|id| !eos.contains(id)) {
                    let begun = [&begun[..], &pieces[id as usize]].concat();
                    if seen.insert(begun.clone()) {
                        ways.push((begun, [&ids[..], &[id]].concat()));
                    }
                }
            }
        }
    }
}

/// Forms that cost much: each is refused, or ends, or goes on, in a bounded time.
#[test]
fn hostile_forms_cost_a_bounded_time() {
    let grammars = GrammarTokens::new(&tokenizer("models/storyteller"), &[2]).unwrap();
    let chain: String = (0..4_000).map(|rule| format!("r{rule}: r{}\n", rule + 1)).collect();
    let link = |rule: usize| (format!("r{rule}"), json!({ "$ref": format!("#/$defs/r{}", rule + 1) }));
    let mut links: serde_json::Map<_, _> = (0..3_000).map(link).collect();
    links.insert("r3000".to_owned(), json!({ "const": 1 }));
    let lark = GrammarSource::Lark;
    let regex = |text: &str| GrammarSource::Regex(text.to_owned());
    let words: Vec<String> = (0..20_000).map(|word| format!("word{word}")).collect();
    for source in [
        lark(format!("start: r0\n{chain}r4000: \"a\"")),
        lark(format!("start: {}\"a\"{}", "(".repeat(30_000), ")".repeat(30_000))),
        lark("start: a\na: a a | \"a\" | a a a".to_owned()),
        lark("start: start".to_owned()),
        regex("((a{1,900}){1,900}){1,900}"),
        regex("(a|a|aa)*(b|a*)*c"),
        regex("(.*a){60}"),
        regex(&"(a?)".repeat(9_000)),
        GrammarSource::JsonSchema(json!({ "$defs": links, "$ref": "#/$defs/r0" })),
        GrammarSource::JsonSchema(json!({ "$ref": "#" })),
        GrammarSource::JsonSchema(json!({ "type": "string", "pattern": "(x+x+)+y", "minLength": 100_000 })),
        GrammarSource::JsonSchema(json!({ "enum": words })),
        GrammarSource::Choice(words),
    ] {
        let start = std::time::Instant::now();
        let name: String = format!("{source:?}").chars().take(80).collect();
        if let Ok(grammar) = grammars.compile(&source) {
            let mut matcher = grammar.start();
            for _ in 0..30 {
                let next =
                    matcher.mask().ok().and_then(|mask| tokens(&mask).last().copied()).filter(|token| *token > 2);
                let Some(next) = next else { break };
                if matcher.push(next).is_err() {
                    break;
                }
            }
        }
        println!("{:?} {name}", start.elapsed());
        assert!(start.elapsed().as_secs() < 20, "{name}: {:?}", start.elapsed());
    }
}

#[test]
fn a_token_that_is_forbidden_is_an_error() {
    let grammars = GrammarTokens::new(&tokenizer("models/storyteller"), &[2]).unwrap();
    let mut matcher = grammars.compile(&GrammarSource::Choice(vec!["yes".to_owned()])).unwrap().start();
    let forbidden = (3..).find(|token| !tokens(&matcher.mask().unwrap()).contains(token)).unwrap();
    assert!(matcher.push(forbidden).is_err() && matcher.mask().is_err());
}

/// What is wrong is said in a line, and what costs too much is refused soon.
#[test]
fn what_cannot_be_held_to_is_refused() {
    let grammars = GrammarTokens::new(&tokenizer("models/storyteller"), &[2]).unwrap();
    let schema = |schema| GrammarSource::JsonSchema(schema);
    let regex = |text: &str| GrammarSource::Regex(text.to_owned());
    let deep = (0..200).fold(json!({}), |inner, _| json!({ "type": "array", "items": inner }));
    for (source, word) in [
        (schema(json!({ "type": "object", "if": {} })), "if"),
        (schema(json!({ "not": {} })), "not"),
        (schema(json!({ "$ref": "#/$defs/none" })), "none"),
        (schema(json!({ "$ref": "http://127.0.0.1/x" })), "127.0.0.1"),
        (schema(json!({ "type": "nothing" })), "nothing"),
        (schema(json!({ "minProperties": 2, "patternProperties": { "a": {} } })), "minProperties: not supported"),
        (schema(json!({ "items": { "anyOf": [{}, { "not": {} }] } })), "#/items/anyOf/1: not supported: [\"not\"]"),
        (schema(json!({ "enum": [] })), "nsatisfiable"),
        (schema(json!({ "type": "integer", "minimum": 3, "maximum": 2 })), "nsatisfiable"),
        (schema(json!({ "x-guidance": { "lenient": true } })), "x-guidance"),
        (schema(json!([])), "expected an object"),
        (schema(json!("é".repeat(200_000))), "at most 262144 bytes"),
        (schema(deep), ""),
        (regex("(a"), "unclosed group"),
        (regex("a\\b"), "lookarounds"),
        (regex("(?=a)b"), "look-around"),
        (GrammarSource::Choice(Vec::new()), "none of them empty"),
        (GrammarSource::Choice(vec![String::new()]), "none of them empty"),
        (GrammarSource::Lark("root ::= \"a\"".to_owned()), ""),
        (GrammarSource::Lark("start: other".to_owned()), "other"),
        (GrammarSource::Lark(format!("start: {}", "(".repeat(60_000))), ""),
        (GrammarSource::Lark("start: \"a\"\n".repeat(9_000)), "at most 65536 bytes"),
    ] {
        let start = std::time::Instant::now();
        let Err(error) = grammars.compile(&source) else { panic!("{source:?} is taken") };
        let text = error.details_text();
        assert!(text.contains(word) && text.chars().count() <= 500 && !text.contains("backtrace"), "{word}: {text}");
        assert!(start.elapsed().as_secs() < 10, "{word}: {:?}", start.elapsed());
    }
}
