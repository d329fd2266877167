"""Digests of the Python package `tokenizers` for the text tests: `pip install tokenizers`, then `python tests/text/lines.py`.

2 000 mixed lines, and for each and each tokenizer of snapshots.py the FNV-1a digest (32 bits) of its ids, little-endian,
and of the UTF-8 bytes of what they decode to.
"""

import json
import struct

import snapshots
from tokenizers import Tokenizer, __version__


def digest(ids, text):
    value = 0x811C9DC5
    for byte in b"".join(struct.pack("<I", id_) for id_ in ids) + text.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def digests(path, lines):
    tokenizer = Tokenizer.from_file(str(path))
    encoded = [tokenizer.encode(line).ids for line in lines]
    return [digest(ids, tokenizer.decode(ids)) for ids in encoded]


def main():
    snapshots.LINES = 2000
    lines = snapshots.lines()
    paths = {name: snapshots.HERE / name / "tokenizer.json" for name in snapshots.SPLITS}
    paths["storyteller"] = snapshots.ROOT / "models/storyteller/tokenizer.json"
    result = {
        "tokenizers": __version__,
        "lines": lines,
        "digests": {name: digests(path, lines) for name, path in paths.items()},
    }
    text = json.dumps(result, ensure_ascii=False, separators=(",", ":"))
    (snapshots.HERE / "lines.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
