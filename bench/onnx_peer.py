"""The ONNX Runtime side: paints with the network that peer.py would train. Same protocol; it does not train."""

import io
import json
import resource
import sys
import time

import onnxruntime
import torch

from workloads import WORKLOADS


def main():
    workload, threads = sys.argv[1:3]
    model = WORKLOADS[workload](torch.float32, False)
    model.g.eval()
    module = model.g
    if hasattr(model, "text"):

        class Painter(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.g, self.text = model.g, model.text

            def forward(self, noise, ids):
                return model.paint(noise, ids)

        module = Painter().eval()
    sessions = {}
    print(json.dumps({"name": "ONNX Runtime f32", "about": onnxruntime.__version__}), flush=True)
    for line in sys.stdin:
        _, batch, repetitions = line.split()
        inputs = model.inputs(int(batch))
        if batch not in sessions:
            file = io.BytesIO()
            torch.onnx.export(module, inputs, file, dynamo=False, input_names=[f"in{i}" for i in range(len(inputs))])
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = int(threads)
            sessions[batch] = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
        feed = {f"in{i}": x.numpy() for i, x in enumerate(inputs)}
        start = time.perf_counter()
        for _ in range(int(repetitions)):
            sessions[batch].run(None, feed)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps({"seconds": seconds, "peak_mb": peak}), flush=True)


if __name__ == "__main__":
    main()
