//! `Tokenizer`: tokenizer.json of a checkpoint; text to ids, ids to text.
use std::path::Path;

use serde_json::Value;

use super::special_tokens::SpecialTokens;
use super::{definition, files};
use crate::error::{Category, Error, Result};

/// What a token contributes to the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// Nothing: a special token, or an id that the vocabulary lacks.
    Hidden,
    /// One byte of a character that the vocabulary lacks; decoded together with the bytes beside it.
    Byte,
    /// Text that no later token changes, but for the last character of a byte-level token.
    Text,
}

/// The tokenizer of a checkpoint.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    byte_fallback: bool,
    /// Byte-fallback tokens that are U+FFFD together; none where the vocabulary lacks one.
    broken_byte: Vec<u32>,
    /// The token that `eos_token` of the files beside tokenizer.json names.
    eos: Option<u32>,
}

impl Tokenizer {
    /// Reads `tokenizer.json` in a checkpoint's directory, and adds the tokens that the files beside it add in transformers.
    ///
    /// Truncation and padding that the file asks for are for training and are left out, as transformers does.
    ///
    /// # Errors
    /// The file is missing (another hint where only `tokenizer.model` is there), not readable, or no tokenizer, or a file
    /// beside it is not what it should be.
    pub fn open(directory: &Path) -> Result<Tokenizer> {
        let path = directory.join("tokenizer.json");
        let bytes = files::bytes(&path)?.ok_or_else(|| missing(directory))?;
        let invalid = |found: String| files::invalid(&path, "is not a valid tokenizer", found);
        let inner = from_json(&bytes).map_err(invalid)?;
        let special_tokens = SpecialTokens::read(directory)?;
        Tokenizer::with(inner, &special_tokens).map_err(|error| invalid(error.to_string()))
    }

    fn with(mut inner: tokenizers::Tokenizer, special_tokens: &SpecialTokens) -> tokenizers::Result<Tokenizer> {
        guarded(|| special_tokens.add_to(&mut inner))?;
        let eos =
            special_tokens.named().find(|(name, _)| *name == "eos_token").and_then(|(_, text)| inner.token_to_id(text));
        let lone_byte = inner.token_to_id("<0xE3>");
        let byte_fallback = lone_byte.is_some_and(|id| inner.decode(&[id], true).is_ok_and(|text| text == "\u{FFFD}"));
        let broken_byte = ["<0xEF>", "<0xBF>", "<0xBD>"].map(|byte| inner.token_to_id(byte).filter(|_| byte_fallback));
        let broken_byte = broken_byte.into_iter().collect::<Option<Vec<u32>>>().unwrap_or_default();
        Ok(Tokenizer { inner, byte_fallback, broken_byte, eos })
    }

    /// The token that ends a text, where the files beside tokenizer.json name one.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// Bytes of the longest token's name, which is no shorter than its text.
    pub fn longest(&self) -> usize {
        self.inner.get_vocab(true).keys().map(String::len).max().unwrap_or(0)
    }

    /// Ids of `text`. Special tokens written out in the text become their ids; `post_process` adds what the
    /// post-processor puts around a text, such as `<s>`.
    ///
    /// # Errors
    /// The tokenizer's model cannot take the text.
    pub fn encode(&self, text: &str, post_process: bool) -> Result<Vec<u32>> {
        let encoding = guarded(|| self.inner.encode_fast(text, post_process)).map_err(|error| {
            Error::new(Category::Tokenizer, "Text cannot be tokenized")
                .details(error)
                .hint("tokenizer.json may be damaged; download it again")
        })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Ids of `text` as it stands behind another text: without the space that some tokenizers put in front of the first word.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_behind_text(&self, text: &str) -> Result<Vec<u32>> {
        // What a tokenizer joins with one of these, it does not join with the next.
        for front in ["\n", "x", "."] {
            let (alone, mut both) = (self.encode(front, false)?, self.encode(&format!("{front}{text}"), false)?);
            if both.starts_with(&alone) && both.len() > alone.len() {
                return Ok(both.split_off(alone.len()));
            }
        }
        self.encode(text, false)
    }

    /// Text of `ids`, without special tokens. Bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// The tokenizer's decoder cannot take the ids.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.decoded(ids, true)
    }

