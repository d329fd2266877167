"""What HTTP costs: the server's CPU time for a token against that of `generate --batch` with the same work.

Usage: python cpu.py --nemotron PATH --model DIR [--streams 16] [--requests 64] [--tokens 400] [--most 0.15]

Both run the same requests, streamed by the server, once long and once short; the difference is free of what loading takes.
Prints user and system time for a token, milliseconds; the exit code is 1 where the server takes more than --most in addition.
"""

import concurrent.futures
import http.client
import json
import os
import resource
import subprocess
import sys
import urllib.parse

import checks
from clients import Server


def of_batch(arguments, tokens):
    """CPU seconds of a batch, and its tokens."""
    texts = [{"prompt": f"Story number {i}", "max_tokens": tokens} for i in range(arguments.requests)]
    command = [arguments.nemotron, "generate", "--model", arguments.model, "--device", "cpu", "--quiet", "--batch", "-",
               "--max-sequences", str(arguments.streams), "--ignore-eos"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out = subprocess.run(command, input="\n".join(map(json.dumps, texts)), stdout=subprocess.PIPE, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    count = len(out.stdout.splitlines()) * tokens
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, count


def of_server(server, arguments, tokens):
    """CPU seconds of the server for the same, streamed, and its tokens."""
    url = urllib.parse.urlsplit(server.url)

    def ask(index):
        connection = http.client.HTTPConnection(url.hostname, url.port)
        body = {"prompt": f"Story number {index}", "max_tokens": tokens, "ignore_eos": True, "temperature": 0, "stream": True,
                "stream_options": {"include_usage": True}}
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        lines = [line for line in connection.getresponse() if line.startswith(b"data: {")]
        return json.loads(lines[-1][6:])["usage"]["completion_tokens"]

    def used():
        with open(f"/proc/{server.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = used()
    with concurrent.futures.ThreadPoolExecutor(arguments.streams) as pool:
        count = sum(pool.map(ask, range(arguments.requests)))
    return used() - before, count


def main():
    parser = checks.parser(__doc__)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--most", type=float, default=0.15)
    arguments = parser.parse_args()
    server = Server(arguments.nemotron, arguments.model, "--max-sequences", str(arguments.streams), stderr=subprocess.DEVNULL)
    of_server(server, arguments, 8)

    def for_a_token(run):
        (short, few), (long, many) = run(8), run(arguments.tokens)
        return (long - short) / (many - few) * 1e3

    batch = for_a_token(lambda tokens: of_batch(arguments, tokens))
    served = for_a_token(lambda tokens: of_server(server, arguments, tokens))
    server.stop()
    print(f"--batch {batch:.3f} ms, server {served:.3f} ms: {served - batch:.3f} ms more for a token")
    return 0 if served - batch <= arguments.most else 1


if __name__ == "__main__":
    sys.exit(main())
