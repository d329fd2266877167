"""What a sum over GPUs takes by NCCL, in a CUDA graph: beside `gpu "ranks: what a sum takes"`.

Usage: nccl.py [GPUS]   (needs torch with NCCL; all GPUs by default)
"""

import os
import statistics
import sys

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

COLUMNS = 4096
ROWS = [1, 2, 8, 32, 64, 512, 2048]
SUMS = 50
RUNS = 9


def time_sums(x):
    """Median time of one sum of `x`, seconds."""
    for _ in range(3):
        dist.all_reduce(x)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(SUMS):
            dist.all_reduce(x)
    times = []
    for _ in range(RUNS):
        graph.replay()  # the ranks begin together behind it
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) * 1e-3 / SUMS)
    return statistics.median(times)


def rank(number, ranks):
    torch.cuda.set_device(number)
    dist.init_process_group("nccl", rank=number, world_size=ranks, device_id=torch.device("cuda", number))
    for dtype in (torch.bfloat16, torch.float32):
        figures = []
        for rows in ROWS:
            x = torch.zeros(rows, COLUMNS, dtype=dtype, device="cuda")
            figures.append(f"{rows} x {COLUMNS}: {time_sums(x) * 1e6:.2f} µs")
        if number == 0:
            print(dtype, ", ".join(figures), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29511")
    count = int(sys.argv[1]) if len(sys.argv) > 1 else torch.cuda.device_count()
    mp.spawn(rank, args=(count,), nprocs=count)
