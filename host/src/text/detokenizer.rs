//! `Detokenizer`: ids to text as they come, never a broken character, and in sum the full decode but for broken runs of bytes.
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

/// Streams decode(prompt + generated) less decode(prompt), but for what is said of bytes below.
///
/// Only a window of tokens is decoded at each push: a context that was printed before, so that a word's leading space is
/// not taken for the start of the text, then what is new. Held back is what a later token may change: the first bytes of
/// a character, and a U+FFFD at the end, which may be half of one.
///
/// A decoder judges a run of byte-fallback tokens as a whole: one broken byte makes U+FFFD of all. Nobody can wait for a
/// run's end, so here each byte that is part of no character is one U+FFFD, as in sentencepiece, and the others are text.
pub struct Detokenizer<'a> {
    tokenizer: &'a Tokenizer,
    shown: Shown,
    window: Vec<u32>,
    /// Byte-fallback tokens behind the window that begin a character.
    begun: Vec<u32>,
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
        let (window, begun, printed) = (Vec::new(), Vec::new(), String::new());
        let mut detokenizer = Detokenizer { tokenizer, shown, window, begun, context: 0, printed, try_at: 0 };
        prompt.iter().for_each(|id| detokenizer.hold(*id));
        detokenizer.context = detokenizer.window.len();
        detokenizer.printed = detokenizer.text()?;
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
        let before = self.window.len();
        self.hold(id);
        if self.window.len() == before || self.window.len() < self.try_at {
            return Ok(String::new());
        }
        let mut text = self.decode(&self.window)?;
        // What bytes made was judged by their values.
        let whole = self.kind(id) == TokenKind::Byte || !text.ends_with(char::REPLACEMENT_CHARACTER);
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
        match self.kind(id) {
            TokenKind::Hidden => {}
            TokenKind::Byte => {
                self.begun.push(id);
                self.judge();
            }
            TokenKind::Text => {
                let broken = std::mem::take(&mut self.begun);
                self.window.extend(broken.into_iter().flat_map(|byte| self.tokenizer.broken_byte(byte)));
                self.window.push(id);
            }
        }
    }

    /// Moves what is certain of the begun character into the window: all of it, or bytes that turned out to be broken.
    fn judge(&mut self) {
        let mut bytes: Vec<u8> = self.begun.iter().filter_map(|id| self.tokenizer.byte(*id)).collect();
        loop {
            match str::from_utf8(&bytes) {
                Ok(_) => return self.window.append(&mut self.begun),
                Err(error) if error.error_len().is_none() => return,
                Err(_) => {
                    self.window.extend(self.tokenizer.broken_byte(self.begun.remove(0)));
                    bytes.remove(0);
                }
            }
        }
    }

    /// The text of all tokens that are kept, the begun character's bytes as what they are without an end.
    fn text(&self) -> Result<String> {
        let broken = "\u{FFFD}".repeat(self.begun.len());
        Ok(self.decode(&self.window)? + &broken)
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
        let text = self.text()?;
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
