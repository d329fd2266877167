//! A text is parted the same whatever pieces it comes in.
use super::*;

/// Both parts of `text` behind `prompt`, in pieces of so many characters.
fn parted(prompt: &str, text: &str, characters: usize) -> (String, String) {
    parted_by(Reasoning::behind(prompt), text, characters)
}

fn parted_by(mut reasoning: Reasoning, text: &str, characters: usize) -> (String, String) {
    let letters: Vec<char> = text.chars().collect();
    let mut all = Parts::default();
    let mut add = |parts: Parts| {
        all.reasoning += &parts.reasoning;
        all.answer += &parts.answer;
    };
    letters.chunks(characters).for_each(|piece| add(reasoning.push(&piece.iter().collect::<String>())));
    add(reasoning.finish());
    (all.reasoning, all.answer)
}

#[test]
fn a_text_parts_the_same_in_pieces_of_any_size() {
    const INSIDE: &str = "<|im_start|>assistant\n<think>\n";
    const OUTSIDE: &str = "<|im_start|>assistant\n";
    for (prompt, text, reasoning, answer) in [
        (INSIDE, "It is\n\nblue. \n</think>\n\nBlue. \n", "It is\n\nblue.", "Blue. \n"),
        (INSIDE, "\n</think>Yes", "", "Yes"),
        (INSIDE, "a </thin b </think> c </think>", "a </thin b", "c </think>"),
        // What is written twice ends nothing twice.
        (INSIDE, "a</think></think>\n</think> \n c", "a", "c"),
        (INSIDE, "a</think> </thi", "a", "</thi"),
        ("assistant\n<think></think>", "</think>\n\nStraight", "", "Straight"),
        ("assistant\n<think></think>", " </thin", "", " </thin"),
        (INSIDE, "cut in the mid </thi", "cut in the mid </thi", ""),
        (OUTSIDE, "\n<think>\nhm\n</think>\nSo", "hm", "So"),
        (OUTSIDE, " <thought> is <think>", "", " <thought> is <think>"),
        (OUTSIDE, "<thi", "", "<thi"),
        ("assistant\n<think></think>", "Straight \u{1F98A}", "", "Straight \u{1F98A}"),
        ("a question about <think> tags", " </think> ends one", "", " </think> ends one"),
    ] {
        for characters in [1, 2, 3, 5, 7, 100] {
            let wanted = (reasoning.to_owned(), answer.to_owned());
            assert_eq!(parted(prompt, text, characters), wanted, "{text:?} by {characters}");
        }
    }
}

#[test]
fn a_call_ends_the_reasoning() {
    for (text, thought, answer) in [
        (
            "I ask.\n<tool_call>\n<function=a>\n</tool_call>\n</think>\n\nDone.",
            "I ask.",
            "<tool_call>\n<function=a>\n</tool_call>\n</think>\n\nDone.",
        ),
        ("a <tool b </think> <tool_call> c </think>", "a <tool b", "<tool_call> c </think>"),
        ("<tool_call>a</thi", "", "<tool_call>a</thi"),
        ("a <tool_cal", "a <tool_cal", ""),
    ] {
        for characters in [1, 2, 3, 5, 7, 100] {
            let reasoning = Reasoning::behind("<think>\n").ending_at(Some("<tool_call>"));
            let wanted = (thought.to_owned(), answer.to_owned());
            assert_eq!(parted_by(reasoning, text, characters), wanted, "{text:?} by {characters}");
        }
    }
}

#[test]
fn nothing_is_held_back_that_is_decided() {
    let mut reasoning = Reasoning::behind("<think>");
    let shown = |parts: Parts| (parts.reasoning, parts.answer);
    let text = |reasoning: &str, answer: &str| (reasoning.to_owned(), answer.to_owned());
    assert_eq!(shown(reasoning.push("One ")), text("One", ""));
    assert_eq!(shown(reasoning.push("two <")), text(" two", ""));
    assert_eq!(shown(reasoning.push("3")), text(" <3", ""));
    assert_eq!(shown(reasoning.push("</think> A")), text("", "A"));
    assert_eq!(shown(reasoning.push(" b")), text("", " b"));
}

/// A model that loops may write white space for as long as it is let.
#[test]
fn white_space_takes_no_longer_the_more_there_is() {
    const MANY: usize = 400_000;
    let start = std::time::Instant::now();
    for (prompt, front, behind, expected) in [
        ("", "", "<think>a</think>b", ("a".to_owned(), "b".to_owned())),
        ("", "", "b", (String::new(), format!("{}b", " ".repeat(MANY)))),
        ("<think>", "", "a</think>b", ("a".to_owned(), "b".to_owned())),
        ("<think>", "a", "</think>b", ("a".to_owned(), "b".to_owned())),
        ("<think>", "a", "c</think>b", (format!("a{}c", " ".repeat(MANY)), "b".to_owned())),
        ("<think>", "a</think>", "b", ("a".to_owned(), "b".to_owned())),
        ("<think></think>", "", "b", (String::new(), format!("{}b", " ".repeat(MANY)))),
    ] {
        let mut reasoning = Reasoning::behind(prompt);
        let pieces = [front].into_iter().chain(std::iter::repeat_n(" ", MANY)).chain([behind]);
        let mut all = Parts::default();
        for parts in pieces.map(|piece| reasoning.push(piece)) {
            all.reasoning += &parts.reasoning;
            all.answer += &parts.answer;
        }
        assert!((all.reasoning, all.answer) == expected, "{prompt}, {front}, {behind}");
    }
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}
