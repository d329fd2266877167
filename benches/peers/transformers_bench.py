"""Time transformers on a checkpoint, the way `nemotron bench` times itself: medians, after a warm-up.

Usage: python transformers_bench.py MODEL_DIR [--prompts 128,512,2048] [--batches 1,8,32] [--tokens 32] [--compile] [--json OUT]
Prefill is one forward pass that fills a new cache; decode is one token after a prompt of 128. Needs torch, transformers
and a CUDA device.
"""

import argparse
import json
import statistics
import time

import torch
import transformers
from transformers import AutoModelForCausalLM, DynamicCache, StaticCache


def median_ms(run, repeats):
    run()
    times = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        started = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times)


@torch.no_grad()
def prefill(model, rows, repeats=7):
    ids = torch.randint(10, 1000, (1, rows), device="cuda")
    return median_ms(lambda: model(input_ids=ids, past_key_values=DynamicCache(), use_cache=True, logits_to_keep=1), repeats)


@torch.no_grad()
def decode(model, batch, tokens, static):
    """Milliseconds of one step for the whole batch, greedy, after a prompt of 128 tokens."""
    length = 128
    ids = torch.randint(10, 1000, (batch, length), device="cuda")
    cache = StaticCache(config=model.config, max_cache_len=length + 4 * tokens + 8) if static else DynamicCache()
    model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    step = torch.compile(model.forward, mode="reduce-overhead", fullgraph=False) if static else model.forward
    state = {"ids": ids[:, -1:], "position": length}

    def run():
        for _ in range(tokens):
            position = torch.tensor([[state["position"]]], device="cuda")
            out = step(input_ids=state["ids"], past_key_values=cache, position_ids=position.expand(batch, 1), use_cache=True)
            state["ids"] = out.logits[:, -1:].argmax(-1).clone()
            state["position"] += 1

    return median_ms(run, 3) / tokens


def main():
    args = argparse.ArgumentParser()
    args.add_argument("model")
    args.add_argument("--prompts", default="128,512,2048")
    args.add_argument("--batches", default="1,8,32")
    args.add_argument("--tokens", type=int, default=32)
    args.add_argument("--compile", action="store_true")
    args.add_argument("--json")
    args = args.parse_args()
    numbers = lambda text: [int(n) for n in text.split(",")]
    started = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16, device_map="cuda").eval()
    torch.cuda.synchronize()
    rows = [{"peer": "transformers", "what": "load", "ms": (time.perf_counter() - started) * 1e3}]
    for n in numbers(args.prompts):
        rows.append({"peer": "transformers eager", "what": "prefill", "tokens": n, "ms": prefill(model, n)})
    for batch in numbers(args.batches):
        rows.append({"peer": "transformers eager", "what": "decode", "batch": batch, "ms": decode(model, batch, args.tokens, False)})
    if args.compile:
        rows.append({"peer": "transformers compiled", "what": "decode", "batch": 1, "ms": decode(model, 1, args.tokens, True)})
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "gpu": torch.cuda.get_device_name()}
    for row in rows:
        rate = f"{row['batch'] * 1e3 / row['ms']:9.1f} tok/s" if row["what"] == "decode" else ""
        print(f"{row['peer']:<22} {row['what']:<8} {row.get('tokens', row.get('batch', '')):>5} {row['ms']:10.3f} ms {rate}")
    if args.json:
        with open(args.json, "w") as out:
            json.dump({"versions": versions, "rows": rows}, out, indent=1)


if __name__ == "__main__":
    main()
