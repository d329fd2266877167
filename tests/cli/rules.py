"""Snapshots of transformers' generation for the CLI tests: `pip install transformers torch`, then `python tests/cli/rules.py`.

Continues the prompts greedily with the demo model in f32, once for each generation_config.json below, and records the ids.
Ids of the rules are those that the model chooses without them, so that each rule changes something.
"""

import json
from pathlib import Path

import torch
import transformers

HERE = Path(__file__).resolve().parent
MODEL = HERE.parent.parent / "models" / "storyteller"
TOKENS = 24
PROMPTS = ["Once upon a time", "The capital of France is"]


def rules(plain, prompt, eos):
    """Generation configs whose ids come from what the model chooses without rules."""
    a, b, c = plain[2], plain[3], plain[5]
    yield {}
    yield {"suppress_tokens": sorted({a, c} - {eos})}
    yield {"begin_suppress_tokens": [plain[0], b]}
    yield {"begin_suppress_tokens": [plain[0]], "suppress_tokens": [plain[0], b]}
    yield {"bad_words_ids": [[a], [plain[3], plain[4]], [9, 9, 9]]}
    yield {"bad_words_ids": [plain[1:4], plain[0:2], prompt[-2:] + plain[:1]]}
    yield {"no_repeat_ngram_size": 1}
    yield {"no_repeat_ngram_size": 2}
    yield {"no_repeat_ngram_size": 3, "repetition_penalty": 1.3}
    yield {"min_new_tokens": 12}
    yield {"min_length": len(prompt) + 9}
    yield {"forced_eos_token_id": eos}
    yield {"forced_eos_token_id": [a], "max_new_tokens": 5}
    yield {"forced_eos_token_id": sorted([c, a], reverse=True), "max_new_tokens": 5}
    yield {"max_length": len(prompt) + 7, "max_new_tokens": None}
    yield {"max_length": 20, "max_new_tokens": None, "forced_eos_token_id": [c, b], "min_new_tokens": 12}
    yield {"max_length": len(prompt) + 2, "max_new_tokens": 6}
    yield {"sequence_bias": [[[a], -3.0], [plain[3:5], -20.0], [[c], 4.5]], "repetition_penalty": 1.2}
    yield {"sequence_bias": [[plain[1:3], -5.0], [[plain[2]], 1.0], [plain[:3], -4.0]], "min_new_tokens": 20}
    yield {"repetition_penalty": 1.4, "suppress_tokens": [b], "no_repeat_ngram_size": 2, "min_new_tokens": 15}


def generate(model, prompt, keys):
    config = transformers.GenerationConfig.from_pretrained(MODEL)
    # The token of the end of a turn, which the template prints, ends an answer too.
    config.update(**{"max_new_tokens": TOKENS, "do_sample": False, "eos_token_id": [3, 5], **keys})
    ids = torch.tensor([prompt])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
    return out[0, len(prompt) :].tolist()


def main():
    torch.set_grad_enabled(False)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(MODEL / "tokenizer.json"))
    model = transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
    eos = model.generation_config.eos_token_id
    rows = []
    for text in PROMPTS:
        prompt = tokenizer(text)["input_ids"]
        plain = generate(model, prompt, {"min_new_tokens": TOKENS})
        for keys in rules(plain, prompt, eos):
            rows.append({"prompt": text, "prompt_ids": prompt, "keys": keys, "ids": generate(model, prompt, keys)})
    (HERE / "rules.json").write_text(
        "[\n" + ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows) + "\n]\n"
    )


main()
