//! Damaged texts: each byte is text, part of a call, or a tag beside one, and nothing is lost or comes twice.
use rayon::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Map;
use serde_json::value::RawValue;

use super::cases::{CASES, Case};
use super::output::Part;
use super::tests::{Sum, ended, parsed, tools};
use super::*;
use crate::text::Reasoning;

/// Damaged texts of each case.
const EACH: usize = 300;

/// Pieces that damage is made of.
const PIECES: [&str; 21] = [
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<function=now>",
    "<function=",
    "</function>",
    "<parameter=city>",
    "</parameter>",
    "\n",
    "<TOOLCALL>",
    "</TOOLCALL>",
    "[",
    "]",
    "{",
    "}",
    "\"",
    ",",
    "<|python_tag|>",
    "[TOOL_CALLS]",
    "\u{1F98A}",
    "</",
];

/// Numbers by a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end.max(1)
    }

    /// A place between two characters of a text.
    fn place(&mut self, text: &str) -> usize {
        let mut at = self.below(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }

    /// A piece of a text is deleted, doubled, moved, or another one or white space comes in; the end is cut off.
    fn damage(&mut self, text: &mut String) {
        let (one, two, to) = (self.place(text), self.place(text), self.place(text));
        let (start, end) = (one.min(two), one.max(two).min(one.min(two) + 40));
        let end = (end..=text.len()).find(|end| text.is_char_boundary(*end)).unwrap_or(text.len());
        let piece = text[start..end].to_owned();
        match self.below(6) {
            0 => text.replace_range(start..end, ""),
            1 => text.insert_str(end, &piece),
            2 => {
                text.replace_range(start..end, "");
                let to = (to.min(text.len())..=text.len()).find(|to| text.is_char_boundary(*to)).unwrap_or(0);
                text.insert_str(to, &piece);
            }
            3 => text.insert_str(to, PIECES[self.below(PIECES.len())]),
            // As much as no decision waits for, or a little less.
            4 => text.insert_str(to, &["\n", " "][self.below(2)].repeat(200 + self.below(400))),
            _ => text.truncate(to),
        }
    }

    /// A text in pieces of any length.
    fn cut<'a>(&mut self, mut text: &'a str) -> Vec<&'a str> {
        let mut pieces = Vec::new();
        while !text.is_empty() {
            let most = [1, 3, 12, 80][self.below(4)];
            let end = 1 + self.below(most);
            let end = (end.min(text.len())..=text.len()).find(|end| text.is_char_boundary(*end)).unwrap_or(text.len());
            pieces.push(&text[..end]);
            text = &text[end..];
        }
        pieces
    }
}

/// Letters that are not white space.
fn letters(text: &str) -> String {
    text.split_whitespace().collect()
}

/// Whether a part that is left out is a tag of the form, or white space and separators beside one.
fn is_mark(form: ToolForm, mark: &str) -> bool {
    let mark = mark.strip_prefix("</think>").unwrap_or(mark);
    let mut rest = mark.trim();
    while !rest.is_empty() {
        let named = |tag: &str| rest.strip_prefix(tag).and_then(|name| name.find('>').map(|end| tag.len() + end + 1));
        let tags = form.marks().iter().chain(&["</function>", "</parameter>"]).copied();
        let tag = tags.clone().find(|tag| rest.starts_with(tag)).map(str::len);
        let is_xml = form == ToolForm::Xml;
        let bytes = tag.or_else(|| named("<function=").or_else(|| named("<parameter=")).filter(|_| is_xml));
        let bytes = bytes.or_else(|| (!is_xml && rest.starts_with(['[', ']', ',', ';'])).then_some(1));
        // A closing tag that the end cut off.
        let bytes =
            bytes.or_else(|| tags.clone().any(|tag| rest.len() > 1 && tag.starts_with(rest)).then_some(rest.len()));
        let Some(bytes) = bytes else { return false };
        rest = rest[bytes..].trim_start();
    }
    true
}

#[test]
fn damaged_texts_lose_nothing_and_double_nothing() {
    let damaged = |(case, (form, text, ..)): (usize, &Case)| -> usize {
        let mut random = Random(7 + case as u64);
        (0..EACH).filter(|_| damaged_has_calls(*form, text, &mut random)).count()
    };
    let with_calls: usize = CASES.par_iter().enumerate().map(damaged).sum();
    let count = CASES.len() * EACH;
    assert!(count >= 10_000 && with_calls > count / 5, "{with_calls} of {count}");
}

