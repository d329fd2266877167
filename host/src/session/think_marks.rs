//! `ThinkMarks`: the tags around reasoning, as searches among a tokenizer's tokens.
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::engine::TokenMarks;
use crate::error::Result;
use crate::text::Tokenizer;

/// A text of which a search among tokens is made, or two.
type Marks = OnceLock<Result<Arc<TokenMarks>>>;

/// The searches of a tokenizer, made when they are asked for.
#[derive(Default)]
pub(super) struct ThinkMarks {
    pub opens: Marks,
    pub closes: Marks,
    /// With the tag of a call, which ends reasoning too.
    pub closes_or_calls: Marks,
}

/// A search for `texts`, which begin with the same character.
pub(super) fn search(tokenizer: &Tokenizer, texts: &[&str]) -> Result<Arc<TokenMarks>> {
    let mut pieces = HashMap::new();
    for (name, id) in tokenizer.names() {
        let goes_on = |text: &str| {
            let mut ends = text.char_indices().skip(1).map(|(at, _)| &text[at..]);
            ends.any(|end| end.starts_with(&name) || name.starts_with(end))
        };
        // Behind nothing but white space the first text may begin: the names of that differ.
        if name.contains(&texts[0][..1]) || texts.iter().any(|text| goes_on(text)) {
            pieces.insert(id, tokenizer.token_bytes(id)?);
        } else if tokenizer.may_split_characters(&name) {
            let bytes = tokenizer.token_bytes(id)?;
            if str::from_utf8(&bytes).is_err() {
                pieces.insert(id, bytes);
            }
        } else if !name.contains(|letter: char| letter.is_ascii_alphanumeric()) {
            let bytes = tokenizer.token_bytes(id)?;
            if bytes.trim_ascii().is_empty() {
                pieces.insert(id, bytes);
            }
        }
    }
    Ok(Arc::new(TokenMarks::new(texts.iter().map(|text| text.as_bytes().to_vec()).collect(), pieces)))
}
