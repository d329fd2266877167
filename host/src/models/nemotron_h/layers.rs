//! Which mixer each layer has: a pattern, a list of words, or the blocks of a searched architecture.
use serde_json::Value;

use crate::error::Result;
use crate::models::config::Config;

/// More layers than any model has; each is a few hundred bytes of names before any tensor is looked up.
const MAX_LAYERS: usize = 4096;

/// The mixer of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Mamba,
    Attention,
    Mlp,
    Moe,
}

const EXPECTED: &str = "mamba, attention, mlp or moe (M, *, - or E in a pattern)";

/// The layers' mixers. Where a list of words and a pattern stand side by side, the list counts, as in transformers.
///
/// # Errors
/// There is no schedule, a word of it is unknown, or `num_hidden_layers` is another number.
pub fn kinds(config: &Config) -> Result<Vec<Kind>> {
    let kinds = if let Some(words) = config.value("layers_block_type") {
        words_of(config, "layers_block_type", words, |word| word.as_str())?
    } else if let Some(blocks) = config.value("block_configs") {
        words_of(config, "block_configs", blocks, |block| block.get("block_type")?.as_str())?
    } else {
        pattern(config)?
    };
    let expected = format_args!("1 to {MAX_LAYERS} layers");
    if !(1..=MAX_LAYERS).contains(&kinds.len()) {
        return Err(config.unexpected("the schedule of layers", expected, kinds.len()));
    }
    match config.optional_size(&["num_hidden_layers"])? {
        Some(layers) if layers != kinds.len() => {
            Err(config.unexpected("num_hidden_layers", format_args!("{}, as the schedule has", kinds.len()), layers))
        }
        _ => Ok(kinds),
    }
}

fn words_of(config: &Config, key: &str, list: &Value, word: impl Fn(&Value) -> Option<&str>) -> Result<Vec<Kind>> {
    let list = list.as_array().ok_or_else(|| config.unexpected(key, "a list", list))?;
    let kind = |(layer, value): (usize, &Value)| {
        let found = match word(value) {
            Some("mamba" | "linear_attention") => Some(Kind::Mamba),
            Some("attention" | "full_attention") => Some(Kind::Attention),
            Some("mlp") => Some(Kind::Mlp),
            Some("moe") => Some(Kind::Moe),
            _ => None,
        };
        found.ok_or_else(|| config.unexpected(&format!("{key}[{layer}]"), EXPECTED, value))
    };
    list.iter().enumerate().map(kind).collect()
}

fn pattern(config: &Config) -> Result<Vec<Kind>> {
    let key = "hybrid_override_pattern";
    let Some(pattern) = config.text(key)? else {
        return Err(config.unexpected(key, "a pattern, or layers_block_type", "neither"));
    };
    let kind = |(layer, letter): (usize, char)| match letter {
        'M' => Ok(Kind::Mamba),
        '*' => Ok(Kind::Attention),
        '-' => Ok(Kind::Mlp),
        'E' => Ok(Kind::Moe),
        _ => Err(config.unexpected(&format!("{key}, layer {layer}"), EXPECTED, letter)),
    };
    pattern.chars().enumerate().map(kind).collect()
}

/// The width of each MLP: one number for all, a list of one, or a list with one for each. Where no layer is an MLP the key is
/// not read: files with experts repeat the experts' width there.
///
/// # Errors
/// The key is missing, or not of that form.
pub fn widths(config: &Config, kinds: &[Kind]) -> Result<Vec<usize>> {
    let mlps = kinds.iter().filter(|kind| **kind == Kind::Mlp).count();
    let key = "intermediate_size";
    let Some(Value::Array(list)) = config.value(key).filter(|_| mlps > 0) else {
        return if mlps > 0 { Ok(vec![config.size(key)?; mlps]) } else { Ok(Vec::new()) };
    };
    if list.len() != 1 && list.len() != mlps {
        return Err(config.unexpected(key, format_args!("a width, or {mlps} of them"), format_args!("{}", list.len())));
    }
    let width = |value: &Value| {
        let width = value.as_u64().and_then(|width| usize::try_from(width).ok());
        width.filter(|width| (1..=1 << 24).contains(width)).ok_or_else(|| config.unexpected(key, "a width", value))
    };
    let widths = list.iter().map(width).collect::<Result<Vec<_>>>()?;
    Ok(if widths.len() == 1 { vec![widths[0]; mlps] } else { widths })
}
