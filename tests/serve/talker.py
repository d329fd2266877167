"""A checkpoint that answers everything with the same text, made of another one of the family `nemotron`."""

import json
import pathlib
import shutil
import struct


def bf16(rows, width, ones):
    """A matrix of zeros with ones at (row, column), as bytes."""
    data = bytearray(2 * rows * width)
    for row, column in ones:
        struct.pack_into("<H", data, 2 * (row * width + column), 0x3F80)
    return bytes(data)


def write(source, folder, template, pieces):
    """Writes the checkpoint into `folder`; the answer is `pieces`, each a token of its own.

    No layer adds anything. The embedding of a piece has a one in a place of its own, and so has the row of the head that belongs to the
    piece behind it; all other tokens share the place from which the first piece follows.
    """
    source, folder = pathlib.Path(source), pathlib.Path(folder)
    config = json.loads((source / "config.json").read_text())
    vocab, hidden = config["vocab_size"], config["hidden_size"]
    assert len(pieces) + 1 < min(hidden, vocab // 4), "the model is too small"
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    eos = next(token["id"] for token in tokenizer["added_tokens"] if token["content"] == "</s>")
    # The last tokens of the vocabulary become the pieces.
    ids = list(range(vocab - len(pieces), vocab))
    words = tokenizer["model"]["vocab"]
    for word in [word for word, index in words.items() if index in ids]:
        del words[word]
    pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in tokenizer["model"]["merges"]]
    tokenizer["model"]["merges"] = [[a, b] for a, b in pairs if {a, b, a + b} <= words.keys()]
    for index, piece in zip(ids, pieces):
        words[piece] = index
        tokenizer["added_tokens"].append(
            {"id": index, "content": piece, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
        )
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "chat_template.jinja").write_text(template)
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4096, "tie_word_embeddings": False}))
    shutil.copy(source / "tokenizer_config.json", folder)
    places = {index: place + 1 for place, index in enumerate(ids)}
    embedding = [(row, places.get(row, 0)) for row in range(vocab)]
    head = [(after, place) for place, after in enumerate(ids + [eos])]
    weights(source / "model.safetensors", folder / "model.safetensors", bf16(vocab, hidden, embedding), bf16(vocab, hidden, head), (vocab, hidden))


def weights(source, target, embedding, head, shape):
    """The file with that embedding and head, and zeros for all other weights: a norm of this family adds one to its own."""
    data = source.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    entries = json.loads(data[8 : 8 + size])
    entries.pop("__metadata__", None)
    length = {name: entry["data_offsets"][1] - entry["data_offsets"][0] for name, entry in entries.items()}
    tensors = {name: (entry["dtype"], entry["shape"], bytes(length[name])) for name, entry in entries.items()}
    tensors["model.embed_tokens.weight"] = ("BF16", shape, embedding)
    tensors["lm_head.weight"] = ("BF16", shape, head)
    header, end = {}, 0
    for name, (dtype, sizes, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": sizes, "data_offsets": [end, end + len(raw)]}
        end += len(raw)
    text = json.dumps(header).encode()
    target.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(raw for _, _, raw in tensors.values()))
