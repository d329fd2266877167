"""Many agents at a server for a while: long common prompts, turns that go on from the answers before, clients that leave.

    python3 tests/serve/agents.py --url http://127.0.0.1:8000 --seconds 300 --users 64

Prints a line each 30 seconds and the share of prompts that was found in the cache. Exit code 1 where an answer failed, or where
requests or pages are still in use when all have ended. Needs nothing but Python.
"""
import argparse
import http.client
import json
import random
import sys
import threading
import time
import urllib.parse


class Counts:
    """What all users did."""

    def __init__(self):
        self.lock = threading.Lock()
        self.answers = self.left = self.prompt = self.cached = self.generated = 0
        self.errors = []


class User(threading.Thread):
    """One user after the other, a conversation each."""

    def __init__(self, number, options, systems, counts, end):
        super().__init__(daemon=True)
        self.random = random.Random(f"{options.seed}.{number}")
        self.options, self.systems, self.counts, self.end = options, systems, counts, end

    def ids(self, least, most):
        return [self.random.randrange(10, self.options.vocab) for _ in range(self.random.randint(least, most))]

    def run(self):
        while time.monotonic() < self.end:
            history = list(self.random.choice(self.systems))
            for _ in range(self.options.turns):
                history += self.ids(20, 300)
                try:
                    answer = self.ask(history)
                except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
                    with self.counts.lock:
                        self.counts.errors.append(f"{type(error).__name__}: {error}")
                    answer = None
                if answer is None or time.monotonic() > self.end:
                    break
                history += answer

    def ask(self, prompt):
        """The ids of the answer; none where the client has left in the middle of it."""
        url = urllib.parse.urlsplit(self.options.url)
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=120)
        body = {
            "prompt": prompt, "max_tokens": self.random.randint(20, 200), "ignore_eos": True, "stream": True,
            "temperature": self.random.choice([0, 0.7]), "return_token_ids": True, "stream_options": {"include_usage": True},
        }
        leaves_at = self.random.randint(1, 60) if self.random.random() < 0.1 else None
        try:
            connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status != 200:
                raise ValueError(f"{response.status} {response.read()[:300]}")
            return self.read(response, leaves_at)
        finally:
            connection.close()

    def read(self, response, leaves_at):
        ids, usage, done = [], None, False
        for line in response:
            if line.startswith(b"data: [DONE]"):
                done = True
            elif line.startswith(b"data: "):
                event = json.loads(line[6:])
                if "error" in event:
                    raise ValueError(event["error"])
                usage = event.get("usage") or usage
                ids += [id for choice in event["choices"] for id in choice.get("token_ids") or []]
                if leaves_at is not None and len(ids) >= leaves_at:
                    with self.counts.lock:
                        self.counts.left += 1
                    return None
        if not done or usage is None or usage["completion_tokens"] != len(ids):
            raise ValueError(f"an answer of {len(ids)} tokens without its end, usage {usage}")
        with self.counts.lock:
            self.counts.answers += 1
            self.counts.prompt += usage["prompt_tokens"]
            self.counts.cached += (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
            self.counts.generated += len(ids)
        return ids


def in_use(url):
    """Requests that run or wait, and the share of pages that they have."""
    url = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    names = ["nemotron:num_requests_running", "nemotron:num_requests_waiting", "nemotron:kv_cache_usage_perc"]
    return [float(line.rsplit(" ", 1)[1]) for name in names for line in lines if line.startswith(name)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--users", type=int, default=64)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--system-tokens", type=int, default=1500)
    parser.add_argument("--vocab", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    numbers = random.Random(options.seed)
    # Four kinds of agents, whose prompts begin alike, as where they have the same tools.
    common = [numbers.randrange(10, options.vocab) for _ in range(options.system_tokens // 2)]
    rest = options.system_tokens - len(common)
    systems = [common + [numbers.randrange(10, options.vocab) for _ in range(rest)] for _ in range(4)]
    counts, start = Counts(), time.monotonic()
    end = start + options.seconds
    users = [User(number, options, systems, counts, end) for number in range(options.users)]
    for user in users:
        user.start()

    def tell():
        share = counts.cached / max(counts.prompt, 1)
        print(f"{time.monotonic() - start:.0f} s: {counts.answers} answers, {counts.left} clients left, "
              f"{counts.generated} tokens, {100 * share:.1f} % of {counts.prompt} prompt tokens cached, "
              f"{len(counts.errors)} errors", flush=True)

    while time.monotonic() < end:
        time.sleep(min(30, max(0.1, end - time.monotonic())))
        tell()
    for user in users:
        user.join(120)
    time.sleep(1)
    tell()
    left = in_use(options.url)
    print("running, waiting, pages in use:", *left)
    for error in sorted(set(counts.errors))[:10]:
        print("error:", error)
    sys.exit(bool(counts.errors or counts.answers == 0 or any(left) or len(left) != 3))


main()
