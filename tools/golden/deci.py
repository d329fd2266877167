"""Write tests/golden/deci: a DeciLM checkpoint and what it must give, from the model's formulas alone, in numpy and f64.

Usage: python deci.py OUT_DIR          Needs numpy and safetensors, no implementation of the model.

The f32 columns of expected.safetensors hold the f64 results; the bf16 ones those of the same walk with every rounding
point of the bf16 path (products: f64 sums of bf16 factors, rounded once; attention as in eager transformers).
"""

import json
import pathlib
import sys

import numpy as np
from safetensors.numpy import save_file

HIDDEN, HEADS, HEAD_DIM, VOCAB, EPS = 32, 4, 32, 96, 1e-5
THETA, FACTOR, LOW, HIGH, ORIGINAL = 500000.0, 8.0, 1.0, 4.0, 64
GREEDY = 24


def attention(**set_):
    keys = ["no_op", "replace_with_linear", "unshifted_sink", "use_prefill_window_in_sink_attention"]
    nothing = {**dict.fromkeys(keys, False), "num_sink_tokens": None, "sparsify": None, "window_length": None}
    return {**nothing, "n_heads_in_group": None, **set_}


def ffn(**set_):
    return {"no_op": False, "replace_with_linear": False, "sparsify": None, "ffn_mult": None, **set_}


LAYERS = [
    (attention(n_heads_in_group=2), ffn(ffn_mult=2.625)),
    (attention(replace_with_linear=True), ffn(intermediate_size=40, hidden_act="silu")),
    (attention(no_op=True), ffn(replace_with_linear=True)),
    (attention(no_op=True), ffn(no_op=True)),
    (attention(n_heads_in_group=4), ffn(no_op=True)),
    (attention(n_heads_in_group=1), ffn(intermediate_size=24)),
]

CONFIG = {
    "architectures": ["DeciLMForCausalLM"],
    "model_type": "nemotron-nas",
    "attention_bias": False,
    "mlp_bias": False,
    "block_configs": [{"attention": a, "ffn": f} for a, f in LAYERS],
    "bos_token_id": 2,
    "eos_token_id": 3,
    "head_dim": HEAD_DIM,
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "intermediate_size": None,
    "max_position_embeddings": 512,
    "num_attention_heads": HEADS,
    "num_hidden_layers": len(LAYERS),
    "num_key_value_heads": None,
    "rms_norm_eps": EPS,
    "rope_scaling": {
        "factor": FACTOR,
        "low_freq_factor": LOW,
        "high_freq_factor": HIGH,
        "original_max_position_embeddings": ORIGINAL,
        "rope_type": "llama3",
    },
    "rope_theta": THETA,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": VOCAB,
}


def bits(x):
    """bf16 bits of the nearest values, ties to even."""
    word = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32).astype(np.uint64)
    return ((word + 0x7FFF + ((word >> 16) & 1)) >> 16).astype(np.uint16)


def rounded(x):
    return (bits(x).astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def exact(x):
    return x


def intermediate(config):
    if "intermediate_size" in config:
        return config["intermediate_size"]
    return -(-int(2 * config["ffn_mult"] * HIDDEN / 3) // 256) * 256


def shapes():
    """Name and shape of every tensor."""
    yield "model.embed_tokens.weight", (VOCAB, HIDDEN)
    for i, (a, f) in enumerate(LAYERS):
        layer = f"model.layers.{i}."
        if not a["no_op"]:
            yield layer + "input_layernorm.weight", (HIDDEN,)
            if a["replace_with_linear"]:
                yield layer + "self_attn.linear_attn.weight", (HIDDEN, HIDDEN)
            else:
                width, kv = HEADS * HEAD_DIM, HEADS // a["n_heads_in_group"] * HEAD_DIM
                yield layer + "self_attn.q_proj.weight", (width, HIDDEN)
                yield layer + "self_attn.k_proj.weight", (kv, HIDDEN)
                yield layer + "self_attn.v_proj.weight", (kv, HIDDEN)
                yield layer + "self_attn.o_proj.weight", (HIDDEN, width)
        if not f["no_op"]:
            yield layer + "post_attention_layernorm.weight", (HIDDEN,)
            if f["replace_with_linear"]:
                yield layer + "mlp.linear_mlp.weight", (HIDDEN, HIDDEN)
            else:
                width = intermediate(f)
                yield layer + "mlp.gate_proj.weight", (width, HIDDEN)
                yield layer + "mlp.up_proj.weight", (width, HIDDEN)
                yield layer + "mlp.down_proj.weight", (HIDDEN, width)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCAB, HIDDEN)


def weights():
    random = np.random.default_rng(0)
    made = {}
    for name, shape in shapes():
        normal = random.standard_normal(shape)
        if len(shape) == 1:
            made[name] = rounded(1 + 0.2 * normal)
        else:
            made[name] = rounded(normal if "embed" in name else normal / shape[1] ** 0.5)
    return made


def rotary(positions):
    """Cosines and sines, [positions, HEAD_DIM / 2]; frequencies and angles in f32."""
    exponent = np.arange(0, HEAD_DIM, 2, dtype=np.float32) / np.float32(HEAD_DIM)
    plain = (np.float32(1) / np.float32(THETA) ** exponent).astype(np.float32)
    wave = 2 * np.pi / plain
    smooth = (ORIGINAL / wave - LOW) / (HIGH - LOW)
    between = (1 - smooth) * plain / FACTOR + smooth * plain
    stretched = np.where(wave > ORIGINAL / LOW, plain / FACTOR, between)
    frequencies = np.where(wave < ORIGINAL / HIGH, plain, stretched).astype(np.float32)
    angles = np.arange(positions, dtype=np.float32)[:, None] * frequencies[None]
    return np.cos(angles.astype(np.float64)), np.sin(angles.astype(np.float64))


def norm(x, weight, r):
    return r(weight * r(x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS)))