/// Checks a text that is damaged by chance, and says whether it has calls still.
fn damaged_has_calls(form: ToolForm, text: &str, random: &mut Random) -> bool {
    let mut text = text.to_owned();
    (0..1 + random.below(4)).for_each(|_| random.damage(&mut text));
    let (sum, parts) = parsed(form, [text.as_str()]);
    check(form, &text, &sum, &parts);
    let pieces = random.cut(&text);
    assert_eq!(parsed(form, pieces.iter().copied()).0, sum, "{text:?} as {pieces:?}");
    cut_at_every_byte(form, &text, &sum);
    cut_off(form, &text, &sum);
    !sum.calls.is_empty()
}

/// Whether nothing of a text but ends of reasoning is left out of what was `seen`, and nothing is there twice.
fn has_all(mut text: &str, mut seen: &str) -> bool {
    const END: &str = "</think>";
    while let Some(letter) = text.chars().next() {
        if text.starts_with(END) && !seen.starts_with(END) {
            text = &text[END.len()..];
            continue;
        }
        let Some(rest) = seen.strip_prefix(letter) else { return false };
        (text, seen) = (&text[letter.len_utf8()..], rest);
    }
    seen.is_empty()
}

/// A text in two pieces, wherever it is cut, is what it is as a whole. The one in front comes in letters.
fn cut_at_every_byte(form: ToolForm, text: &str, whole: &Sum) {
    let (mut parser, mut sum) = (ToolParser::new(form, tools()), Sum::default());
    for (at, letter) in text.char_indices() {
        let (mut both, mut behind) = (sum.clone(), parser.clone());
        both.add(behind.push(&text[at..]));
        both.add(behind.finish(false));
        assert_eq!(both, *whole, "{text:?} at {at}");
        sum.add(parser.push(&text[at..at + letter.len_utf8()]));
    }
    sum.add(parser.finish(false));
    assert_eq!(sum, *whole, "{text:?} by letters");
}

/// A text that something else than the model ended is the same but for its last call, which is whole or no JSON.
fn cut_off(form: ToolForm, text: &str, whole: &Sum) {
    let (cut, parser) = ended(ToolParser::new(form, tools()), [text], true);
    let parts: String = parser.output.parts.iter().map(|(_, part)| part.as_str()).collect();
    assert_eq!(parts, text, "each byte has one part");
    if !parser.is_cut() || form != ToolForm::Xml {
        assert_eq!(cut, *whole, "{text:?}");
        return;
    }
    let (last, others) = cut.calls.split_last().expect("a call was cut off");
    assert_eq!((others, &last.0), (&whole.calls[..others.len()], &whole.calls[others.len()].0), "{text:?}");
    assert!(serde_json::from_str::<Value>(&last.1).is_err(), "{text:?}: {}", last.1);
    let closed = [format!("{}}}", last.1), format!("{}\"}}", last.1), format!("{{{}}}", last.1)];
    let is_json = |text: &String| serde_json::from_str::<Map<String, Value>>(text).is_ok();
    assert!(closed.iter().any(is_json), "{text:?}: {}", last.1);
}

/// What a text is behind a prompt that opened reasoning: thought, text and calls. All that is in none of them is a tag or white
/// space.
fn behind_reasoning<'a>(form: ToolForm, pieces: impl IntoIterator<Item = &'a str>) -> (String, Sum) {
    let mut reasoning = Reasoning::behind("<think>\n").ending_at(form.ends_reasoning());
    let (mut parser, mut thought, mut sum) = (ToolParser::new(form, tools()), String::new(), Sum::default());
    let mut text = String::new();
    for piece in pieces {
        text += piece;
        let parts = reasoning.push(piece);
        thought += &parts.reasoning;
        if reasoning.ended_by_tag() {
            parser.await_think_end();
        }
        sum.add(parser.push(&parts.answer));
    }
    let rest = reasoning.finish();
    sum.add(parser.push(&rest.answer));
    sum.add(parser.finish(false));
    thought += &rest.reasoning;
    let parts = &parser.output.parts;
    let seen: String = parts.iter().map(|(_, part)| part.as_str()).collect();
    assert!(has_all(&letters(&text), &letters(&format!("{thought}{seen}"))), "{text:?}: {thought:?}, {seen:?}");
    let of_text: String = parts.iter().filter(|(part, _)| *part == Part::Text).map(|(_, text)| text.as_str()).collect();
    assert_eq!(letters(&sum.text), letters(&of_text), "{text:?}");
    for (_, mark) in parts.iter().filter(|(part, _)| *part == Part::Mark) {
        assert!(is_mark(form, mark), "{text:?} leaves {mark:?} out");
    }
    (thought, sum)
}

