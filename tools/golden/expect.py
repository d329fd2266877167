"""Write what transformers computes from a checkpoint, in the form that `nemotron verify` reads.

Usage: python expect.py MODEL_DIR OUT.safetensors [--lengths 1,7,33,130] [--device cpu|cuda] [--seed 0] [--greedy 24]
Needs torch, transformers, safetensors. The layout of OUT is described in tests/golden/README.md.
"""

import argparse

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM


def prompts(lengths, vocab, seed):
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.randint(6, vocab, (n,), generator=generator) for n in lengths}


@torch.no_grad()
def logits(model, ids):
    rows = model(input_ids=ids[None].to(model.device), use_cache=False).logits[0].float().cpu()
    return rows[-4:].contiguous() if len(ids) > 40 else rows.contiguous()


def greedy(model, ids, count):
    """Recomputed from scratch for every token, so that no cache can be wrong."""
    start = len(ids)
    for _ in range(count):
        ids = torch.cat([ids, logits(model, ids)[-1].argmax()[None]])
    return ids[start:]


def main():
    args = argparse.ArgumentParser()
    args.add_argument("model")
    args.add_argument("out")
    args.add_argument("--lengths", default="1,7,33,130")
    args.add_argument("--device", default="cpu")
    args.add_argument("--seed", type=int, default=0)
    args.add_argument("--greedy", type=int, default=24)
    args = args.parse_args()
    # Full f32 products: tf32 would make the yardstick as coarse as what it measures.
    torch.backends.cuda.matmul.allow_tf32 = False
    expected = {}
    for dtype, name in ((torch.float32, "f32"), (torch.bfloat16, "bf16")):
        # Weights are narrowed to BF16 first, as nemotron narrows them, then widened for the f32 run. The rotary
        # frequencies stay f32 in both.
        model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16, attn_implementation="eager")
        rotary = [b.clone() for n, b in model.named_buffers() if n.endswith("inv_freq")]
        model = model.to(dtype).eval()
        for buffer, saved in zip((b for n, b in model.named_buffers() if n.endswith("inv_freq")), rotary):
            buffer.data = saved.float()
        model = model.to(args.device)
        lengths = [int(n) for n in args.lengths.split(",")]
        for n, ids in prompts(lengths, model.config.vocab_size, args.seed).items():
            expected[f"ids_{n}"] = ids.to(torch.int32)
            expected[f"logits_{name}_{n}"] = logits(model, ids)
            if name == "f32":
                expected[f"greedy_f32_{n}"] = greedy(model, ids, args.greedy).to(torch.int32)
        del model
    save_file(expected, args.out)


if __name__ == "__main__":
    main()
