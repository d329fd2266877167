//! Presets: the sizes of published models, a row each.
mod hybrid;

use hybrid::{HYBRIDS, Hybrid};
use serde_json::{Value, json};

/// Sizes of a published model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// The word that names it.
    pub name: &'static str,
    sizes: Sizes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sizes {
    Dense(Dense),
    Hybrid(Hybrid),
}

/// Sizes of a model whose layers are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dense {
    family: Family,
    hidden: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    intermediate: usize,
    vocab: usize,
    context: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Nemotron,
    Llama,
    Mistral,
}

macro_rules! presets {
    ($($name:literal $family:ident $hidden:literal $layers:literal $heads:literal $kv_heads:literal $head_dim:literal
       $intermediate:literal $vocab:literal $context:literal;)*) => {
        [$(($name, Dense {
            family: Family::$family, hidden: $hidden, layers: $layers, heads: $heads, kv_heads: $kv_heads,
            head_dim: $head_dim, intermediate: $intermediate, vocab: $vocab, context: $context,
        }),)*]
    };
}

// name, family, hidden, layers, heads, kv heads, head dim, intermediate, vocabulary, context
const DENSE: [(&str, Dense); 7] = presets! {
    "nemotron-mini-4b" Nemotron 3072 32 24 8 128 9216 256000 4096;
    "minitron-8b" Nemotron 4096 32 48 8 128 16384 256000 4096;
    "nemotron-4-15b" Nemotron 6144 32 48 8 128 24576 256000 4096;
    "nemotron-4-340b" Nemotron 18432 96 96 8 192 73728 256000 4096;
    "mistral-nemo-minitron-8b" Mistral 4096 40 32 8 128 11520 131072 8192;
    "nano-8b" Llama 4096 32 32 8 128 14336 128256 131072;
    "nano-4b" Llama 3072 32 32 8 128 9216 128256 131072;
};

impl Preset {
    /// All of them.
    fn all() -> impl Iterator<Item = Preset> {
        let dense = DENSE.into_iter().map(|(name, sizes)| Preset { name, sizes: Sizes::Dense(sizes) });
        dense.chain(HYBRIDS.into_iter().map(|(name, sizes)| Preset { name, sizes: Sizes::Hybrid(sizes) }))
    }

    /// The preset of that name.
    pub fn named(name: &str) -> Option<Preset> {
        Preset::all().find(|preset| preset.name == name)
    }

    /// All names.
    pub fn names() -> Vec<&'static str> {
        Preset::all().map(|preset| preset.name).collect()
    }

    /// One preset per dense family, small enough for tests.
    #[cfg(test)]
    pub fn tiny() -> [Preset; 3] {
        let (name, dense) = DENSE[0];
        let small = Dense { hidden: 64, heads: 4, kv_heads: 2, head_dim: 32, intermediate: 96, vocab: 512, ..dense };
        [Family::Nemotron, Family::Llama, Family::Mistral]
            .map(|family| Preset { name, sizes: Sizes::Dense(Dense { family, ..small }) })
    }

    /// The config.json of a checkpoint of these sizes, as transformers reads it; `layers` replaces the preset's number.
    pub fn config(&self, layers: Option<usize>) -> Value {
        match &self.sizes {
            Sizes::Dense(dense) => dense.config(layers),
            Sizes::Hybrid(hybrid) => hybrid.config(layers),
        }
    }
}

impl Dense {
    fn config(&self, layers: Option<usize>) -> Value {
        let layers = layers.unwrap_or(self.layers);
        let mut config = json!({
            "hidden_size": self.hidden, "num_hidden_layers": layers, "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads, "head_dim": self.head_dim, "intermediate_size": self.intermediate,
            "vocab_size": self.vocab, "max_position_embeddings": self.context, "attention_bias": false,
            "mlp_bias": false, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "use_cache": true,
        });
        let family = match self.family {
            Family::Nemotron => json!({
                "architectures": ["NemotronForCausalLM"], "model_type": "nemotron", "hidden_act": "relu2",
                "norm_eps": 1e-5, "rope_theta": 10000.0, "partial_rotary_factor": 0.5, "bos_token_id": 2,
                "eos_token_id": 3, "initializer_range": 0.0134,
            }),
            Family::Llama => json!({
                "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
                "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "bos_token_id": 128000,
                "eos_token_id": [128001, 128008, 128009], "initializer_range": 0.02,
                "rope_scaling": {
                    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 8192,
                },
            }),
            Family::Mistral => json!({
                "architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_act": "silu",
                "rms_norm_eps": 1e-5, "rope_theta": 1000000.0, "bos_token_id": 1, "eos_token_id": 2,
                "sliding_window": null, "initializer_range": 0.02,
            }),
        };
        let fields = family.as_object().expect("a JSON object").clone();
        config.as_object_mut().expect("a JSON object").extend(fields);
        config
    }
}
