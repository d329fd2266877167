//! Copies of the quantized sets of `tests/golden`, of every exporter and format, to be damaged one file at a time.
use std::fs;
use std::path::Path;

use nemotron::error::Result;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::golden::root;

const SETS: [&str; 9] = [
    "llama_gptq_8bit",
    "llama_gptq_act_order",
    "llama_int4_awq",
    "llama_nvfp4",
    "mistral_awq",
    "mistral_ct_fp8_block",
    "mistral_ct_int4_asym",
    "nemotron_fp8",
    "nemotron_h_latent_mixed",
];

/// Files beside config.json that say how weights are quantized.
pub const FILES: [&str; 3] = ["hf_quant_config.json", "quantize_config.json", "quant_config.json"];

/// A copy in a folder of its own.
pub struct Set(TempDir);

/// One of each.
pub fn sets() -> Vec<Set> {
    let copy = |name: &str| {
        let (folder, golden) = (tempfile::tempdir().unwrap(), root().join("tests/golden").join(name));
        for name in ["config.json", "model.safetensors"].into_iter().chain(FILES) {
            if golden.join(name).exists() {
                fs::copy(golden.join(name), folder.path().join(name)).unwrap();
            }
        }
        Set(folder)
    };
    SETS.into_iter().map(copy).collect()
}

impl Set {
    /// The bytes of a file; of one beside the config that the set does not have, what its config says.
    pub fn source(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.path().join(name)).unwrap_or_else(|_| {
            let config: Value = serde_json::from_slice(&fs::read(self.0.path().join("config.json")).unwrap()).unwrap();
            let section = config["quantization_config"].clone();
            json!({ "quantization": section, "bits": 4, "checkpoint_format": "gptq" }).to_string().into_bytes()
        })
    }

    /// What `read` makes of the set with other bytes in a file.
    pub fn with(&self, name: &str, bytes: &[u8], read: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let path = self.0.path().join(name);
        let before = fs::read(&path).ok();
        // A new file: one that is mapped and becomes shorter ends the process.
        let _ = fs::remove_file(&path);
        fs::write(&path, bytes).unwrap();
        let result = read(self.0.path());
        fs::remove_file(&path).unwrap();
        if let Some(before) = before {
            fs::write(&path, before).unwrap();
        }
        result
    }
}
