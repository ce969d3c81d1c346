"""The PyTorch side of the comparison: the same networks, the same step.

    python peer.py WORKLOAD VARIANT THREADS

prints one JSON line that says what it is, then for each line `train N` or `paint B N` on its standard input does N steps,
or paints B pictures N times, and prints {"seconds": .., "peak_mb": ..}; after `count`, the same line is answered with the
{"flops": ..} of its matrix products and convolutions, gradients included. compare.py drives it.
VARIANT: f32|bf16, then optionally -last (channels-last), -compile (torch.compile).
"""

import json
import resource
import sys
import time

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from workloads import WORKLOADS


class Count(TorchDispatchMode):
    """Operations of what runs; PyTorch's own counter cannot differentiate twice."""

    flops = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func.overloadpacket):
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
        return result


def main():
    workload, variant, threads = sys.argv[1:4]
    torch.set_num_threads(int(threads))
    parts = variant.split("-")
    dtype = torch.bfloat16 if parts[0] == "bf16" else torch.float32
    model = WORKLOADS[workload](dtype, "last" in parts)
    if "compile" in parts:
        model.compile()
    print(json.dumps({"name": "PyTorch " + variant, "about": torch.__version__}), flush=True)
    for line in sys.stdin:
        words = line.split()
        if words[0] == "count":
            with Count() as count:
                run(model, words[1:])
            print(json.dumps({"flops": count.flops}), flush=True)
            continue
        start = time.perf_counter()
        run(model, words)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps({"seconds": seconds, "peak_mb": peak}), flush=True)


def run(model, words):
    if words[0] == "train":
        model.g.train()
        for _ in range(int(words[1])):
            model.step()
        return
    model.g.eval()
    inputs = model.inputs(int(words[1]))
    with torch.no_grad(), model.cast():
        for _ in range(int(words[2])):
            model.paint(*inputs).float().numpy()


if __name__ == "__main__":
    main()
