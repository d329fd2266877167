//! `SpecialTokens`: what the files beside tokenizer.json say about special and added tokens, by transformers' rules.
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::files;
use crate::error::Result;

/// Special tokens that every tokenizer may have, in transformers' order; templates know them by the same names.
const NAMED: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The list of further special tokens, and what it was called before.
const EXTRA: &str = "extra_special_tokens";
const ADDITIONAL: &str = "additional_special_tokens";

/// Tokens that have an id of their own, whatever tokenizer.json has.
const DECODER: &str = "added_tokens_decoder";

/// The special and added tokens that stand beside tokenizer.json.
#[derive(Debug, Default)]
pub(super) struct SpecialTokens {
    /// `bos_token` and its like, and whatever else ends in `_token`: what templates call it, and the token.
    named: Vec<(String, AddedToken)>,
    /// Special tokens without a name.
    extra: Vec<AddedToken>,
    /// Added tokens by the id that their file gives them.
    added: BTreeMap<u64, AddedToken>,
    /// Whether `added` is of added_tokens.json, before which tokenizer.json comes.
    legacy: bool,
}

impl SpecialTokens {
    /// Reads `tokenizer_config.json`, and where that has no `added_tokens_decoder` also `special_tokens_map.json` and
    /// `added_tokens.json`. Files that are not there say nothing.
    ///
    /// # Errors
    /// A file is no JSON object, or a token in it is none.
    pub(super) fn read(directory: &Path) -> Result<SpecialTokens> {
        let path = directory.join("tokenizer_config.json");
        let mut config = Origin { object: files::object(&path)?.unwrap_or_default(), path };
        if !is_some(config.object.get(EXTRA))
            && let Some(tokens) = config.object.remove(ADDITIONAL)
        {
            config.object.insert(EXTRA.to_owned(), tokens);
        }
        let mut special_tokens =
            SpecialTokens { legacy: !config.object.contains_key(DECODER), ..SpecialTokens::default() };
        if !special_tokens.legacy {
            special_tokens.added = config.decoder()?;
            special_tokens.take(&config, false)?;
            return Ok(special_tokens);
        }
        special_tokens.take(&config, false)?;
        let path = directory.join("special_tokens_map.json");
        let mut map = Origin { object: files::object(&path)?.unwrap_or_default(), path };
        if !map.object.contains_key(EXTRA)
            && !config.object.contains_key(EXTRA)
            && let Some(tokens) = map.object.remove(ADDITIONAL)
        {
            map.object.insert(EXTRA.to_owned(), tokens);
        }
        special_tokens.take(&map, true)?;
        let path = directory.join("added_tokens.json");
        let object = files::object(&path)?.unwrap_or_default();
        special_tokens.added = special_tokens.legacy_tokens(&Origin { object, path })?;
        Ok(special_tokens)
    }

    /// What templates call each special token, and its text.
    pub(super) fn named(&self) -> impl Iterator<Item = (&str, &str)> {
        self.named.iter().map(|(name, token)| (name.as_str(), token.content.as_str()))
    }

    /// Adds to a tokenizer what tokenizer.json does not have. A token that the vocabulary knows keeps its id; others get
    /// the next free ones, in the order of the ids that their file gives them.
    pub(super) fn add_to(&self, tokenizer: &mut tokenizers::Tokenizer) -> tokenizers::Result<()> {
        let known = tokenizer.get_added_vocabulary().get_added_tokens_decoder();
        let overruled = |id: &u64| self.legacy && u32::try_from(*id).is_ok_and(|id| known.contains_key(&id));
        let is_known = |token: &AddedToken| known.values().any(|other| other == token);
        let added = self.added.iter().filter(|(id, token)| !overruled(id) && !is_known(token)).map(|(_, token)| token);
        let mut tokens: Vec<AddedToken> = added.cloned().collect();
        let contents = known.values().chain(&tokens).map(|token| token.content.clone());
        let mut contents: HashSet<String> = contents.collect();
        for token in self.named.iter().map(|(_, token)| token).chain(&self.extra) {
            if contents.insert(token.content.clone()) {
                tokens.push(token.clone());
            }
        }
        for token in &mut tokens {
            token.special |= self.named.iter().any(|(_, named)| named.content == token.content);
        }
        tokenizer.add_tokens(tokens)?;
        Ok(())
    }

