"""Write tiny checkpoints of shapes that a published one may have: each row of ROWS is a folder of tests/golden.

Usage: python shapes.py OUT_DIR [NAME...]    then, for each: python expect.py OUT_DIR/NAME OUT_DIR/NAME/expected.safetensors
Needs torch, transformers, safetensors. What is shrunk, and by which rule, is said in tests/golden/README.md.
"""

import pathlib
import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM
from transformers import NemotronConfig, NemotronForCausalLM

# Sizes unless a row says otherwise: two layers, so that the second reads what the first has written.
SIZES = {
    "vocab_size": 96,
    "hidden_size": 40,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "tie_word_embeddings": False,
}

FAMILIES = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "nemotron": (NemotronConfig, NemotronForCausalLM),
}

# name: family, changes of SIZES, type on disk, bytes of a shard.
ROWS = {
    "mha": ("llama", {"num_key_value_heads": 4}, torch.bfloat16, None),
    "mqa": ("nemotron", {"num_key_value_heads": 1}, torch.bfloat16, None),
    "eight_heads_per_kv": (
        "nemotron",
        {"num_attention_heads": 16, "num_key_value_heads": 2, "hidden_size": 24},
        torch.bfloat16,
        None,
    ),
    "head_dim_96": (
        "llama",
        {"head_dim": 96, "num_attention_heads": 2, "num_key_value_heads": 1},
        torch.bfloat16,
        None,
    ),
    "head_dim_192": (
        "nemotron",
        {"head_dim": 192, "num_attention_heads": 2, "num_key_value_heads": 1, "hidden_size": 24},
        torch.bfloat16,
        None,
    ),
    "odd_vocab": ("nemotron", {"vocab_size": 101}, torch.bfloat16, None),
    "tied_head": ("llama", {"tie_word_embeddings": True}, torch.bfloat16, None),
    "llama_biases": ("llama", {"attention_bias": True, "mlp_bias": True}, torch.bfloat16, None),
    "nemotron_biases": ("nemotron", {"attention_bias": True, "mlp_bias": True}, torch.bfloat16, None),
    "f32": ("nemotron", {"hidden_size": 32}, torch.float32, None),
    "f16": ("llama", {}, torch.float16, 50_000),
    "sliding_window": ("mistral", {"sliding_window": 24}, torch.bfloat16, None),
    "sharded": ("llama", {}, torch.bfloat16, 40_000),
}


@torch.no_grad()
def fill(model, generator):
    """Every part of a block weighs as much as the stream it adds to, and no norm or bias is neutral."""
    for name, parameter in model.named_parameters():
        normal = torch.randn(parameter.shape, generator=generator)
        if "norm" in name and name.endswith("weight"):
            own = 0.0 if model.config.model_type == "nemotron" else 1.0
            parameter.copy_(own + 0.2 * normal)
        elif name.endswith("bias"):
            parameter.copy_(0.3 * normal)
        elif "embed" in name:
            parameter.copy_(normal)
        else:
            sharpness = 1.5 if "q_proj" in name or "k_proj" in name else 1.0
            parameter.copy_(sharpness * normal / parameter.shape[1] ** 0.5)


def main():
    out = pathlib.Path(sys.argv[1])
    for index, (name, (family, changes, dtype, shard)) in enumerate(ROWS.items()):
        if sys.argv[2:] and name not in sys.argv[2:]:
            continue
        config_class, model_class = FAMILIES[family]
        config = config_class(**{**SIZES, **({"sliding_window": None} if family == "mistral" else {}), **changes})
        model = model_class(config)
        fill(model, torch.Generator().manual_seed(index))
        shards = {"max_shard_size": shard} if shard else {}
        model.to(dtype).save_pretrained(out / name, **shards)


if __name__ == "__main__":
    main()
