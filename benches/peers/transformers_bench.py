"""Time transformers on one model the way `nemotron bench` times itself by the host's clock: medians, after a warm-up.

Usage: python transformers_bench.py MODEL [--random] [--prompt 128,512,2048] [--batch 1,8,32] [--depth 0,128,3968]
       [--generate 64] [--peers eager,compiled-decode,compiled-prefill] [--compiled-depth 128] [--device cuda] [--json OUT]

MODEL is a checkpoint's directory; with --random its config.json is enough, and the weights are random. Prefill is one
forward pass that fills a new cache; decode is one greedy token for each sequence with DEPTH tokens in the cache, its result
left on the GPU. `eager` runs PyTorch's kernels one by one with a growing cache; `compiled` is torch.compile with a static
cache, the prefill in its default mode and the decode with CUDA graphs ("reduce-overhead"). --json is written after every
row, so that what was measured is kept whatever happens next. Needs torch and transformers.
"""

import argparse
import gc
import json
import statistics
import sys
import time

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, StaticCache

EAGER_STEPS = 8
BLOCKS = 3
REPEATS = 7
MOST_TOKENS = 16384
NAME = f"transformers {transformers.__version__}"


def wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


def times_ms(run, repeats, device, before=lambda: None):
    """Sorted milliseconds of `repeats` calls, after one to warm up; `before` each of them is not timed."""
    before()
    run()
    times = []
    for _ in range(repeats):
        before()
        wait(device)
        started = time.perf_counter()
        run()
        wait(device)
        times.append((time.perf_counter() - started) * 1e3)
    return sorted(times)


def random_ids(batch, tokens, device):
    return torch.randint(10, 1000, (batch, tokens), device=device)


def fill(model, cache, batch, depth, device):
    """Puts `depth` tokens of each sequence into the cache, a few thousand at a time."""
    chunk = max(1, MOST_TOKENS // batch)
    for start in range(0, depth, chunk):
        ids = random_ids(batch, min(chunk, depth - start), device)
        positions = torch.arange(start, start + ids.shape[1], device=device).unsqueeze(0)
        model(input_ids=ids, past_key_values=cache, position_ids=positions, use_cache=True, logits_to_keep=1)


def static_cache(model, batch, room, device):
    """A static cache whose tensors exist: made inside a compiled pass they would keep CUDA graphs away."""
    cache = StaticCache(config=model.config, max_cache_len=room)
    fill(model, cache, batch, 1, device)
    cache.reset()
    return cache


@torch.no_grad()
def prefill(model, tokens, compiled, device):
    ids = random_ids(1, tokens, device)
    if not compiled:
        run = lambda: model(input_ids=ids, past_key_values=DynamicCache(), use_cache=True, logits_to_keep=1).logits.argmax(-1)
        return times_ms(run, REPEATS, device)
    cache, forward = static_cache(model, 1, tokens, device), torch.compile(model.forward)
    positions = torch.arange(tokens, device=device).unsqueeze(0)
    inputs = {"input_ids": ids, "past_key_values": cache, "position_ids": positions}
    run = lambda: forward(**inputs, use_cache=True, logits_to_keep=1).logits.argmax(-1)
    run()
    return times_ms(run, REPEATS, device, cache.reset)


@torch.no_grad()
def decode(model, batch, depth, steps, compiled, device):
    """Milliseconds of one step for the whole batch, greedy."""
    room = depth + (BLOCKS + 2) * steps + 8
    cache = static_cache(model, batch, room, device) if compiled else DynamicCache()
    fill(model, cache, batch, depth, device)
    forward = torch.compile(model.forward, mode="reduce-overhead", fullgraph=False) if compiled else model.forward
    state = {"ids": random_ids(batch, 1, device), "position": depth}

    def run():
        for _ in range(steps):
            positions = torch.tensor([[state["position"]]], device=device).expand(batch, 1)
            out = forward(input_ids=state["ids"], past_key_values=cache, position_ids=positions, use_cache=True)
            state["ids"] = out.logits[:, -1:].argmax(-1).clone()
            state["position"] += 1

    if compiled:
        run()
    return [ms / steps for ms in times_ms(run, BLOCKS, device)]


def load(args):
    if not args.random:
        model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16, device_map=args.device)
        return model.eval()
    with torch.device(args.device):
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(args.model), dtype=torch.bfloat16).eval()


class Report:
    """Rows, printed and written as they come."""

    def __init__(self, args):
        gpu = torch.cuda.get_device_name() if args.device == "cuda" else "none"
        self.path = args.json
        self.report = {"versions": {"torch": torch.__version__, "transformers": transformers.__version__}, "gpu": gpu, "rows": []}

    def add(self, program, work, times):
        row = {"program": program, **work, "host_ms": statistics.median(times), "host_ms_min": times[0], "host_ms_max": times[-1]}
        self.report["rows"].append(row)
        print(f"{program:<30} {json.dumps(work):<48} {row['host_ms']:10.3f} ms", file=sys.stderr, flush=True)
        if self.path:
            with open(self.path, "w") as out:
                json.dump(self.report, out, indent=1)


def forget():
    torch._dynamo.reset()
    gc.collect()
    torch.cuda.empty_cache()


def measure(model, args, report):
    for tokens in args.prompt if "eager" in args.peers else []:
        report.add(f"{NAME} eager", {"work": "prefill", "tokens": tokens}, prefill(model, tokens, False, args.device))
    for batch in args.batch if "eager" in args.peers else []:
        for depth in args.depth:
            times = decode(model, batch, depth, EAGER_STEPS, False, args.device)
            report.add(f"{NAME} eager", {"work": "decode", "batch": batch, "depth": depth}, times)
            forget()
    for batch in args.batch if "compiled-decode" in args.peers else []:
        for depth in args.compiled_depth:
            times = decode(model, batch, depth, args.generate, True, args.device)
            report.add(f"{NAME} compiled", {"work": "decode", "batch": batch, "depth": depth}, times)
            forget()
    for tokens in args.prompt if "compiled-prefill" in args.peers else []:
        report.add(f"{NAME} compiled", {"work": "prefill", "tokens": tokens}, prefill(model, tokens, True, args.device))
        forget()


def numbers(text):
    return [int(number) for number in text.split(",") if number]


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("model")
    args.add_argument("--random", action="store_true")
    args.add_argument("--prompt", type=numbers, default=[128, 512, 2048])
    args.add_argument("--batch", type=numbers, default=[1, 8, 32])
    args.add_argument("--depth", type=numbers, default=[0, 128, 3968])
    args.add_argument("--generate", type=int, default=64)
    args.add_argument("--peers", type=lambda text: text.split(","), default=["eager", "compiled-decode"])
    args.add_argument("--compiled-depth", type=numbers, default=[128])
    args.add_argument("--device", default="cuda")
    args.add_argument("--json")
    args = args.parse_args()
    report = Report(args)
    model = load(args)
    wait(args.device)
    measure(model, args, report)


if __name__ == "__main__":
    main()
