"""Writes configs.json: what transformers' AutoConfig makes of config.json files that are odd, short or say two things.

    python3 tests/checkpoint/configs.py > tests/checkpoint/configs.json
"""
import json
import tempfile
from pathlib import Path

import transformers
from huggingface_hub.errors import StrictDataclassFieldValidationError
from transformers import AutoConfig

BASE = {
    "hidden_size": 128, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 33,
    "torch_dtype": "bfloat16",
}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
CHANGES = [
    {},
    {"rope_theta": 500.0},
    {"rope_scaling": {"rope_type": "default", "rope_theta": 500.0}},
    {"rope_scaling": {"type": "default", "rope_theta": 500.0}, "rope_theta": 7000.0},
    {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}, "rope_theta": 7000.0},
    {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}, "rope_scaling": None},
    {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}, "rope_scaling": {}},
    {"rope_parameters": {"rope_theta": 500.0}, "rope_scaling": {"rope_type": "linear", "factor": 2.0}},
    {"rope_parameters": {"rope_theta": 500.0}, "rope_scaling": {"type": "linear", "factor": 2.0}, "rope_theta": 30.0},
    {"rope_parameters": {"rope_type": "linear", "factor": 4.0}, "rope_scaling": {"type": "linear", "factor": 2.0}},
    {"rope_parameters": {"rope_type": "linear", "type": "default", "factor": 4.0}},
    {"rope_parameters": {"type": "linear", "factor": 4.0, "rope_theta": 20.0}},
    {"rope_scaling": {"rope_type": "default", "type": "linear", "factor": 4.0}},
    {"rope_scaling": {"factor": 4.0}},
    {"factor": 4.0},
    {"rope_parameters": {"rope_theta": 20}, "rope_theta": 20.0},
    {"rope_scaling": {**LLAMA3, "original_max_position_embeddings": 64}},
    {"rope_scaling": {**LLAMA3, "original_max_position_embeddings": 64, "rope_theta": 9.0}, "rope_theta": 5e5},
    {"rope_scaling": LLAMA3, "max_position_embeddings": 512},
    {"rope_parameters": LLAMA3},
    {"rope_scaling": {**LLAMA3, "original_max_position_embeddings": 64}, "original_max_position_embeddings": 32},
    {"partial_rotary_factor": 0.25},
    {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.25}},
    {"rope_parameters": {"rope_theta": 5.0, "partial_rotary_factor": 0.25}, "partial_rotary_factor": 0.75},
    {"rope_scaling": {"rope_theta": 5.0, "partial_rotary_factor": 0.25}, "rope_theta": 6.0},
    {"rope_scaling": {"rope_theta": 5.0}, "partial_rotary_factor": 0.25},
    {"num_key_value_heads": 2},
    {"num_key_value_heads": 2, "num_query_groups": 4},
    {"num_key_value_heads": None},
    {"head_dim": 64},
    {"head_dim": 64, "kv_channels": 96},
    {"head_dim": None},
    {"max_position_embeddings": 77, "n_positions": 78},
    {"rms_norm_eps": 1e-4, "norm_eps": 1e-3},
    {"norm_eps": 1e-3},
    {"norm_eps": 1e-3, "layer_norm_eps": 1e-2},
    {"hidden_act": "ACT", "hidden_activation": "gelu"},
    {"hidden_activation": "gelu"},
    {"tie_word_embeddings": True},
    {"tie_word_embeddings": False},
    {"sliding_window": None},
    {"sliding_window": 16},
    {"attention_bias": True},
]
FAMILIES = {"llama": ("LlamaForCausalLM", "silu"), "mistral": ("MistralForCausalLM", "silu"),
            "nemotron": ("NemotronForCausalLM", "relu2")}


def rows_of(family, changes):
    architecture, activation = FAMILIES[family]
    config = {**BASE, "architectures": [architecture], "model_type": family, **changes}
    if config.get("hidden_act") == "ACT":
        config["hidden_act"] = activation
    if family == "mistral" and "num_key_value_heads" not in changes:
        config["num_attention_heads"], config["hidden_size"] = 8, 256
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config))
        try:
            read = AutoConfig.from_pretrained(folder)
        except StrictDataclassFieldValidationError:
            return []
    # Llama's and Mistral's own RoPE reads no share. A model asks once more, when it is made: what stands in the config itself then counts for llama3.
    read.standardize_rope_params()
    rope = read.rope_parameters
    values = {
        "head_dim": read.head_dim, "context": read.max_position_embeddings,
        "eps": read.norm_eps if family == "nemotron" else read.rms_norm_eps, "tied": read.tie_word_embeddings,
        "activation": read.hidden_act, "theta": rope["rope_theta"], "rope": rope["rope_type"],
        "share": rope.get("partial_rotary_factor", 1.0) if family == "nemotron" else 1.0,
        "kv_heads": read.num_key_value_heads or read.num_attention_heads,
        "window": read.sliding_window if family == "mistral" else None,
    }
    if rope["rope_type"] != "default":
        values["factor"] = rope["factor"]
    if rope["rope_type"] == "llama3":
        values["original"] = rope["original_max_position_embeddings"]
    return [{"config": config, "values": values}]


if __name__ == "__main__":
    rows = [row for family in FAMILIES for changes in CHANGES for row in rows_of(family, changes)]
    print('{"transformers": "%s", "rows": [' % transformers.__version__)
    print(",\n".join(json.dumps(row) for row in rows) + "\n]}")
