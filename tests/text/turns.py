"""Ids of conversations of several turns: `pip install transformers jinja2`, then `python tests/text/turns.py`.

The demo model's tokenizer with other parts; the ids are those of the package `tokenizers` for the whole text that
transformers' template makes of all turns.
"""

import json
import tempfile
from pathlib import Path

from tokenizers import Tokenizer, __version__
from transformers import AutoTokenizer

HERE = Path(__file__).resolve().parent
MODEL = HERE.parent.parent / "models/storyteller"
TALKS = [
    ["Hello, my name is Ada.", "", "What is three plus four?"],
    ["Tell a story.", "Once upon a time,  there was a fox.", "And then?"],
    ["むかし", " 🦊 naïve ", "é\u0301!"],
    ["a", "b\n\nc", "d", " e</s> f <extra_id_1> g", "h"],
]


def metaspace(scheme, split=True):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}


def added(**flags):
    tokens = json.loads((MODEL / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    return [{**token, **flags} for token in tokens]


LLAMA2 = {
    "normalizer": {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    },
    "pre_tokenizer": None,
}
STRIPPED = {"type": "Sequence", "normalizers": [{"type": "Strip", "strip_left": True, "strip_right": True}]}
PARTS = {
    "as it is": {},
    "llama 2": LLAMA2,
    "llama 2, rstrip": LLAMA2 | {"added_tokens": added(rstrip=True)},
    "metaspace always": {"pre_tokenizer": metaspace("always")},
    "metaspace never": {"pre_tokenizer": metaspace("never")},
    "metaspace first, unsplit": {"pre_tokenizer": metaspace("first", False)},
    "metaspace always, unsplit": {"pre_tokenizer": metaspace("always", False)},
    "rstrip": {"added_tokens": added(rstrip=True)},
    "lstrip": {"added_tokens": added(lstrip=True)},
    "both": {"added_tokens": added(lstrip=True, rstrip=True), "pre_tokenizer": metaspace("always")},
    "not special": {"added_tokens": added(special=False)},
    "normalized": LLAMA2 | {"added_tokens": added(special=False, normalized=True)},
    "NFC": {"normalizer": {"type": "NFC"}},
    "NFKD, lower": {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKD"}, {"type": "Lowercase"}]}},
    "strip": {"normalizer": STRIPPED},
}


def messages(talk):
    return [{"role": ["user", "assistant"][turn % 2], "content": text} for turn, text in enumerate(talk)]


def main():
    template = AutoTokenizer.from_pretrained(MODEL)
    texts = [
        template.apply_chat_template(messages(talk), tokenize=False, add_generation_prompt=True) for talk in TALKS
    ]
    tokenizers = []
    for name, parts in PARTS.items():
        file = json.loads((MODEL / "tokenizer.json").read_text(encoding="utf-8")) | parts
        tokenizer = Tokenizer.from_str(json.dumps(file))
        ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
        tokenizers.append({"name": name, "parts": parts, "ids": ids})
    result = {"tokenizers_version": __version__, "talks": TALKS, "tokenizers": tokenizers}
    text = json.dumps(result, ensure_ascii=False, separators=(",", ":"))
    (HERE / "turns.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