    /// Takes the named and extra tokens of one file. A later file's named token replaces an earlier one's.
    fn take(&mut self, origin: &Origin, special: bool) -> Result<()> {
        for (key, value) in &origin.object {
            let standard = NAMED.contains(&key.as_str());
            let is_token = key.ends_with("_token") && (value.is_string() || value.is_object());
            if is_some(Some(value)) && (standard || is_token) {
                self.name(key, origin.token(key, value, special)?);
            } else if standard {
                self.named.retain(|(name, _)| name != key);
            }
        }
        match origin.object.get(EXTRA) {
            None | Some(Value::Null) => {}
            Some(Value::Object(tokens)) => {
                for (key, value) in tokens {
                    self.name(key, origin.token(key, value, true)?);
                }
            }
            Some(Value::Array(tokens)) => {
                for value in tokens {
                    let token = origin.token(EXTRA, value, special)?;
                    if !self.extra.iter().any(|other| other.content == token.content) {
                        self.extra.push(token);
                    }
                }
            }
            Some(other) => return Err(origin.unexpected(EXTRA, "a list or an object of tokens", other)),
        }
        // Those with standard names come first, in their order; a stable sort leaves the others as they are.
        self.named.sort_by_key(|(name, _)| NAMED.iter().position(|known| known == name).unwrap_or(NAMED.len()));
        Ok(())
    }

    fn name(&mut self, name: &str, token: AddedToken) {
        match self.named.iter_mut().find(|(known, _)| known == name) {
            Some(entry) => entry.1 = token,
            None => self.named.push((name.to_owned(), token)),
        }
    }

    /// `added_tokens.json`: texts and their ids.
    fn legacy_tokens(&self, origin: &Origin) -> Result<BTreeMap<u64, AddedToken>> {
        let specials = self.named.iter().map(|(_, token)| token).chain(&self.extra);
        let specials: HashSet<&str> = specials.map(|token| token.content.as_str()).collect();
        let entries = origin.object.iter().map(|(text, id)| {
            let token = AddedToken::from(text.as_str(), specials.contains(text.as_str()));
            Ok((id.as_u64().ok_or_else(|| origin.unexpected(text, "a token id", id))?, token))
        });
        entries.collect()
    }
}

/// One file, as far as it was read.
struct Origin {
    path: PathBuf,
    object: Map<String, Value>,
}

impl Origin {
    fn decoder(&self) -> Result<BTreeMap<u64, AddedToken>> {
        let entries = match &self.object[DECODER] {
            Value::Object(entries) => entries,
            other => return Err(self.unexpected(DECODER, "an object of tokens", other)),
        };
        let entry = |(id, value): (&String, &Value)| {
            let key = format!("{DECODER}[{id:?}]");
            let number = id
                .parse()
                .map_err(|_| files::invalid(&self.path, CANNOT, format!("{DECODER}: {id:?} is no token id")))?;
            if value.is_object() {
                Ok((number, self.token(&key, value, false)?))
            } else {
                Err(self.unexpected(&key, "an object", value))
            }
        };
        entries.iter().map(entry).collect()
    }

    /// A token is a text, which is special, or an object that describes it.
    fn token(&self, key: &str, value: &Value, special: bool) -> Result<AddedToken> {
        if let Value::String(text) = value {
            return Ok(AddedToken::from(text.as_str(), true));
        }
        let object = value.as_object().ok_or_else(|| self.unexpected(key, "a text or an object", value))?;
        let content = object.get("content").unwrap_or(&Value::Null);
        let text = content.as_str().ok_or_else(|| self.unexpected(&format!("{key}.content"), "a text", content))?;
        let flag = |name: &str, default: bool| match object.get(name) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => {
                value.as_bool().ok_or_else(|| self.unexpected(&format!("{key}.{name}"), "true or false", value))
            }
        };
        let special = special || flag("special", false)?;
        let mut token = AddedToken::from(text, special);
        token = token.normalized(flag("normalized", !special)?).single_word(flag("single_word", false)?);
        Ok(token.lstrip(flag("lstrip", false)?).rstrip(flag("rstrip", false)?))
    }

    fn unexpected(&self, key: &str, expected: &str, found: &Value) -> crate::error::Error {
        files::invalid(&self.path, CANNOT, format_args!("{key}: expected {expected}, found {}", files::kind(found)))
    }
}

/// What a file is that describes no tokens.
const CANNOT: &str = "does not describe tokens";

/// Whether Python takes a value for true.
fn is_some(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Object(object)) => !object.is_empty(),
        Some(Value::String(text)) => !text.is_empty(),
        Some(_) => true,
    }
}
