"""aiperf, NVIDIA's load tool, against `nemotron serve`: no request fails, and both count the same tokens.

Usage: python published_load.py --nemotron PATH --model DIR [--aiperf PATH] [--device cpu] [--streams 8] [--requests 64]

The counts of aiperf are those of `usage`. The exit code is 1 where a request failed, or /metrics has other counts. Needs no
package of Python beside aiperf's own program.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

import checks
from same import Server


def counted(server, name):
    """A counter of /metrics, all labels together."""
    lines = urllib.request.urlopen(server.url + "/metrics").read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0] == f"vllm:{name}")


def profile(options, server, folder):
    """What aiperf has found of streamed completions, in a closed loop."""
    model = pathlib.Path(options.model).resolve()
    command = [options.aiperf, "profile", "--model", options.model, "--tokenizer", str(model), "--url", server.url,
               "--endpoint-type", "completions", "--streaming", "--use-server-token-count", "--random-seed", "1",
               "--concurrency", str(options.streams), "--request-count", str(options.requests),
               "--isl", "60", "--isl-stddev", "20", "--osl", "40", "--osl-stddev", "10",
               "--extra-inputs", "ignore_eos:true", "--no-server-metrics", "--no-gpu-telemetry",
               "--ui", "none", "--artifact-dir", folder]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise SystemExit(f"aiperf ends with {done.returncode}:\n{done.stdout[-3000:]}")
    return json.loads(pathlib.Path(folder, "profile_export_aiperf.json").read_text())


def main():
    parser = checks.parser(__doc__)
    parser.add_argument("--aiperf", default=str(pathlib.Path(sys.executable).parent / "aiperf"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--requests", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open(pathlib.Path(folder, "server"), "w") as log:
        server = Server(options, options.streams, log)
        try:
            found = profile(options, server, folder)
            names = ["prompt_tokens_total", "generation_tokens_total", "request_success_total"]
            served = [counted(server, name) for name in names]
            right = server.stop() == 0
        finally:
            server.process.kill()
    seen = [found[name].get("sum", found[name].get("avg")) for name in
            ["input_sequence_length", "output_sequence_length", "request_count"]]
    failed = (found.get("error_request_count") or {}).get("avg", 0)
    speed, first = found["output_token_throughput"]["avg"], found["time_to_first_token"]
    print(f"aiperf: {seen[2]:.0f} requests, {failed:.0f} failed, {seen[0]:.0f} tokens of prompts, {seen[1]:.0f} generated, "
          f"{speed:.0f} per second, first after {first['avg']:.0f} ms; /metrics: {served}")
    same = [round(count) for count in seen] == [round(count) for count in served]
    return 0 if right and same and failed == 0 and seen[2] == options.requests else 1


if __name__ == "__main__":
    sys.exit(main())
