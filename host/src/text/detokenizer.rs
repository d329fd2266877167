//! `Detokenizer`: ids to text as they come, never a broken character, and in sum exactly the full decode.
use super::Tokenizer;
use super::tokenizer::TokenKind;
use crate::error::Result;

/// Which special tokens are text, by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Those with these ids.
    Tokens(Vec<u32>),
    /// All.
    All,
}

/// Streams decode(prompt + generated) less decode(prompt).
///
/// Only a window of tokens is decoded at each push: a context that was printed before, so that a word's leading space is
/// not taken for the start of the text, then what is new. Held back is what a later token may change: a run of
/// byte-fallback tokens, which the decoder judges as a whole, and a U+FFFD at the end, which may be half a character.
pub struct Detokenizer<'a> {
    tokenizer: &'a Tokenizer,
    shown: Shown,
    window: Vec<u32>,
    /// Tokens at the window's start that are its context.
    context: usize,
    /// The window's text as far as it was printed.
    printed: String,
    /// Length of the window at which decoding is worth the next try.
    try_at: usize,
}

impl<'a> Detokenizer<'a> {
    /// A detokenizer for what follows `prompt`.
    ///
    /// # Errors
    /// The prompt cannot be decoded.
    pub fn new(tokenizer: &'a Tokenizer, prompt: &[u32]) -> Result<Detokenizer<'a>> {
        Detokenizer::showing(tokenizer, prompt, Shown::Tokens(Vec::new()))
    }

    /// As [`Detokenizer::new`], with special tokens.
    ///
    /// # Errors
    /// The prompt cannot be decoded.
    pub fn showing(tokenizer: &'a Tokenizer, prompt: &[u32], shown: Shown) -> Result<Detokenizer<'a>> {
        let mut detokenizer =
            Detokenizer { tokenizer, shown, context: 0, window: Vec::new(), printed: String::new(), try_at: 0 };
        detokenizer.window = prompt.iter().copied().filter(|id| detokenizer.kind(*id) != TokenKind::Hidden).collect();
        detokenizer.context = detokenizer.window.len();
        detokenizer.printed = detokenizer.decode(&detokenizer.window)?;
        Ok(detokenizer)
    }

    fn kind(&self, id: u32) -> TokenKind {
        match (self.tokenizer.kind(id), &self.shown) {
            (TokenKind::Hidden, Shown::All) if self.tokenizer.id_to_token(id).is_some() => TokenKind::Text,
            (TokenKind::Hidden, Shown::Tokens(ids)) if ids.contains(&id) => TokenKind::Text,
            (kind, _) => kind,
        }
    }

    /// The special tokens that are text.
    pub fn shown(&self) -> &Shown {
        &self.shown
    }

    /// Whether a token adds no text.
    pub fn hides(&self, id: u32) -> bool {
        self.kind(id) == TokenKind::Hidden
    }

    /// The text of tokens of the window, in which no others are.
    fn decode(&self, ids: &[u32]) -> Result<String> {
        self.tokenizer.decode_with_special(ids)
    }

    /// Takes the next token and returns the text that is now certain; often one word, sometimes nothing.
    ///
    /// # Errors
    /// The window cannot be decoded.
    pub fn push(&mut self, id: u32) -> Result<String> {
        let kind = self.kind(id);
        if kind == TokenKind::Hidden {
            return Ok(String::new());
        }
        self.window.push(id);
        if kind == TokenKind::Byte || self.window.len() < self.try_at {
            return Ok(String::new());
        }
        let mut text = self.decode(&self.window)?;
        let whole = !text.ends_with(char::REPLACEMENT_CHARACTER);
        if !whole {
            text.pop();
        }
        let piece = text[common_prefix(&self.printed, &text)..].to_owned();
        if !piece.is_empty() {
            self.printed = text;
        }
        if whole {
            self.try_at = 0;
            self.advance()?;
        } else {
            // Tokens that end inside a character can follow each other for ever; a try per eighth keeps the sum linear.
            self.try_at = self.window.len() + 1 + (self.window.len() - self.context) / 8;
        }
        Ok(piece)
    }

    /// Takes the next token where nobody reads the text before its end: it becomes part of what is held back.
    pub fn hold(&mut self, id: u32) {
        if self.kind(id) != TokenKind::Hidden {
            self.window.push(id);
        }
    }

    /// The text that was held back; to be called after the last token.
    ///
    /// # Errors
    /// The window cannot be decoded.
    pub fn finish(self) -> Result<String> {
        self.pending()
    }

    /// The text that is held back now, as it would be if no further token came.
    ///
    /// # Errors
    /// The window cannot be decoded.
    pub fn pending(&self) -> Result<String> {
        let text = self.decode(&self.window)?;
        Ok(text[common_prefix(&self.printed, &text)..].to_owned())
    }

    /// What was new becomes the context, unless it has no text of its own: then a decoder that strips the start of a
    /// text would strip what comes next.
    fn advance(&mut self) -> Result<()> {
        let text = self.decode(&self.window[self.context..])?;
        if !text.is_empty() {
            self.window.drain(..self.context);
            self.context = self.window.len();
            self.printed = text;
        }
        Ok(())
    }
}

/// Bytes of the longest common prefix, whole characters only.
fn common_prefix(a: &str, b: &str) -> usize {
    let equal = a.char_indices().zip(b.chars()).find(|((_, x), y)| x != y);
    equal.map_or(a.len().min(b.len()), |((index, _), _)| index)
}
