"""Time nemotron and transformers on the very same shape, one after the other in one call, and print how they compare.

Usage: python3 benches/peers/compare.py --nemotron ./nemotron --preset nemotron-mini-4b [--out benches/results/h200.json]

`nemotron bench --json` goes first; its report carries the model's config.json, from which transformers_bench.py makes the
same model with random weights. Both are compared by the host's clock, all that the program does included. --out keeps a
run for each model and format: an earlier one is replaced, all else in the file stays. --format makes codes of nemotron's
weights; transformers runs in BF16 whatever it says. Without --python the peers run
in this interpreter, which needs torch and transformers; --peers none leaves them out.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile

PEER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "transformers_bench.py")
KEY = ("work", "tokens", "batch", "depth")


def bench(args):
    """The report of `nemotron bench --json`."""
    source = ["--preset", args.preset] if args.preset else ["--model", args.model]
    layers = ["--layers", str(args.layers)] if args.layers else []
    lists = [f"--prompt={args.prompt}", f"--batch={args.batch}", f"--depth={args.depth}", f"--generate={args.generate}"]
    weights = ["--format", args.format] if args.format != "bf16" else []
    command = [args.nemotron, "bench", *source, *layers, *weights, "--device", args.device, *lists, "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def peers(args, config):
    """The report of transformers_bench.py: all rows that it had measured when it ended, however it ended."""
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "config.json"), "w") as out:
            json.dump(config, out)
        path = os.path.join(folder, "report.json")
        lists = [f"--prompt={args.prompt}", f"--batch={args.batch}", f"--depth={args.depth}", f"--generate={args.generate}"]
        device = "cpu" if args.device == "cpu" else "cuda"
        more = [f"--peers={args.peers}", f"--compiled-depth={args.compiled_depth}", f"--device={device}", f"--json={path}"]
        try:
            ended = subprocess.run([args.python, PEER, folder, "--random", *lists, *more], timeout=args.peer_timeout).returncode
        except subprocess.TimeoutExpired:
            ended = "the timeout"
        if ended != 0:
            print(f"transformers_bench.py ended with {ended}; the rows that it had measured are kept", file=sys.stderr)
        if not os.path.exists(path):
            return {"versions": {}, "rows": []}
        with open(path) as report:
            return json.load(report)


def driver():
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, check=True, stdout=subprocess.PIPE, text=True).stdout.split("\n")[0].strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def own_row(row, program):
    """A row of nemotron, with the field names that all programs share."""
    row = {"program": program, **row}
    row["host_ms"] = row.pop("ttft_ms", None) or row.pop("loop_ms")
    return row


def tokens_per_second(row):
    return row.get("tokens", row.get("batch")) * 1e3 / row["host_ms"]


def key(row):
    return tuple(row.get(field) for field in KEY)


def compared(report, peer):
    """All rows, those of nemotron first; the others with how many times longer they took."""
    rows = [own_row(row, report["program"]) for row in report["rows"]]
    own = {key(row): row["host_ms"] for row in rows}
    for row in peer["rows"]:
        rows.append({**row, "times_nemotron": row["host_ms"] / own[key(row)]} if key(row) in own else row)
    for row in rows:
        row["tok_s"] = tokens_per_second(row)
    return rows


def keep(path, report, run):
    """Puts the run into the file in place of an earlier one of the same model and format."""
    results = {"runs": []}
    if os.path.exists(path):
        with open(path) as text:
            results = json.load(text)
    results["gpu"] = report["device"][0]
    identity = lambda run: (run["parameters"], run["model"], run["format"])
    others = [old for old in results.get("runs", []) if identity(old) != identity(run)]
    results["runs"] = sorted([run, *others], key=identity)
    with open(path, "w") as out:
        json.dump(results, out, indent=1)
        out.write("\n")


def table(run):
    peaks = run["peaks"]
    print(f"{run['model']} in {run['format']}: {peaks['gb_s']:.0f} GB/s ({peaks['of_bytes']}), {peaks['tflop_s']:.1f} TFLOP/s ({peaks['of_flops']})")
    print(f"{'work':<8} {'rows':>5} {'depth':>6} {'ms':>10} {'tok/s':>10} {'of peak':>8} {'nemotron is':>12}  program")
    for row in run["rows"]:
        size, depth = row.get("tokens", row.get("batch")), row.get("depth", "")
        peak = f"{row['percent_of_peak']:.1f} %" if "percent_of_peak" in row else ""
        ratio = f"{row['times_nemotron']:.2f} x" if "times_nemotron" in row else ""
        print(f"{row['work']:<8} {size:>5} {depth:>6} {row['host_ms']:10.3f} {row['tok_s']:10.1f} {peak:>8} {ratio:>12}  {row['program']}")


def arguments():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--nemotron", default="target/release/nemotron")
    source = args.add_mutually_exclusive_group(required=True)
    source.add_argument("--preset")
    source.add_argument("--model")
    args.add_argument("--layers", type=int)
    args.add_argument("--format", default="bf16")
    args.add_argument("--device", default="0")
    args.add_argument("--prompt", default="128,512,2048")
    args.add_argument("--batch", default="1,8,32")
    args.add_argument("--depth", default="0,128,3968")
    args.add_argument("--generate", type=int, default=64)
    args.add_argument("--peers", default="eager,compiled-decode")
    args.add_argument("--compiled-depth", default="128")
    args.add_argument("--peer-timeout", type=float, help="seconds; what was measured by then is kept")
    args.add_argument("--python", default=sys.executable)
    args.add_argument("--out")
    return args.parse_args()


def main():
    args = arguments()
    report = bench(args)
    peer = {"versions": {}, "rows": []} if args.peers == "none" else peers(args, report["config"])
    run = {
        "model": report["model"],
        "format": args.format,
        "parameters": report["parameters"],
        "weights": "random" if args.preset else "of the checkpoint",
        "date": datetime.date.today().isoformat(),
        "driver": driver(),
        "device": report["device"],
        "versions": {"nemotron": report["program"], **peer["versions"]},
        "peaks": report["peaks"],
        "rows": compared(report, peer),
    }
    table(run)
    if args.out:
        keep(args.out, report, run)


if __name__ == "__main__":
    main()