    /// As [`Tokenizer::decode`], with special tokens by their names.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn decode_with_special(&self, ids: &[u32]) -> Result<String> {
        self.decoded(ids, false)
    }

    fn decoded(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        guarded(|| self.inner.decode(ids, skip_special)).map_err(|error| {
            Error::new(Category::Tokenizer, "Tokens cannot be decoded")
                .details(error)
                .hint("the decoder in tokenizer.json does not fit its vocabulary: download the file again")
        })
    }

    /// What a token adds to a text that it does not begin; a special token's name, and U+FFFD for a part of a character.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn token_text(&self, id: u32) -> Result<String> {
        if self.kind(id) == TokenKind::Hidden {
            return Ok(self.inner.id_to_token(id).unwrap_or_default());
        }
        // Behind itself a token is not at the start of a text, where decoders strip a space.
        let (once, twice) = (self.decode(&[id])?, self.decode(&[id, id])?);
        Ok(twice.strip_prefix(&once).map_or(once.clone(), str::to_owned))
    }

    /// The bytes that a token adds to a text that it does not begin: a part of a character as it is, a special token's name.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn token_bytes(&self, id: u32) -> Result<Vec<u8>> {
        if let Some(byte) = self.byte(id) {
            return Ok(vec![byte]);
        }
        let name = self.inner.id_to_token(id).unwrap_or_default();
        let text = self.token_text(id)?;
        let bytes = if text.contains(char::REPLACEMENT_CHARACTER) { byte_level(&name) } else { None };
        Ok(bytes.unwrap_or_else(|| text.into_bytes()))
    }

    /// The byte that a byte-fallback token stands for; none for another token.
    pub(super) fn byte(&self, id: u32) -> Option<u8> {
        let name = self.inner.id_to_token(id).filter(|_| self.kind(id) == TokenKind::Byte)?;
        u8::from_str_radix(&name[3..5], 16).ok()
    }

    /// Tokens that a text has for the byte `id`, which is part of no character: whatever stands beside them, they are U+FFFD.
    pub(super) fn broken_byte(&self, id: u32) -> Vec<u32> {
        if self.broken_byte.is_empty() { vec![id] } else { self.broken_byte.clone() }
    }

    /// Whether a token of that name may add a part of a character, by the name alone.
    pub fn may_split_characters(&self, name: &str) -> bool {
        self.byte_fallback && is_byte(name)
            || !name.is_ascii() && byte_level(name).is_some_and(|bytes| str::from_utf8(&bytes).is_err())
    }

    /// The id of a token, special tokens included.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The name of a token that adds no text; none for one that does, and for an id that the vocabulary lacks.
    pub fn hidden_name(&self, id: u32) -> Option<String> {
        (self.kind(id) == TokenKind::Hidden).then(|| self.inner.id_to_token(id)).flatten()
    }

    /// Whether some token's text has `character`: it is in the vocabulary, or comes back from the ids of a text.
    pub fn writes(&self, character: char) -> bool {
        let back = self.encode(&format!("x{character}"), false).and_then(|ids| self.decode(&ids));
        character.is_whitespace()
            || back.is_ok_and(|text| text.contains(character))
            || self.inner.get_vocab(true).keys().any(|token| token.contains(character))
    }

    /// All tokens, special ones included, by their names.
    pub fn names(&self) -> impl Iterator<Item = (String, u32)> {
        self.inner.get_vocab(true).into_iter()
    }

    /// The name of a token; none for an id that the vocabulary lacks.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Tokens of the vocabulary, special ones included.
    pub fn size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    pub(super) fn kind(&self, id: u32) -> TokenKind {
        match self.inner.id_to_token(id) {
            None => TokenKind::Hidden,
            Some(token) if self.inner.get_added_vocabulary().is_special_token(&token) => TokenKind::Hidden,
            Some(token) if self.byte_fallback && is_byte(&token) => TokenKind::Byte,
            Some(_) => TokenKind::Text,
        }
    }
}

/// The bytes that a name in the alphabet of byte-level tokenizers stands for; none for another name. Bytes that print stand
/// for themselves, the others in their order for the characters from U+0100 on.
fn byte_level(name: &str) -> Option<Vec<u8>> {
    let byte = |letter: char| match u32::from(letter) {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => Some(code),
        code @ 0x100..=0x120 => Some(code - 0x100),
        code @ 0x121..=0x142 => Some(code - 0x121 + 0x7f),
        0x143 => Some(0xad),
        _ => None,
    };
    name.chars().map(|letter| byte(letter).map(|code| code as u8)).collect()
}

/// The tokenizer in tokenizer.json, or what is wrong with it.
fn from_json(bytes: &[u8]) -> std::result::Result<tokenizers::Tokenizer, String> {
    let steps = files::parse::<definition::Steps>(bytes);
    let fault = || files::parse::<Value>(bytes).map_or_else(Some, |file| definition::fault(&file));
    let steps = steps.map_err(|error| fault().unwrap_or(error))?;
    if let Some(fault) = steps.growth() {
        return Err(fault);
    }
    let read = guarded(|| {
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes)?;
        inner.with_truncation(None)?;
        inner.with_padding(None);
        Ok(inner)
    });
    read.map_err(|error| fault().unwrap_or_else(|| error.to_string()))
}

/// The crate panics where a damaged file's vocabulary, merges, added tokens and post-processor contradict each other.
fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err("its vocabulary, merges, added tokens or post-processor contradict each other".into()))
}

/// Whether a byte-fallback decoder takes the token for a byte: `<0xE3>`.
fn is_byte(token: &str) -> bool {
    let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}

fn missing(directory: &Path) -> Error {
    let error = Error::new(Category::Tokenizer, "tokenizer.json not found");
    if directory.join("tokenizer.model").exists() {
        error
            .details(format!("{} has only tokenizer.model, which is not supported", directory.display()))
            .hint("save it as tokenizer.json: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR) in transformers")
    } else {
        error
            .details(format!("expected {}", directory.join("tokenizer.json").display()))
            .hint("download tokenizer.json from the model's repository into the directory")
    }
}
