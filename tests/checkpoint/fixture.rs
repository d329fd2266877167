//! A tiny checkpoint in a directory of its own, to be changed and opened.
use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use nemotron::checkpoint::{Checkpoint, Dtype};
use nemotron::error::{Error, Result};
use nemotron::models;
use nemotron::models::spec::ModelSpec;
use nemotron::weights::Weights;
use safetensors::tensor::TensorView;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// One file of weights.
pub const WEIGHTS: &str = "model.safetensors";

/// The index of several.
pub const INDEX: &str = "model.safetensors.index.json";

/// A tensor to be written: name, shape, values.
pub type Values = (String, Vec<usize>, Vec<f32>);

/// A directory with a checkpoint in it, gone when the test ends.
pub struct Fixture(TempDir);

impl Fixture {
    /// A Llama of one layer, BF16, in one file.
    pub fn new() -> Fixture {
        let fixture = Fixture(tempfile::tempdir().unwrap());
        fixture.write("config.json", config().to_string());
        fixture.write(WEIGHTS, serialize(&values(&config()), Dtype::BF16));
        fixture
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file, and the directories on its way.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::create_dir_all(self.file(name).parent().unwrap()).unwrap();
        fs::write(self.file(name), bytes).unwrap();
    }

    /// The bytes of a file.
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.file(name)).unwrap()
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.file(name)).unwrap();
    }

    /// Rewrites the header of the weights, their data as it is.
    pub fn edit_header(&self, edit: impl FnOnce(&mut Map<String, Value>)) {
        let bytes = self.read(WEIGHTS);
        let data = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
        let mut header = serde_json::from_slice(&bytes[8..data]).unwrap();
        edit(&mut header);
        self.write(WEIGHTS, with_header(&serde_json::to_string(&header).unwrap(), &bytes[data..]));
    }

    /// Rewrites keys of config.json.
    pub fn edit_config(&self, changes: &[(&str, Value)]) {
        let mut config: Value = serde_json::from_slice(&self.read("config.json")).unwrap();
        for (key, value) in changes {
            config[key] = value.clone();
        }
        self.write("config.json", config.to_string());
    }

    /// Replaces the one file by two shards and their index; the second shard has what `second` says.
    pub fn shard(&self, second: impl Fn(&str) -> bool) {
        let (last, first): (Vec<_>, Vec<_>) = values(&config()).into_iter().partition(|tensor| second(&tensor.0));
        let mut map = Map::new();
        for (shard, tensors) in [(SHARDS[0], first), (SHARDS[1], last)] {
            self.write(shard, serialize(&tensors, Dtype::BF16));
            map.extend(tensors.into_iter().map(|(name, ..)| (name, json!(shard))));
        }
        self.write(INDEX, json!({"metadata": {"total_size": 0}, "weight_map": map}).to_string());
        self.remove(WEIGHTS);
    }

    /// Opens the checkpoint up to where its tensors would be handed to a device.
    pub fn load(&self) -> Result<(ModelSpec, Weights)> {
        load(Checkpoint::open_with_cache(self.path().to_str().unwrap(), None)?)
    }

    /// The checkpoint as its family reads it, with its notes and warnings.
    pub fn reading(&self) -> Result<models::Reading> {
        models::read_checkpoint(&Checkpoint::open_with_cache(self.path().to_str().unwrap(), None)?)
    }

    /// Rewrites the tensors of the one file.
    pub fn edit_tensors(&self, edit: impl FnOnce(&mut Vec<Values>)) {
        let mut tensors = values(&config());
        edit(&mut tensors);
        self.write(WEIGHTS, serialize(&tensors, Dtype::BF16));
    }

    /// Checks that the checkpoint is refused with this message, with details that hold all of `details`.
    pub fn refused(&self, message: &str, details: &[&str]) {
        check_refusal(&self.load().expect_err(message), message, details);
    }
}

/// The names of the two shards.
pub const SHARDS: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

/// Reads the family and checks the tensors of a checkpoint.
pub fn load(checkpoint: Checkpoint) -> Result<(ModelSpec, Weights)> {
    let spec = models::read_checkpoint(&checkpoint)?.spec;
    let weights = Weights::new(checkpoint);
    weights.check_all(&spec)?;
    Ok((spec, weights))
}

/// Checks the three lines of an error.
pub fn check_refusal(error: &Error, message: &str, details: &[&str]) {
    let printed = error.to_string();
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 3, "{printed}");
    assert_eq!(lines[0], format!("[ERROR] Model: {message}"), "{printed}");
    assert!(lines[1].len() > "Details: ".len() && lines[2].len() > "Hint: ".len(), "{printed}");
    for expected in details {
        assert!(lines[1].contains(expected), "expected {expected} in: {printed}");
    }
}

/// The config of the fixture.
pub fn config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 32, "intermediate_size": 40, "vocab_size": 11,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "hidden_act": "silu", "eos_token_id": 3
    })
}

/// The tensors that `config` asks for, with values of which most are neither bf16 nor f16.
pub fn values(config: &Value) -> Vec<Values> {
    let spec = models::read(config, None).unwrap();
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    let tensors = spec.tensors().into_iter();
    tensors
        .map(|t| (t.name.clone(), t.shape.clone(), (0..t.shape.iter().product()).map(|_| next()).collect()))
        .collect()
}

/// A safetensors file of these tensors as BF16, F16 or F32.
pub fn serialize(tensors: &[Values], dtype: Dtype) -> Vec<u8> {
    let encode = |value: &f32| match dtype {
        Dtype::BF16 => bf16::from_f32(*value).to_le_bytes().to_vec(),
        Dtype::F16 => f16::from_f32(*value).to_le_bytes().to_vec(),
        _ => value.to_le_bytes().to_vec(),
    };
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|tensor| tensor.2.iter().flat_map(encode).collect()).collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| (name, TensorView::new(dtype, shape.clone(), bytes).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

/// A safetensors file of a header and data.
pub fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}
