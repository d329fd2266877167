//! Text tests: encode and decode equal the Python package `tokenizers`, and streaming equals the full decode.
mod jinja;
mod special_tokens;
mod templates;

use std::path::{Path, PathBuf};
use std::time::Instant;

use nemotron::text::{Detokenizer, Tokenizer};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Snapshots {
    texts: Vec<String>,
    snapshots: std::collections::BTreeMap<String, Snapshot>,
}

/// What the Python package gave for one tokenizer.
#[derive(Deserialize)]
struct Snapshot {
    /// One row for each of the texts.
    encoded: Vec<Row>,
    /// Ids drawn at random.
    drawn: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    ids: Vec<u32>,
    decoded: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn tokenizer(name: &str) -> Tokenizer {
    let model = root().join("models").join(name);
    Tokenizer::open(&if model.exists() { model } else { root().join("tests/text").join(name) }).unwrap()
}

fn snapshots() -> Snapshots {
    serde_json::from_slice(&std::fs::read(root().join("tests/text/snapshots.json")).unwrap()).unwrap()
}

/// What streaming prints for `generated` after `prompt`, the held-back end included.
/// The text behind a prompt where nobody reads it before its end.
fn whole(tokenizer: &Tokenizer, prompt: &[u32], generated: &[u32]) -> String {
    let mut detokenizer = Detokenizer::new(tokenizer, prompt).unwrap();
    generated.iter().for_each(|id| detokenizer.hold(*id));
    detokenizer.finish().unwrap()
}

fn stream(tokenizer: &Tokenizer, prompt: &[u32], generated: &[u32]) -> String {
    let mut detokenizer = Detokenizer::new(tokenizer, prompt).unwrap();
    let mut text = String::new();
    for id in generated {
        text += &detokenizer.push(*id).unwrap();
    }
    text + &detokenizer.finish().unwrap()
}

#[test]
fn encode_and_decode_equal_the_python_package() {
    let Snapshots { texts, snapshots } = snapshots();
    assert_eq!(snapshots.keys().collect::<Vec<_>>(), ["llama3", "storyteller", "tekken"]);
    for (name, snapshot) in snapshots {
        let tokenizer = tokenizer(&name);
        assert_eq!(texts.len(), snapshot.encoded.len());
        for (text, row) in texts.iter().zip(&snapshot.encoded) {
            assert_eq!(tokenizer.encode(text, true).unwrap(), row.ids, "{name}: {text:?}");
        }
        for row in snapshot.encoded.iter().chain(&snapshot.drawn) {
            assert_eq!(tokenizer.decode(&row.ids).unwrap(), row.decoded, "{name}: {:?}", row.ids);
        }
    }
}

#[derive(Deserialize)]
struct Lines {
    lines: Vec<String>,
    digests: std::collections::BTreeMap<String, Vec<u32>>,
}

/// FNV-1a.
fn digest(ids: &[u32], text: &str) -> u32 {
    let bytes = ids.iter().flat_map(|id| id.to_le_bytes()).chain(text.bytes());
    bytes.fold(0x811C_9DC5, |value, byte| (value ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[test]
fn two_thousand_lines_equal_the_python_package_and_stream_whole() {
    let Lines { lines, digests } =
        serde_json::from_slice(&std::fs::read(root().join("tests/text/lines.json")).unwrap()).unwrap();
    assert_eq!((lines.len(), digests.len()), (2000, 3));
    for (name, digests) in digests {
        let tokenizer = tokenizer(&name);
        assert_eq!(digests.len(), lines.len());
        for (line, expected) in lines.iter().zip(digests) {
            let ids = tokenizer.encode(line, true).unwrap();
            let decoded = tokenizer.decode(&ids).unwrap();
            assert_eq!(digest(&ids, &decoded), expected, "{name}: {line:?} {ids:?}");
            assert_eq!(stream(&tokenizer, &[], &ids), decoded, "{name}: {line:?}");
        }
    }
}

/// `ids` with the bytes of U+FFFD for each byte that is part of no character: a decoder makes U+FFFD of the whole run of
/// bytes around a broken one, which nobody who streams can wait for.
fn mended(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<u32> {
    let byte = |id: &u32| {
        let name = tokenizer.id_to_token(*id)?;
        u8::from_str_radix(name.strip_prefix("<0x")?.strip_suffix('>')?, 16).ok()
    };
    let mut mended = Vec::new();
    for run in ids.chunk_by(|left, right| byte(left).is_some() && byte(right).is_some()) {
        let bytes: Vec<u8> = run.iter().filter_map(byte).collect();
        if bytes.is_empty() {
            mended.extend(run);
        }
        for chunk in bytes.utf8_chunks() {
            let text = chunk.valid().to_owned() + &"\u{FFFD}".repeat(chunk.invalid().len());
            mended.extend(text.bytes().map(|byte| tokenizer.token_to_id(&format!("<0x{byte:02X}>")).unwrap()));
        }
    }
    mended
}

#[test]
fn streaming_equals_the_full_decode_wherever_the_prompt_ends() {
    for (name, snapshot) in snapshots().snapshots {
        let tokenizer = tokenizer(&name);
        let decode = |ids: &[u32]| tokenizer.decode(&mended(&tokenizer, ids)).unwrap();
        for Row { ids, decoded } in snapshot.encoded.iter().chain(&snapshot.drawn) {
            let text = decode(ids);
            assert!(mended(&tokenizer, ids) != *ids || text == *decoded, "{name}: {ids:?}");
            assert_eq!(stream(&tokenizer, &[], ids), text, "{name}: {ids:?}");
            for split in 1..=ids.len().min(12) {
                let (prompt, generated) = ids.split_at(split);
                // A prompt that ends inside a character has a text that the rest may rewrite.
                let apart = [mended(&tokenizer, prompt), mended(&tokenizer, generated)].concat();
                let is_kept = apart == mended(&tokenizer, ids);
                if let Some(rest) = text.strip_prefix(&decode(prompt)).filter(|_| is_kept) {
                    assert_eq!(stream(&tokenizer, prompt, generated), rest, "{name}: {prompt:?} {generated:?}");
                    assert_eq!(whole(&tokenizer, prompt, generated), rest, "{name}: {prompt:?} {generated:?}");
                }
            }
        }
    }
}

#[test]
fn characters_come_whole_and_as_soon_as_they_are_certain() {
    let tokenizer = tokenizer("llama3");
    let text = "むかし😀龍が🦊";
    let mut detokenizer = Detokenizer::new(&tokenizer, &[]).unwrap();
    let mut shown = String::new();
    let ids = tokenizer.encode(text, false).unwrap();
    for (index, id) in ids.iter().enumerate() {
        let piece = detokenizer.push(*id).unwrap();
        assert!(!piece.contains('\u{FFFD}'), "{piece:?}");
        shown += &piece;
        let certain = tokenizer.decode(&ids[..=index]).unwrap();
        assert_eq!(shown, certain.trim_end_matches('\u{FFFD}'));
    }
    assert_eq!(shown, text);
}

#[test]
fn a_words_leading_space_is_kept_and_special_tokens_are_not_shown() {
    let tokenizer = tokenizer("storyteller");
    let prompt = tokenizer.encode("The capital of France is", true).unwrap();
    let end = tokenizer.token_to_id("</s>").unwrap();
    let paris = tokenizer.encode(" Paris.", false).unwrap();
    let generated: Vec<u32> = std::iter::once(end).chain(paris).chain([end, u32::MAX]).collect();
    let whole = tokenizer.decode(&[prompt.clone(), generated.clone()].concat()).unwrap();
    assert_eq!(format!("The capital of France is{}", stream(&tokenizer, &prompt, &generated)), whole);
    assert!(stream(&tokenizer, &prompt, &generated).starts_with(' '));
}

#[test]
fn a_character_of_bytes_comes_with_its_last_byte_and_a_broken_byte_takes_no_other_along() {
    let tokenizer = tokenizer("storyteller");
    let byte = |value: u8| tokenizer.token_to_id(&format!("<0x{value:02X}>")).unwrap();
    let pieces = |prompt: &[u8], bytes: &[u8]| {
        let prompt: Vec<u32> = prompt.iter().copied().map(byte).collect();
        let mut detokenizer = Detokenizer::new(&tokenizer, &prompt).unwrap();
        let mut pieces: Vec<String> = bytes.iter().map(|value| detokenizer.push(byte(*value)).unwrap()).collect();
        pieces.push(detokenizer.finish().unwrap());
        pieces
    };
    assert_eq!(pieces(b"", "🦊é".as_bytes()), ["", "", "", "🦊", "", "é", ""]);
    // What an answer's limit cuts.
    assert_eq!(pieces(b"", &"🦊🌲".as_bytes()[..6]), ["", "", "", "🦊", "", "", "\u{FFFD}\u{FFFD}"]);
    // No first byte; a first byte that another follows; a character that none may write (a surrogate).
    assert_eq!(pieces("🦊".as_bytes(), b"\xFFx"), ["\u{FFFD}", "x", ""]);
    assert_eq!(pieces(b"", b"\xE3\x81\xC3\xA9"), ["", "", "\u{FFFD}\u{FFFD}", "é", ""]);
    assert_eq!(pieces(b"", b"\xED\xA0\x80!"), ["", "\u{FFFD}\u{FFFD}", "\u{FFFD}", "!", ""]);
    // A prompt that ends inside a character: its bytes are shown once they have become one, and never as broken ones.
    assert_eq!(pieces(b"\xF0\x9F", b"\xA6\x8A"), ["", "🦊", ""]);
    assert_eq!(pieces(b"\xF0\x9F", b"a"), ["a", ""]);
}

/// Eight times the tokens may take about eight times as long; quadratic would be sixty-four.
#[test]
fn the_cost_of_streaming_grows_with_the_length_alone() {
    for (name, text) in [("storyteller", "むかし a (b) "), ("llama3", "fox "), ("llama3", "\u{FFFD}")] {
        let tokenizer = tokenizer(name);
        let mut unit = tokenizer.encode(text, false).unwrap();
        if text == "\u{FFFD}" {
            unit.truncate(1); // a first byte that is never completed
        }
        let seconds = |count: usize| {
            let ids: Vec<u32> = unit.iter().copied().cycle().take(count).collect();
            let start = Instant::now();
            let text = stream(&tokenizer, &[], &ids);
            assert!(!text.is_empty());
            start.elapsed().as_secs_f64()
        };
        let best = |count| (0..3).map(|_| seconds(count)).fold(f64::INFINITY, f64::min);
        let (short, long) = (best(4_000), best(32_000));
        assert!(long < 24.0 * short + 0.05, "{name} {text:?}: {short} s for 4 000 tokens, {long} s for 32 000");
    }
}

#[test]
fn errors_say_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let error = |directory: &Path| Tokenizer::open(directory).err().unwrap().to_string();
    assert!(error(directory.path()).starts_with("[ERROR] Tokenizer: tokenizer.json not found\nDetails: expected /"));

    std::fs::write(directory.path().join("tokenizer.model"), b"\x0a").unwrap();
    let only_model = error(directory.path());
    assert!(only_model.contains("only tokenizer.model") && only_model.contains("save_pretrained"), "{only_model}");

    for content in ["", "{", "[]", "{}", "{\"model\": {\"type\": \"BPE\"}}", "\u{0}"] {
        std::fs::write(directory.path().join("tokenizer.json"), content).unwrap();
        let error = error(directory.path());
        assert!(error.starts_with("[ERROR] Tokenizer: tokenizer.json is not a valid tokenizer\nDetails: "), "{error}");
        assert_eq!(error.lines().count(), 3, "{error}");
    }
}

proptest! {
    #[test]
    fn damaged_tokenizers_never_panic(position: prop::sample::Index, edit in "[0-9a-z\"{}\\[\\],:.-]{0,6}", removed in 0..40usize) {
        let json = std::fs::read_to_string(root().join("tests/text/llama3/tokenizer.json")).unwrap();
        let mut json: Vec<char> = json.chars().collect();
        let start = position.index(json.len());
        let end = json.len().min(start + removed);
        json.splice(start..end, edit.chars());
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("tokenizer.json"), json.iter().collect::<String>()).unwrap();
        if let Ok(tokenizer) = Tokenizer::open(directory.path()) {
            let ids = tokenizer.encode("The fox. 龍", true);
            let _ = ids.and_then(|ids| tokenizer.decode(&ids));
        }
    }
}
