//! The sizes that all decoder families share, checked against each other and against what the kernels take.
use gpu_kernels::HEAD_DIMS;

use super::config::Config;
use crate::error::{Category, Error, Result};

/// More layers than any model has; each is a few hundred bytes of names before any tensor is looked up.
const MAX_LAYERS: usize = 4096;

/// The widest residual stream that the norms take.
const MAX_HIDDEN: usize = 1 << 16;

/// The most query heads.
const MAX_HEADS: usize = 1 << 12;

/// What transformers takes where config.json does not have a key. Sizes that tensors have must be there.
#[derive(Clone, Copy, Debug)]
pub struct SizeDefaults {
    /// `max_position_embeddings`.
    pub context: usize,
    /// `num_key_value_heads`; none for as many as there are heads, which null always stands for.
    pub kv_heads: Option<usize>,
}

/// Keys of other programs and older versions that transformers does not read, each behind the one that counts.
const IGNORED: [(&str, &[&str]); 6] = [
    ("hidden_size", &["n_embd", "d_model"]),
    ("num_hidden_layers", &["num_layers", "n_layer", "n_layers"]),
    ("num_attention_heads", &["n_head", "n_heads"]),
    ("num_key_value_heads", &["num_query_groups", "num_kv_heads", "n_kv_heads"]),
    ("intermediate_size", &["ffn_hidden_size", "ffn_dim"]),
    ("max_position_embeddings", &["max_sequence_length", "n_positions", "n_ctx"]),
];

/// The sizes of a decoder layer, and of what is around the layers.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Width of the residual stream.
    pub hidden: usize,
    /// Rows of the embedding table and of the head.
    pub vocab: usize,
    /// Number of layers.
    pub layers: usize,
    /// Longest sequence, tokens.
    pub context_length: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width between the products of the MLP.
    pub intermediate: usize,
}

impl Sizes {
    /// Reads and checks the sizes.
    ///
    /// # Errors
    /// A size is missing or out of range, or sizes do not go together.
    pub fn read(config: &Config, defaults: SizeDefaults) -> Result<Sizes> {
        let outer = Sizes::read_outer(config, defaults)?;
        let key = "num_key_value_heads";
        let default = defaults.kv_heads.filter(|_| !config.contains(key));
        let kv_heads = match default {
            Some(default) => config.size_or(key, default)?,
            None => config.optional_size(&[key])?.unwrap_or(outer.heads),
        };
        let sizes = Sizes { kv_heads, intermediate: config.size("intermediate_size")?, ..outer };
        sizes.check_layer()?;
        Ok(sizes)
    }

    /// As [`Sizes::read`], for a model whose layers differ: without the number of key-value heads, which is that of the
    /// heads, and without the width of the MLP, which is that of the residual stream.
    ///
    /// # Errors
    /// As [`Sizes::read`].
    pub fn read_outer(config: &Config, defaults: SizeDefaults) -> Result<Sizes> {
        for (key, others) in IGNORED {
            if let Some(value) = config.value(key) {
                config.note_ignored(key, value, others);
            }
        }
        let hidden = config.size("hidden_size")?;
        let heads = config.size("num_attention_heads")?;
        // `kv_channels` is what NeMo's exporter writes; where both are missing, the heads share the stream evenly.
        let head_dim = config.optional_size(&["head_dim", "kv_channels"])?.unwrap_or(hidden / heads);
        let sizes = Sizes {
            hidden,
            vocab: config.size("vocab_size")?,
            layers: config.size("num_hidden_layers")?,
            context_length: config.size_or("max_position_embeddings", defaults.context)?,
            heads,
            kv_heads: heads,
            head_dim,
            intermediate: hidden,
        };
        sizes.check()?;
        Ok(sizes)
    }

    /// As [`Sizes::read`], for a model of `layers` layers of which each has one mixer; the width of an MLP is not read.
    ///
    /// # Errors
    /// As [`Sizes::read`].
    pub fn of_mixers(config: &Config, layers: usize) -> Result<Sizes> {
        let (hidden, heads) = (config.size("hidden_size")?, config.size("num_attention_heads")?);
        let sizes = Sizes {
            hidden,
            vocab: config.size("vocab_size")?,
            layers,
            context_length: config.size("max_position_embeddings")?,
            heads,
            kv_heads: config.optional_size(&["num_key_value_heads"])?.unwrap_or(heads),
            head_dim: config.optional_size(&["head_dim", "attention_head_dim"])?.unwrap_or(hidden / heads),
            intermediate: hidden,
        };
        sizes.check()?;
        sizes.check_layer()?;
        Ok(sizes)
    }

    fn check(&self) -> Result<()> {
        at_most("num_hidden_layers", self.layers, MAX_LAYERS)?;
        at_most("hidden_size", self.hidden, MAX_HIDDEN)?;
        at_most("num_attention_heads", self.heads, MAX_HEADS)?;
        divisible_by_8("hidden_size", self.hidden)?;
        if !HEAD_DIMS.iter().any(|&known| known as usize == self.head_dim) {
            return Err(Error::new(Category::Model, "Unsupported head size")
                .details(format_args!("config.json: head_dim: expected one of {HEAD_DIMS:?}, found {}", self.head_dim))
                .hint("without head_dim or kv_channels, head_dim is hidden_size / num_attention_heads: add the key if the model has another"));
        }
        Ok(())
    }

    fn check_layer(&self) -> Result<()> {
        divisible_by_8("intermediate_size", self.intermediate)?;
        if self.heads.is_multiple_of(self.kv_heads) {
            return Ok(());
        }
        Err(Error::new(Category::Model, "Heads are not divisible by key-value heads")
            .details(format_args!(
                "config.json: num_attention_heads {} is not a multiple of num_key_value_heads {}",
                self.heads, self.kv_heads
            ))
            .hint("correct the file, or download it again"))
    }
}

fn at_most(key: &str, size: usize, limit: usize) -> Result<()> {
    if size <= limit {
        return Ok(());
    }
    Err(Error::new(Category::Model, "Model is too large")
        .details(format_args!("config.json: {key}: expected at most {limit}, found {size}"))
        .hint("correct the file, or download it again"))
}

/// # Errors
/// The size of `key` is no multiple of 8.
pub fn divisible_by_8(key: &str, size: usize) -> Result<()> {
    if size.is_multiple_of(8) {
        return Ok(());
    }
    Err(Error::new(Category::Model, "Unsupported width")
        .details(format_args!("config.json: {key}: expected a multiple of 8, found {size}"))
        .hint("correct the key if it is wrong: no published model has such a width, and none can run here"))
}