def rotate(x, cos, sin, r):
    """x [tokens, heads, HEAD_DIM]: halves are pairs."""
    low, high = np.split(x, 2, axis=-1)
    cos, sin = cos[:, None], sin[:, None]
    return np.concatenate([r(r(low * cos) + r(-high * sin)), r(r(high * cos) + r(low * sin))], axis=-1)


def attend(n, w, layer, group, r):
    tokens = len(n)
    q, k, v = (r(n @ w[f"{layer}self_attn.{p}_proj.weight"].T).reshape(tokens, -1, HEAD_DIM) for p in "qkv")
    cos, sin = (r(table) for table in rotary(tokens))
    q, k = rotate(q, cos, sin, r), rotate(k, cos, sin, r)
    k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
    scores = r(r(np.einsum("qhd,khd->hqk", q, k)) * HEAD_DIM**-0.5)
    scores = np.where(np.tril(np.ones((tokens, tokens), bool)), scores, -np.inf)
    weights_ = np.exp(scores - scores.max(-1, keepdims=True))
    weights_ = r(weights_ / weights_.sum(-1, keepdims=True))
    mixed = r(np.einsum("hqk,khd->qhd", weights_, v)).reshape(tokens, -1)
    return r(mixed @ w[layer + "self_attn.o_proj.weight"].T)


def gated(n, w, layer, r):
    gate, up = (r(n @ w[f"{layer}mlp.{p}_proj.weight"].T) for p in ("gate", "up"))
    return r(r(r(gate / (1 + np.exp(-gate))) * up) @ w[layer + "mlp.down_proj.weight"].T)


def logits(ids, w, r):
    x = w["model.embed_tokens.weight"][ids]
    for i, (a, f) in enumerate(LAYERS):
        layer = f"model.layers.{i}."
        if not a["no_op"]:
            n = norm(x, w[layer + "input_layernorm.weight"], r)
            linear = a["replace_with_linear"]
            x = r(x + (r(n @ w[layer + "self_attn.linear_attn.weight"].T) if linear
                       else attend(n, w, layer, a["n_heads_in_group"], r)))
        if not f["no_op"]:
            n = norm(x, w[layer + "post_attention_layernorm.weight"], r)
            linear = f["replace_with_linear"]
            x = r(x + (r(n @ w[layer + "mlp.linear_mlp.weight"].T) if linear else gated(n, w, layer, r)))
    return r(norm(x, w["model.norm.weight"], r) @ w["lm_head.weight"].T)


def greedy(ids, w):
    start = len(ids)
    for _ in range(GREEDY):
        ids = np.append(ids, logits(ids, w, exact)[-1].argmax())
    return ids[start:]


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    w = weights()
    random, expected = np.random.default_rng(1), {}
    for n in (1, 7, 33, 130):
        ids = random.integers(6, VOCAB, n)
        expected[f"ids_{n}"] = ids.astype(np.int32)
        for name, r in (("f32", exact), ("bf16", rounded)):
            rows = logits(ids, w, r)
            expected[f"logits_{name}_{n}"] = rows[-4 if n > 40 else 0 :].astype(np.float32)
        expected[f"greedy_f32_{n}"] = greedy(ids, w).astype(np.int32)
    save_file(expected, out / "expected.safetensors")
    (out / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    save_bf16(w, out / "model.safetensors")


def save_bf16(tensors, path):
    """numpy has no bf16: the file is written by hand."""
    header, data = {}, b""
    for name, values in tensors.items():
        raw = bits(values).tobytes()
        header[name] = {"dtype": "BF16", "shape": values.shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


if __name__ == "__main__":
    main()
