"""The PyTorch side of the comparison: the same networks, the same step.

    python peer.py WORKLOAD VARIANT THREADS

prints one JSON line that says what it is, then for each line `train N` or `paint B N` on its standard input does N steps,
or paints B pictures N times, and prints {"seconds": .., "peak_mb": ..}. compare.py drives it.
VARIANT: f32|bf16, then optionally -last (channels-last), -compile (torch.compile).
"""

import json
import resource
import sys
import time

import torch

from workloads import WORKLOADS


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
        start = time.perf_counter()
        if words[0] == "train":
            model.g.train()
            for _ in range(int(words[1])):
                model.step()
        else:
            model.g.eval()
            inputs = model.inputs(int(words[1]))
            with torch.no_grad(), model.cast():
                for _ in range(int(words[2])):
                    model.paint(*inputs).float().numpy()
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps({"seconds": seconds, "peak_mb": peak}), flush=True)


if __name__ == "__main__":
    main()
