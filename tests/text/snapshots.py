"""Snapshots of the Python package `tokenizers` for the text tests: `pip install tokenizers`, then `python tests/text/snapshots.py`.

Trains two small byte-level tokenizers with the split expressions of Llama 3 and of Tekken, and records for them and for
the demo model's tokenizer what encode and decode give for mixed lines and for random ids (broken bytes among them).
"""

import json
import random
import sys
from pathlib import Path

import tokenizers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tools/demo-model"))
import stories  # noqa: E402

SPLITS = {
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "tekken": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
VOCABULARY = 640
LINES = 240
RANDOM_IDS = 60

ENGLISH = ["The quick brown fox jumps.", "It's Nora's kite, isn't it?", "  two  spaces  ", "I'LL say: DON'T!", "naïve café"]
JAPANESE = ["むかしむかし、", "静かな森にミアというきつねが住んでいました。", "東京タワー", "「ありがとう」", "龍が飛ぶ", "ﾊﾝｶｸ"]
CODE = ["fn main() {\n    println!(\"{}\", 1_000);\n}", "if x != y && z >= 10:", "a\t=\tb[3][0x1F];", "// 日本語 comment", "</s>"]
EMOJI = ["😀", "👩‍👩‍👧‍👦", "🇯🇵", "👍🏽", "🦊🌲", "e\u0301", "\u200b", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]
BROKEN = [b"\xe3\x81", b"\xff\xfe", b"\xf0\x9f\x98", b"a\x80b", b"\xc0\xaf", b"\xed\xa0\x80"]
PARTS = [ENGLISH, JAPANESE, CODE, EMOJI, [bytes_.decode(errors="replace") for bytes_ in BROKEN]]


def lines():
    rng = random.Random(1)
    alone = [part for kind in PARTS for part in kind] + ["", " ", "\n", "\n\n  \n", "<s>", "<extra_id_1>User\n", "1234567890"]
    mixed = [
        rng.choice(["", " "]).join(rng.choice(rng.choice(PARTS)) for _ in range(rng.randint(2, 5)))
        for _ in range(LINES - len(alone))
    ]
    return alone + mixed


def train(split):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(stories.corpus(200, seed=2) + ENGLISH + JAPANESE + EMOJI, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def bytes_of(tokenizer):
    """Ids that stand for single bytes, by byte-fallback or by the alphabet of byte-level."""
    fallback = [tokenizer.token_to_id(f"<0x{byte:02X}>") for byte in range(256)]
    alphabet = [tokenizer.token_to_id(character) for character in sorted(pre_tokenizers.ByteLevel.alphabet())]
    return fallback if fallback[0] is not None else alphabet


def random_ids(tokenizer, rng):
    """Any tokens, single bytes, and characters cut in the middle."""
    ids, single = [], bytes_of(tokenizer)
    for _ in range(rng.randint(1, 12)):
        kind = rng.randrange(4)
        if kind == 0:
            ids.append(rng.randrange(tokenizer.get_vocab_size()))
        elif kind == 1:
            ids += rng.choices(single, k=rng.randint(1, 3))
        else:
            character = tokenizer.encode(rng.choice(rng.choice([JAPANESE, EMOJI, ENGLISH])), add_special_tokens=False).ids
            ids += character[: rng.randint(1, len(character))] if kind == 2 else character
    return ids


def snapshot(tokenizer, texts):
    rng = random.Random(3)
    encoded = [tokenizer.encode(text).ids for text in texts]
    drawn = [random_ids(tokenizer, rng) for _ in range(RANDOM_IDS)]
    rows = [[{"ids": ids, "decoded": tokenizer.decode(ids)} for ids in group] for group in (encoded, drawn)]
    return {"encoded": rows[0], "drawn": rows[1]}


def main():
    texts = lines()
    snapshots = {"storyteller": snapshot(Tokenizer.from_file(str(ROOT / "models/storyteller/tokenizer.json")), texts)}
    for name, split in SPLITS.items():
        tokenizer = train(split)
        (HERE / name).mkdir(exist_ok=True)
        (HERE / name / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
        snapshots[name] = snapshot(tokenizer, texts)
    result = {"tokenizers": tokenizers.__version__, "texts": texts, "snapshots": snapshots}
    text = json.dumps(result, ensure_ascii=False, separators=(",", ":")).replace('{"ids"', '\n{"ids"')
    (HERE / "snapshots.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
