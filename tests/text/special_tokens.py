"""Right values for the files beside tokenizer.json: `pip install transformers jinja2`, then `python tests/text/special_tokens.py`.

Each case is a set of such files beside the tokenizer of tests/text/llama3; transformers says what they make of it.
"""

import json
import shutil
import tempfile
from pathlib import Path

import transformers
from transformers import AutoTokenizer

HERE = Path(__file__).resolve().parent
CONFIG, MAP, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
CLASS = {"tokenizer_class": "PreTrainedTokenizerFast"}
PLAIN = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
TEXTS = ["a<|turn|>b <think> c</s>d", "<|a|> x <|b|>y\n<|c|> z", "thinker <word> a<word>b <word>", "<s>Hi<|bos|><unk>"]


def token(content, special=True, **flags):
    return {"content": content, **PLAIN, "special": special, **flags}


def typed(content, **flags):
    return {"__type": "AddedToken", "content": content, **PLAIN, **flags}


CASES = {
    "nothing": {CONFIG: CLASS},
    "named_as_texts": {CONFIG: CLASS | {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}},
    "named_as_objects": {CONFIG: CLASS | {"bos_token": typed("<s>"), "eos_token": typed("<|turn|>", lstrip=True, special=True)}},
    "eos_that_is_no_token_yet": {CONFIG: CLASS | {"eos_token": "<|turn|>", "pad_token": "<|b|>"}},
    "bos_that_is_a_word_of_the_vocabulary": {CONFIG: CLASS | {"bos_token": "a", "cls_token": "<|c|>"}},
    "named_null": {CONFIG: CLASS | {"bos_token": None, "eos_token": "</s>"}, MAP: {"eos_token": None, "bos_token": "<s>"}},
    "map_alone": {CONFIG: CLASS, MAP: {"bos_token": "<s>", "eos_token": {"content": "</s>", **PLAIN}}},
    "map_over_config": {CONFIG: CLASS | {"bos_token": "<s>"}, MAP: {"bos_token": "<|bos|>"}},
    "map_beside_decoder": {
        CONFIG: CLASS | {"added_tokens_decoder": {"0": token("<unk>")}, "eos_token": "</s>"},
        MAP: {"bos_token": "<s>", "eos_token": "<|turn|>"},
    },
    "map_with_additional": {CONFIG: CLASS, MAP: {"additional_special_tokens": ["<|a|>", "<|b|>"], "bos_token": "<s>"}},
    "additional_in_both": {
        CONFIG: CLASS | {"additional_special_tokens": ["<|c|>"]},
        MAP: {"additional_special_tokens": ["<|a|>", "<|b|>"]},
    },
    "map_with_extra": {
        CONFIG: CLASS | {"extra_special_tokens": ["<|c|>"]},
        MAP: {"extra_special_tokens": ["<|a|>", {"content": "<|b|>", **PLAIN, "rstrip": True}, "<|c|>"]},
    },
    "decoder": {CONFIG: CLASS | {"added_tokens_decoder": {"640": token("<|turn|>"), "641": token("<think>", False)}}},
    "decoder_out_of_order": {
        CONFIG: CLASS | {"added_tokens_decoder": {"900": token("<|a|>"), "700": token("<|b|>"), "1000": token("<|c|>")}}
    },
    "decoder_with_flags": {
        CONFIG: CLASS
        | {
            "added_tokens_decoder": {
                "640": token("<|a|>", rstrip=True),
                "641": token("<|b|>", lstrip=True),
                "642": token("<word>", single_word=True),
                "643": token("think", False, normalized=True),
                "2": token("</s>", False),
            }
        }
    },
    "decoder_and_named": {
        CONFIG: CLASS
        | {
            "added_tokens_decoder": {"640": token("<|turn|>", False), "641": token("<think>", False)},
            "eos_token": "<|turn|>",
            "additional_special_tokens": ["<think>", "<|a|>"],
        }
    },
    "added_tokens": {CONFIG: CLASS | {"eos_token": "<|turn|>"}, ADDED: {"<think>": 641, "<|turn|>": 640}},
    "added_tokens_beside_decoder": {
        CONFIG: CLASS | {"added_tokens_decoder": {"640": token("<|turn|>")}},
        ADDED: {"<think>": 641},
    },
    "added_tokens_that_tokenizer_json_has": {CONFIG: CLASS, ADDED: {"</s>": 2, "<|a|>": 1, "<|b|>": 640}},
    "extra_list": {CONFIG: CLASS | {"extra_special_tokens": ["<|a|>", typed("<|b|>", rstrip=True), typed("<|c|>", special=True)]}},
    "extra_object": {CONFIG: CLASS | {"extra_special_tokens": {"image_token": "<|a|>", "turn_token": "<|turn|>"}}},
    "extra_and_additional": {CONFIG: CLASS | {"extra_special_tokens": ["<|a|>"], "additional_special_tokens": ["<|b|>"]}},
    "additional": {CONFIG: CLASS | {"additional_special_tokens": ["<|a|>", "<|turn|>"]}},
    "named_by_the_model": {CONFIG: CLASS | {"image_token": "<|a|>", "bos_token": "<s>"}},
}
TEMPLATE = (
    "{{ bos_token }}|{{ eos_token }}|{{ unk_token }}|{{ pad_token }}|{{ cls_token }}|{{ image_token }}|{{ turn_token }}"
)


def case(files):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        shutil.copy(HERE / "llama3/tokenizer.json", folder)
        for name, content in files.items():
            (folder / name).write_text(json.dumps(content), encoding="utf-8")
        tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = [tokenizer.encode(text, add_special_tokens=False) for text in TEXTS]
    return {
        "files": files,
        "ids": encoded,
        "decoded": [tokenizer.decode(ids, skip_special_tokens=True) for ids in encoded],
        "rendered": tokenizer.apply_chat_template([{"role": "user", "content": "x"}], chat_template=TEMPLATE, tokenize=False),
        "eos": tokenizer.eos_token_id,
    }


def main():
    result = {
        "transformers": transformers.__version__,
        "texts": TEXTS,
        "template": TEMPLATE,
        "cases": {name: case(files) for name, files in CASES.items()},
    }
    text = json.dumps(result, ensure_ascii=False, indent=1)
    (HERE / "special_tokens.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
