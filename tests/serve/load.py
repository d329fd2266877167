"""Load on a server of OpenAI's API: streams in a closed loop, random lengths, and what they saw.

Usage: python load.py --url http://127.0.0.1:8000 [--streams 64] [--requests 256] [--tokens 64:192] [--vocab 30000] [--key K]

Prompts are random token ids, all different. Prints throughput, time to the first token (TTFT) and time between tokens (ITL) as
one JSON object. The exit code is 1 if a request failed or had another number of tokens than it asked for. Standard library only.
"""

import argparse
import http.client
import json
import random
import sys
import threading
import time
import urllib.parse


def ask(args, prompt, tokens):
    """Times at which a streamed completion's tokens came, and what usage says."""
    url = urllib.parse.urlsplit(args.url)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=600)
    body = {"prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "temperature": 0, "stream": True,
            "return_token_ids": True, "stream_options": {"include_usage": True}}
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {args.key}"} if args.key else {})}
    started = time.perf_counter()
    connection.request("POST", "/v1/completions", json.dumps(body), headers)
    answer = connection.getresponse()
    if answer.status != 200:
        raise RuntimeError(f"{answer.status}: {answer.read()[:300]}")
    times, usage = [], None
    for line in answer:
        if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
            continue
        chunk = json.loads(line[6:])
        if "error" in chunk:
            raise RuntimeError(chunk["error"]["message"])
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            times += [time.perf_counter()] * len(choice.get("token_ids") or [])
    connection.close()
    return started, times, usage


def percentiles(values):
    values = sorted(values)
    at = lambda share: round(values[min(len(values) - 1, int(share * len(values)))] * 1e3, 2)
    return {"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": round(values[-1] * 1e3, 2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--tokens", default="64:192")
    parser.add_argument("--vocab", type=int, default=30000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--key")
    args = parser.parse_args()
    least, most = map(int, args.tokens.split(":"))
    chance = random.Random(args.seed)
    jobs = [
        ([chance.randrange(100, args.vocab) for _ in range(chance.randint(least, most))], chance.randint(least, most))
        for _ in range(args.requests)
    ]
    lock, first, between, generated, failed = threading.Lock(), [], [], [0], []

    def client():
        while True:
            with lock:
                if not jobs:
                    return
                prompt, tokens = jobs.pop()
            try:
                started, times, usage = ask(args, prompt, tokens)
                if (len(times), usage["completion_tokens"], usage["prompt_tokens"]) != (tokens, tokens, len(prompt)):
                    raise RuntimeError(f"{len(times)} tokens came, usage says {usage}, {tokens} were asked for")
            except Exception as error:
                with lock:
                    failed.append(str(error))
                continue
            with lock:
                first.append(times[0] - started)
                between.extend(b - a for a, b in zip(times, times[1:]))
                generated[0] += tokens

    started = time.perf_counter()
    threads = [threading.Thread(target=client) for _ in range(args.streams)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    seconds = time.perf_counter() - started
    print(json.dumps({
        "streams": args.streams, "requests": args.requests, "failed": len(failed), "seconds": round(seconds, 2),
        "tokens_per_second": round(generated[0] / seconds, 1),
        "ttft_ms": percentiles(first) if first else None, "itl_ms": percentiles(between) if between else None,
        "errors": failed[:3],
    }))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
