//! `Tokenizer`: tokenizer.json of a checkpoint; text to ids, ids to text.
use std::path::Path;

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
    /// A special token that takes no text beside it with it.
    anchor: Option<(u32, String)>,
}

impl Tokenizer {
    /// Reads `tokenizer.json` in a checkpoint's directory.
    ///
    /// Truncation and padding that the file asks for are for training and are left out, as transformers does.
    ///
    /// # Errors
    /// The file is missing (another hint where only `tokenizer.model` is there), not readable, or no tokenizer.
    pub fn open(directory: &Path) -> Result<Tokenizer> {
        let path = directory.join("tokenizer.json");
        let Some(bytes) = crate::files::read(&path)? else { return Err(missing(directory)) };
        Tokenizer::from_json(&bytes).map_err(|error| {
            Error::new(Category::Tokenizer, "tokenizer.json is not a valid tokenizer")
                .details(format!("{}: {error}", path.display()))
                .hint("the file may be damaged or incomplete; download it again")
        })
    }

    fn from_json(bytes: &[u8]) -> tokenizers::Result<Tokenizer> {
        serde_json::from_slice::<serde::de::IgnoredAny>(bytes)?;
        let mut inner = guarded(|| tokenizers::Tokenizer::from_bytes(bytes))?;
        inner.with_truncation(None)?;
        inner.with_padding(None);
        let lone_byte = inner.token_to_id("<0xE3>");
        let byte_fallback = lone_byte.is_some_and(|id| inner.decode(&[id], true).is_ok_and(|text| text == "\u{FFFD}"));
        let added = inner.get_added_vocabulary().get_added_tokens_decoder();
        let alone = added.iter().filter(|(_, token)| token.special && !token.rstrip && !token.single_word);
        let anchor = alone.min_by_key(|(id, _)| **id).map(|(id, token)| (*id, token.content.clone()));
        Ok(Tokenizer { inner, byte_fallback, anchor })
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

    /// Ids of a text that follows another. Tokenizers that put a space in front of a text put none here: a special token
    /// stands in front while the text is split.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_continuation(&self, text: &str) -> Result<Vec<u32>> {
        let Some((anchor, content)) = &self.anchor else { return self.encode(text, false) };
        let mut ids = self.encode(&format!("{content}{text}"), false)?;
        if ids.first() == Some(anchor) { Ok(ids.split_off(1)) } else { self.encode(text, false) }
    }

    /// Text of `ids`, without special tokens. Bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// The tokenizer's decoder cannot take the ids.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        guarded(|| self.inner.decode(ids, true)).map_err(|error| {
            Error::new(Category::Tokenizer, "Tokens cannot be decoded")
                .details(error)
                .hint("the decoder in tokenizer.json does not fit its vocabulary")
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

    /// The id of a token, special tokens included.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
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
