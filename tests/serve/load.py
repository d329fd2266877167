"""Load on a server of OpenAI's API: streams in a closed loop, random lengths, and what they saw.

Usage: python load.py --url http://127.0.0.1:8000 [--streams 64] [--requests 256] [--tokens 64:192] [--vocab 30000] [--key K]

Prompts are random token ids, all different. Prints throughput, time to the first token (TTFT) and time between tokens (ITL) as
one JSON object. The exit code is 1 if a request failed or had another number of tokens than it asked for. Standard library only.
"""

import argparse
import concurrent.futures
import dataclasses
import http.client
import json
import multiprocessing
import random
import sys
import time
import urllib.parse

# Processes that the streams are spread over: one alone could not keep up with a fast server.
PROCESSES = 4


@dataclasses.dataclass
class Stream:
    """What came of a request: when its tokens came, in seconds, which they are, and what went wrong."""

    started: float
    times: list
    ids: list
    text: str
    usage: dict
    error: str = None


def ask(url, body, key=None):
    """Streams a completion. It is read as it comes, and understood afterwards, so that its times are those of the server."""
    url = urllib.parse.urlsplit(url)
    stream, blocks = Stream(0, [], [], "", {}), []
    body = {"ignore_eos": True, "temperature": 0, "stream": True, "return_token_ids": True,
            "stream_options": {"include_usage": True}, **body}
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    try:
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=600)
        stream.started = time.monotonic()
        connection.request("POST", "/v1/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {answer.read()[:300]}")
        while block := answer.read1(1 << 16):
            blocks.append((time.monotonic(), block))
        connection.close()
        understand(stream, blocks)
        wanted = body["max_tokens"]
        if (len(stream.ids), stream.usage.get("completion_tokens")) != (wanted, wanted):
            raise RuntimeError(f"{len(stream.ids)} tokens came, usage says {stream.usage}, {wanted} were asked for")
    except Exception as error:
        stream.error = f"{type(error).__name__}: {error}"
    return stream


def understand(stream, blocks):
    """Takes the events of blocks of bytes, each with the time at which it came."""
    rest = b""
    for at, block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                raise RuntimeError(event["error"]["message"])
            stream.usage = event.get("usage") or stream.usage
            for choice in event["choices"]:
                stream.text += choice["text"]
                ids = choice.get("token_ids") or []
                stream.ids += ids
                stream.times += [at] * len(ids)


def closed_loop(jobs):
    """The streams of the bodies of one process, which has so many at a time."""
    url, bodies, streams, key = jobs
    with concurrent.futures.ThreadPoolExecutor(streams) as pool:
        return list(pool.map(lambda body: ask(url, body, key), bodies))


def run(url, bodies, streams, key=None):
    """Streams of all bodies, in their order, so many at a time; and the seconds that all took."""
    processes = min(PROCESSES, streams)
    share = [(url, bodies[i::processes], streams // processes + (i < streams % processes), key) for i in range(processes)]
    with multiprocessing.Pool(processes) as pool:
        done = pool.map(closed_loop, share, chunksize=1)
    found = [None] * len(bodies)
    for index, some in enumerate(done):
        found[index::processes] = some
    ends = [stream.times[-1] for stream in found if stream.times]
    return found, max(ends, default=0) - min(stream.started for stream in found)


def milliseconds(values):
    values = sorted(values)
    at = lambda share: round(values[min(len(values) - 1, int(share * len(values)))] * 1e3, 2)
    mean = round(sum(values) / len(values) * 1e3, 2)
    return {"mean": mean, "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": round(values[-1] * 1e3, 2)}


def report(found, seconds, streams):
    """What was seen, as an object."""
    good = [stream for stream in found if not stream.error]
    between = [b - a for stream in good for a, b in zip(stream.times, stream.times[1:])]
    failed = [stream.error for stream in found if stream.error]
    return {
        "streams": streams, "requests": len(found), "failed": len(failed), "seconds": round(seconds, 2),
        "prompt_tokens": sum(stream.usage["prompt_tokens"] for stream in good),
        "generated_tokens": sum(len(stream.ids) for stream in good),
        "generated_per_second": round(sum(len(stream.ids) for stream in good) / seconds, 1),
        "ttft_ms": milliseconds([stream.times[0] - stream.started for stream in good]) if good else None,
        "itl_ms": milliseconds(between) if between else None, "errors": failed[:3],
    }


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
    bodies = [
        {"prompt": [chance.randrange(100, args.vocab) for _ in range(chance.randint(least, most))],
         "max_tokens": chance.randint(least, most)}
        for _ in range(args.requests)
    ]
    found, seconds = run(args.url, bodies, args.streams, args.key)
    for body, stream in zip(bodies, found):
        if not stream.error and stream.usage["prompt_tokens"] != len(body["prompt"]):
            stream.error = f"usage says {stream.usage}, the prompt has {len(body['prompt'])} tokens"
    seen = report(found, seconds, args.streams)
    print(json.dumps(seen))
    return 1 if seen["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
