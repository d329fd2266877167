"""Many requests at a time on a server, and whether each has the text that `generate --batch` has.

Usage: python same.py --nemotron PATH --model DIR [--device auto] [--streams 64] [--requests 512] [--tokens 64:192] [--error 0]

By default all texts must be the same, as they are on the CPU. A GPU sums in another order where another number of rows runs
beside, and near ties fall the other way. There --error says how far a logit may be off, in standard deviations of the model's
logits: 0.024 is what `verify` allows in BF16, 1.5 times 0.016. Where two texts part, both tokens are scored behind what the
texts have in common. The difference of their logits has the errors of two logits in two runs: its root mean square may be 2
errors, and no difference 8, four times as much. The exit code is 1 where a text is wrong. Standard library only.

With --common N all prompts begin with the same N letters, and what they are compared with is not --batch but the same server,
where each has a key of its own and so nothing cached: does a cached beginning change a text?
"""

import argparse
import concurrent.futures
import json
import math
import os
import pathlib
import random
import socket
import statistics
import string
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

# Of the texts that part, so many are looked at: each is scored twice.
SCORED = 64


# The key whose requests share what is cached.
SHARED = "shared"


def own(index):
    """The key of one request alone."""
    return f"own-{index}"


class Server:
    """`nemotron serve` as a process."""

    def __init__(self, options, streams, log, keys=()):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [options.nemotron, "serve", "--model", options.model, "--device", options.device, "--port", str(port),
                   "--max-sequences", str(streams)]
        environment = {**os.environ, "NEMOTRON_API_KEYS": ",".join(keys)} if keys else None
        self.process = subprocess.Popen(command, stderr=log, env=environment)
        while not self.is_ready():
            if self.process.poll() is not None:
                raise SystemExit("the server did not start")
            time.sleep(0.05)

    def is_ready(self):
        try:
            return urllib.request.urlopen(self.url + "/health").status == 200
        except urllib.error.URLError:
            return False

    def post(self, path, body, key=SHARED):
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        return json.loads(urllib.request.urlopen(request).read())

    def scores(self, ids):
        """ln of the probability of each id but the first, behind those in front of it."""
        body = {"prompt": ids, "max_tokens": 1, "temperature": 0, "ignore_eos": True, "prompt_logprobs": 0}
        found = self.post("/v1/completions", body)["choices"][0]["prompt_logprobs"]
        return [of[str(id)]["logprob"] for id, of in zip(ids[1:], found[1:])]

    def stop(self):
        self.process.terminate()
        return self.process.wait(60)


def requests(options):
    """Texts of random letters, so many letters and tokens as the options say."""
    least, most = map(int, options.tokens.split(":"))
    chance = random.Random(options.seed)
    letters = string.ascii_letters + "     "
    text = lambda: "".join(chance.choices(letters, k=chance.randint(least, most)))
    common = "".join(chance.choices(letters, k=options.common))
    return [{"prompt": common + text(), "max_tokens": chance.randint(least, most)} for _ in range(options.requests)]


def of_batch(options, bodies):
    """What `generate --batch` makes of all bodies."""
    command = [options.nemotron, "generate", "--model", options.model, "--device", options.device, "--quiet", "--batch", "-",
               "--max-sequences", str(options.streams), "--ignore-eos", "--temperature", "0"]
    out = subprocess.run(command, input="\n".join(map(json.dumps, bodies)), stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in out.stdout.splitlines()]


def spread(server, vocab):
    """Standard deviation of the logits that the model gives tokens of chance."""
    chance = random.Random(0)
    prompts = [[chance.randrange(260, vocab) for _ in range(100)] for _ in range(8)]
    return statistics.mean(statistics.stdev(server.scores(ids)) for ids in prompts)


def parted(batch, streams):
    """Which texts are not those of the batch, and the first token at which each is not."""
    found = []
    for index, (one, other) in enumerate(zip(batch, streams)):
        if one["ids"] != other["token_ids"]:
            pairs = enumerate(zip(one["ids"], other["token_ids"]))
            found.append((index, next(at for at, (a, b) in pairs if a != b)))
        elif one["text"] != other["text"]:
            raise SystemExit(f"text {index}: the same ids, and {one['text']!r} is not {other['text']!r}")
    return found


def difference(server, body, at, one, other):
    """How far apart the logits of two texts' tokens are, behind what they have in common."""
    common = server.post("/tokenize", {"prompt": body["prompt"]})["tokens"] + one["ids"][:at]
    a, b = (server.scores(common + [ids[at]])[-1] for ids in (one["ids"], other["token_ids"]))
    return abs(a - b)


def are_near_ties(server, options, texts):
    """Whether the texts part where they may; `texts` has a body, its two answers, and where these part."""
    vocab = json.loads(pathlib.Path(options.model, "config.json").read_text())["vocab_size"]
    deviation = spread(server, vocab)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        gaps = list(pool.map(lambda text: difference(server, *text) / deviation, texts[:SCORED]))
    together, most = math.sqrt(sum(gap * gap for gap in gaps) / len(gaps)), max(gaps)
    print(f"{len(gaps)} were scored; of the logits' standard deviation, {deviation:.3f}, the two tokens are apart "
          f"{together:.4f} together and {most:.4f} at most; they may be {2 * options.error} and {8 * options.error}")
    return together <= 2 * options.error and most <= 8 * options.error


def answers(server, bodies, streams, key):
    """What the server makes of all bodies, each with the key that `key` names for its number."""
    def answer(index):
        fields = {"ignore_eos": True, "temperature": 0, "return_token_ids": True}
        found = server.post("/v1/completions", {**bodies[index], **fields}, key(index))
        cached = (found["usage"].get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        return {**found["choices"][0], "cached": cached}

    with concurrent.futures.ThreadPoolExecutor(streams) as pool:
        return list(pool.map(answer, range(len(bodies))))


def alone(server, bodies):
    """The same with nothing cached, one at a time."""
    found = answers(server, bodies, 1, own)
    assert not any(answer["cached"] for answer in found)
    return [{"ids": answer["token_ids"], "text": answer["text"]} for answer in found]


def check(server, options, bodies):
    """Whether the server gives each body the text that it is compared with."""
    others, name = (alone(server, bodies), "without a cache") if options.common else (of_batch(options, bodies), "of --batch")
    streams = answers(server, bodies, 1 if options.common else options.streams, lambda _: SHARED)
    differing = parted(others, streams)
    same, cached = len(bodies) - len(differing), sum(answer["cached"] for answer in streams)
    print(f"{same} of {len(bodies)} texts are those {name}; {cached} tokens were cached", flush=True)
    texts = [(bodies[index], at, others[index], streams[index]) for index, at in differing]
    return not texts or options.error > 0 and are_near_ties(server, options, texts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nemotron", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--requests", type=int, default=512, help="texts in all")
    parser.add_argument("--tokens", default="64:192")
    parser.add_argument("--common", type=int, default=0, help="letters that all prompts begin with")
    parser.add_argument("--error", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    bodies = requests(options)
    with tempfile.TemporaryFile("w+") as log:
        keys = [SHARED, *(own(index) for index in range(options.requests))] if options.common else []
        server = Server(options, options.streams, log, keys)
        try:
            right = check(server, options, bodies)
            return 0 if server.stop() == 0 and right else 1
        finally:
            server.process.kill()


if __name__ == "__main__":
    sys.exit(main())
