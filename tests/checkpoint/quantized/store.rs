//! A Llama of one layer whose matrices are stored in any layout, made by the test: raw tensors of any type, and their file.
use std::collections::BTreeMap;

use half::bf16;
use nemotron::checkpoint::{Checkpoint, Dtype};
use nemotron::error::Result;
use nemotron::models::spec::{ModelSpec, Tensor};
use nemotron::weights::Weights;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use super::random::Random;
use crate::fixture::{Fixture, INDEX, SHARDS, WEIGHTS, load};

/// Width of the residual stream: two groups of 64, not a whole block of 256.
pub const HIDDEN: usize = 128;
/// Width of the MLP: 3 groups of 64, and more rows than one block of 128.
pub const WIDE: usize = 192;

/// A stored tensor.
#[derive(Clone, Debug)]
pub struct Raw {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Raw {
    pub fn new(name: impl Into<String>, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) -> Raw {
        Raw { name: name.into(), dtype, shape: shape.to_vec(), bytes }
    }
}

/// The config of the model.
pub fn config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "hidden_size": HIDDEN, "num_hidden_layers": 1, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 32, "intermediate_size": WIDE, "vocab_size": 16,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "hidden_act": "silu",
        "eos_token_id": 3
    })
}

/// A matrix's module and its shape.
pub type Module = (&'static str, [usize; 2]);

pub const Q: Module = ("model.layers.0.self_attn.q_proj", [128, HIDDEN]);
pub const K: Module = ("model.layers.0.self_attn.k_proj", [64, HIDDEN]);
pub const V: Module = ("model.layers.0.self_attn.v_proj", [64, HIDDEN]);
pub const O: Module = ("model.layers.0.self_attn.o_proj", [HIDDEN, 128]);
pub const GATE: Module = ("model.layers.0.mlp.gate_proj", [WIDE, HIDDEN]);
pub const UP: Module = ("model.layers.0.mlp.up_proj", [WIDE, HIDDEN]);
pub const DOWN: Module = ("model.layers.0.mlp.down_proj", [HIDDEN, WIDE]);
pub const HEAD: Module = ("lm_head", [16, HIDDEN]);
pub const EMBEDDING: Module = ("model.embed_tokens", [16, HIDDEN]);
/// All matrices of the layer.
pub const LAYER: [Module; 7] = [Q, K, V, O, GATE, UP, DOWN];

/// The tensors of a checkpoint, to be changed and written.
pub struct Store {
    pub config: Value,
    pub tensors: BTreeMap<String, Raw>,
}

impl Store {
    /// All in BF16.
    pub fn new() -> Store {
        let mut random = Random::new(7);
        let spec = nemotron::models::read(&config(), None).unwrap();
        let plain = |tensor: &Tensor| {
            let count = tensor.elements() as usize;
            let bytes = (0..count).flat_map(|_| bf16::from_f32(random.uniform()).to_le_bytes()).collect();
            (tensor.name.clone(), Raw::new(&tensor.name, Dtype::BF16, &tensor.shape, bytes))
        };
        Store { config: config(), tensors: spec.tensors().into_iter().map(plain).collect() }
    }

    /// The store with these tensors in place of a module's `.weight`.
    pub fn with(mut self, module: &str, tensors: Vec<Raw>) -> Store {
        self.tensors.remove(&format!("{module}.weight"));
        self.tensors.extend(tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)));
        self
    }

    /// The tensor of that name, to be changed.
    pub fn at(&mut self, name: &str) -> &mut Raw {
        self.tensors.get_mut(name).unwrap_or_else(|| panic!("{name} is stored"))
    }

    pub fn remove(&mut self, name: &str) {
        self.tensors.remove(name).unwrap_or_else(|| panic!("{name} is stored"));
    }

    /// The checkpoint in one file.
    pub fn write(&self) -> Fixture {
        let fixture = self.empty();
        fixture.write(WEIGHTS, file(self.tensors.values()));
        fixture
    }

    /// The checkpoint in two shards, the tensors by turns: scales are not where their codes are.
    pub fn write_shards(&self) -> Fixture {
        let fixture = self.empty();
        fixture.remove(WEIGHTS);
        let shard = |odd: usize| self.tensors.values().enumerate().filter(move |(i, _)| i % 2 == odd).map(|(_, it)| it);
        let mut map = serde_json::Map::new();
        for (odd, name) in SHARDS.iter().enumerate() {
            fixture.write(name, file(shard(odd)));
            map.extend(shard(odd).map(|tensor| (tensor.name.clone(), json!(name))));
        }
        fixture.write(INDEX, json!({"metadata": {"total_size": 0}, "weight_map": map}).to_string());
        fixture
    }

    fn empty(&self) -> Fixture {
        let fixture = Fixture::new();
        fixture.write("config.json", self.config.to_string());
        fixture
    }
}

fn file<'a>(tensors: impl Iterator<Item = &'a Raw>) -> Vec<u8> {
    let views =
        tensors.map(|raw| (raw.name.clone(), TensorView::new(raw.dtype, raw.shape.clone(), &raw.bytes).unwrap()));
    safetensors::serialize(views.collect::<Vec<_>>(), None).unwrap()
}

/// The checkpoint as a device would be handed it.
pub fn open(fixture: &Fixture) -> Result<(ModelSpec, Weights)> {
    load(Checkpoint::open_with_cache(fixture.path().to_str().unwrap(), None)?)
}