#[test]
fn damaged_texts_behind_reasoning_are_the_same_wherever_they_are_cut() {
    let mut random = Random(7);
    for (form, text, ..) in CASES {
        for _ in 0..EACH / 4 {
            let mut text = format!("I see </th.\n</think>\n\n{text}</think>");
            (0..random.below(4)).for_each(|_| random.damage(&mut text));
            let whole = behind_reasoning(*form, [text.as_str()]);
            let pieces = random.cut(&text);
            assert_eq!(behind_reasoning(*form, pieces.iter().copied()), whole, "{text:?} as {pieces:?}");
        }
    }
}

fn check(form: ToolForm, text: &str, sum: &Sum, parts: &[(Part, String)]) {
    let of = |wanted: Part| parts.iter().filter(move |(part, _)| *part == wanted).map(|(_, text)| text.as_str());
    assert_eq!(parts.iter().map(|(_, part)| part.as_str()).collect::<String>(), text, "each byte has one part");
    assert_eq!(letters(&sum.text), letters(&of(Part::Text).collect::<String>()), "{text:?}");
    for mark in of(Part::Mark) {
        assert!(is_mark(form, mark), "{text:?} leaves {mark:?} out");
    }
    // Without calls nothing but an empty list of them is left out.
    if sum.calls.is_empty() && of(Part::Mark).next().is_none() {
        assert_eq!(sum.text, text);
    } else if sum.calls.is_empty() {
        assert!(of(Part::Mark).any(|mark| mark.contains('[') && mark.ends_with(']')), "{text:?}: {sum:?}");
    }
    for (name, arguments) in &sum.calls {
        // Or it has an escape.
        assert!(!name.is_empty() && (text.contains(name) || text.contains('\\')), "{text:?}: {name}");
        let object = serde_json::from_str::<Map<String, Value>>(arguments);
        assert!(object.is_ok(), "{text:?}: {arguments}");
    }
    let sources: Vec<&str> = of(Part::Call).collect();
    if form == ToolForm::Xml {
        let line = |text: &str| text.strip_prefix('\n').unwrap_or(text).to_owned();
        let value = |source: &str| line(source).strip_suffix('\n').map_or(line(source), str::to_owned);
        let entries = sum.calls.iter().flat_map(|(name, arguments)| {
            let Entries(entries) = serde_json::from_str(arguments).expect(arguments);
            entries.into_iter().map(move |(key, json)| (name, key, json))
        });
        let entries: Vec<_> = entries.collect();
        assert_eq!(entries.len(), sources.len(), "{text:?}: {entries:?}");
        for ((name, key, json), source) in entries.into_iter().zip(sources) {
            assert_eq!(json, schema::value(&value(source), &key, tools().schema(name)), "{text:?}: {key}");
        }
    } else {
        assert_eq!(sources.len(), sum.calls.len(), "{text:?}");
        for (source, (_, arguments)) in sources.into_iter().zip(&sum.calls) {
            let is_there = source.contains(arguments) || source.contains('\\');
            assert!(arguments == "{}" || is_there, "{source}: {arguments}");
        }
    }
}

/// The entries of an object in their order, those that are there twice too, and their values as they are written.
struct Entries(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Entries, D::Error> {
        from.deserialize_map(Entries(Vec::new()))
    }
}

impl<'de> Visitor<'de> for Entries {
    type Value = Entries;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Entries, A::Error> {
        while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
            self.0.push((key, value.get().to_owned()));
        }
        Ok(self)
    }
}
