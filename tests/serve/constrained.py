"""What constrained streams cost the others: tokens per second of so many streams, all of them free, and half of them held to a JSON schema.

    constrained.py --nemotron target/release/nemotron --model DIR --device 0 [--streams 64] [--tokens 400]

Rounds of both take turns; ratios of medians are printed. The schema has no end within the tokens, so that all streams generate
as many. With --vocabulary the model's tokenizer.json is written anew: byte-level, with as many tokens of letters, digits and
punctuation as the model has, so that masks are as large as those of published models."""
import argparse
import concurrent.futures
import itertools
import json
import pathlib
import random
import socket
import statistics
import subprocess
import sys
import time
import urllib.request

SCHEMA = {
    "type": "array", "minItems": 10_000, "items": {
        "type": "object", "additionalProperties": False, "required": ["name", "count", "tags"], "properties": {
            "name": {"type": "string", "maxLength": 40},
            "count": {"type": "integer", "minimum": 0, "maximum": 100_000},
            "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "minItems": 1, "maxItems": 4},
        },
    },
}


def alphabet():
    """The letters that stand for bytes in byte-level tokenizers."""
    prints = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in prints]
    return {**{byte: chr(byte) for byte in prints}, **{byte: chr(0x100 + place) for place, byte in enumerate(others)}}


def vocabulary(path, size):
    """A byte-level tokenizer.json of `size` tokens."""
    letters, chance = alphabet(), random.Random(1)
    words = ["<pad>", "<unk>", "<s>", "</s>", *letters.values()]
    known = set(words)
    pieces = ["th", "er", "in", "an", "re", "on", "at", "en", "st", "or", "le", "ing", "ed", "es", "ar", "1", "20", "7", '"', '":', "{", "}", ",", "[", "a", "o", "s", "t"]
    while len(words) < size:
        word = (letters[32] if chance.random() < 0.5 else "") + "".join(chance.choices(pieces, k=chance.randint(1, 4)))
        if word not in known:
            known.add(word)
            words.append(word)
    special = [{"id": id, "content": word, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
               for id, word in enumerate(words[:4])]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    path.write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
        "pre_tokenizer": level, "post_processor": None, "decoder": level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": {word: id for id, word in enumerate(words)},
                  "merges": []},
    }))


def serve(options):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [options.nemotron, "serve", "--model", options.model, "--device", options.device, "--port", str(port),
               "--max-sequences", str(options.streams), *(["--context", options.context] if options.context else [])]
    process, url = subprocess.Popen(command, stderr=subprocess.DEVNULL), f"http://127.0.0.1:{port}"
    while process.poll() is None:
        try:
            urllib.request.urlopen(url + "/health")
            return process, url
        except OSError:
            time.sleep(0.2)
    raise SystemExit("the server did not start")


def ask(url, index, tokens, constrained):
    body = {"prompt": f"{index} ", "max_tokens": tokens, "temperature": 0.8, "seed": index, "ignore_eos": True}
    if constrained:
        body["structured_outputs"] = {"json": SCHEMA}
    request = urllib.request.Request(url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    answer = json.loads(urllib.request.urlopen(request).read())
    return answer["usage"]["completion_tokens"]


def rate(options, url, constrained):
    """Tokens per second of all streams."""
    with concurrent.futures.ThreadPoolExecutor(options.streams) as threads:
        start = time.monotonic()
        jobs = [threads.submit(ask, url, index, options.tokens, index < constrained) for index in range(options.streams)]
        tokens = sum(job.result() for job in jobs)
        return tokens / (time.monotonic() - start), tokens


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nemotron", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--context")
    parser.add_argument("--vocabulary", action="store_true")
    options = parser.parse_args()
    if options.vocabulary:
        folder = pathlib.Path(options.model)
        vocabulary(folder / "tokenizer.json", json.loads((folder / "config.json").read_text())["vocab_size"])
    process, url = serve(options)
    try:
        kinds = {"free": 0, "half": options.streams // 2, "all": options.streams}
        for constrained in kinds.values():
            rate(options, url, constrained)
        rates = {kind: [] for kind in kinds}
        for kind in itertools.chain.from_iterable([list(kinds)] * options.rounds):
            found, tokens = rate(options, url, kinds[kind])
            rates[kind].append(found)
            print(f"{kind:5} {found:9.1f} tokens/s, {tokens} tokens", flush=True)
        medians = {kind: statistics.median(found) for kind, found in rates.items()}
        print(f"half / free {medians['half'] / medians['free']:.3f}, all / free {medians['all'] / medians['free']:.3f}")
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
